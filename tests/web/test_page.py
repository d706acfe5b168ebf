"""The page in a real browser: everything that a visitor can do, and what may go wrong."""

import contextlib
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect

import omniup
from support.demo import npy
from support.pages import RUN, TABS, Visit, finished, move_divider, new_context, png, upload

PAGE_WEIGHT = 200_000

#: Colours of all visible text against what lies behind it, by the formula of WCAG 2.
CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    throw new Error("the page has no ground");
  };
  const words = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*")]
    .filter((element) => words(element) && !element.closest("svg") && element.checkVisibility())
    .map((element) => {
      const [a, b] = [parse(getComputedStyle(element).color), behind(element)].map(luminance).sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), element.textContent.trim().slice(0, 40)];
    });
}"""

#: Put a file where a drag or the clipboard would: its bytes come as numbers.
DELIVER = """([kind, bytes, name, type]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const options = { bubbles: true, cancelable: true };
  if (kind === "paste") {
    document.body.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: data }));
  } else {
    for (const name of ["dragenter", "dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(name, { ...options, dataTransfer: data }));
    }
  }
}"""

#: What passes by in a run: the words of each stage, the bar, and how many points the loss curve had.
RECORD = """() => {
  window.seen = { stages: [], bar: [], points: [] };
  const look = () => {
    const stage = document.getElementById("stage").textContent;
    if (stage && stage !== seen.stages.at(-1)) seen.stages.push(stage);
    const bar = document.getElementById("bar").getAttribute("aria-valuenow");
    if (bar !== null) seen.bar.push(Number(bar));
    seen.visible ||= document.getElementById("bar").checkVisibility();
    const line = document.querySelector("#live-curve polyline").getAttribute("points");
    if (line) seen.points.push(line.split(" ").length);
  };
  const options = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document.getElementById("progress"), options);
}"""


@pytest.fixture
def visit(visitor, server):
    """Open the page."""
    return lambda address="", **options: visitor(server.url, address, **options)


@pytest.fixture(scope="module")
def shown(browser, server):
    """A page on which a sample has been run; tests that use it leave it on the first tab, as they found it."""
    # what a page begins with depends on how fast the machine is: tests say what they want
    context = new_context(browser)
    visit = Visit(context, server.url, "#size=256&stride=16&iters=20")
    run_sample(visit.page)
    yield visit.page
    visit.close()
    context.close()


@pytest.fixture
def first_tab(shown):
    shown.click("#tab-image")
    yield shown
    shown.click("#zoom-reset") if shown.is_visible("#zoom-reset") else None
    shown.click("#tab-image")


def run_sample(page, index=0):
    page.locator("#samples button").nth(index).click()
    finished(page)


def set_slider(page, name, value):
    page.locator(f"#{name}").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def widths(page, selector):
    """The natural widths of pictures that can be seen."""
    page.wait_for_function(
        "selector => [...document.querySelectorAll(selector)].every((image) => image.complete)", arg=selector
    )
    return page.eval_on_selector_all(selector, "images => images.map((image) => image.naturalWidth)")


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_loads_quietly_and_lightly(browser, server, artefacts):
    context = new_context(browser)  # which has no files yet
    visit = Visit(context, server.url)
    page = visit.page
    expect(page.locator("#panel-image")).to_contain_text("Click one of the sample pictures")
    expect(page.locator("#sides .number")).to_have_count(5)  # an example that the page brings along
    assert min(widths(page, "#sides img")) == 256
    weight = page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".reduce((sum, entry) => sum + entry.transferSize, 0)"
    )
    assert 0 < weight < PAGE_WEIGHT
    assert page.title() and page.get_attribute("html", "lang") == "en"
    page.screenshot(path=artefacts / "empty.png")
    visit.close()
    context.close()


def test_sample_runs_at_once(shown, artefacts):
    expect(shown.locator("#sides .pending")).to_have_count(0, timeout=RUN)
    images = widths(shown, "#panel-image img")
    assert len(images) == 6 + 2 + 7 + 4  # side by side, the comparison's two, reconstructions, errors
    assert set(images) == {256}
    captions = shown.locator("#panel-image .number").all_inner_texts()
    both = r"\d+\.\d dB from means, \d+\.\d dB from samples"
    assert len(captions) == 5 + 5 and all(re.fullmatch(both, caption) for caption in captions[:5])
    assert all(re.fullmatch(r"\d+\.\d\d dB", caption) for caption in captions[5:])
    expect(shown.locator("#panel-image h3", has_text="brought back")).to_contain_text("from samples")
    assert shown.locator("#panel-image .legend .strip").count() == 1
    assert len(shown.locator("#panel-image polyline").get_attribute("points").split()) > 1
    losses = re.findall(r"0\.\d+", shown.locator("#panel-image .curve").inner_text())
    assert len(losses) == len(set(losses)) == 2
    expect(shown.locator("#about-run")).to_contain_text("coffee · 256 ×")
    shown.screenshot(path=artefacts / "image.png", full_page=True)


def test_the_methods_side_by_side(first_tab):
    page = first_tab
    expect(page.locator("#sides .pending")).to_have_count(0, timeout=RUN)
    names = page.locator("#sides .name").all_inner_texts()
    assert names[0] == "Pyramid bilateral (ours)" and names[-1] == "Original"
    assert names[1:3] == ["GS-JBU, spec", "GS-JBU, paper"]
    scores = [re.findall(r"[\d.]+(?= dB)", text) for text in page.locator("#sides .number").all_inner_texts()]
    ours, _, paper, bilinear, _ = ({"means": float(a), "samples": float(b)} for a, b in scores)
    assert ours["means"] > bilinear["means"] + 5 and paper["samples"] > bilinear["samples"] + 5
    verdict = page.locator("#sides .verdict").inner_text()
    assert f"{ours['means']:.1f} dB" in verdict
    gain = float(re.search(r"\+([\d.]+) dB against bilinear", verdict)[1])
    assert gain == pytest.approx(ours["means"] - bilinear["means"], abs=0.11)  # of rounded numbers
    assert "paper, fitted for" in verdict and f"{paper['samples']:.1f} dB from the samples" in verdict
    of_run = (
        page.locator("#panel-image figure:has(.number)", has_text="Pyramid bilateral")
        .last.locator(".number")
        .inner_text()
    )
    assert float(of_run.split()[0]) == pytest.approx(ours["samples"], abs=0.06)  # the lower grid's input
    options = page.locator("#panel-image .choosers select").first.locator("option").all_inner_texts()
    assert len(options) == len(set(options)) == 6 + 6
    assert {"Bilinear, from means", "Bilinear, from samples", "Original"} <= set(options)
    assert page.locator("#sides figure .note").count() == 5  # what each is good for


def test_the_first_pictures_do_not_wait_for_the_run(visit):
    page = visit("#size=224&stride=16&iters=1")
    asked = []
    page.on(
        "request", lambda request: asked.append(request.url.rpartition("/")[2]) if request.method == "POST" else None
    )
    page.route("**/api/run", lambda route: route.abort())
    page.locator("#samples button").nth(1).click()
    expect(page.locator("#problem")).to_contain_text("The server does not answer", timeout=RUN)
    expect(page.locator("#sides h3")).to_have_text("The photograph, given back by each method")  # not the example
    expect(page.locator("#signal-guidance")).to_have_text("guided by cat")  # its name everywhere
    expect(page.locator("#sides .number")).to_have_count(5, timeout=RUN)  # the fits were not lost with the run
    assert asked == ["compare", "run", "compare", "compare"]


def test_fits_that_take_long_are_left_out(visit):
    page = visit("#size=224&stride=16&iters=0")
    slow = {"pairs_per_second": 4e6}
    page.route("**/api/options", lambda route: route.fulfill(json=route.fetch().json() | slow))
    page.reload()
    page.wait_for_selector("#samples button")
    run_sample(page, 1)
    absent = page.locator("#sides figure[data-name]")
    expect(absent).to_have_count(1, timeout=RUN)
    expect(absent).to_contain_text("not fitted: it would take long")
    assert absent.get_attribute("data-name") == "paper"
    absent.get_by_role("button", name="Fit it").click()  # whoever has the patience may have it
    expect(absent).to_have_count(0, timeout=2 * RUN)
    expect(page.locator("#sides .verdict")).to_contain_text("GS-JBU paper, fitted for")


def test_features_by_each_method_of_two_photographs(visit, artefacts):
    page = visit("#size=224&stride=16&iters=1&tab=features")
    run_sample(page, 1)
    methods = page.locator("#feature-methods")
    first = methods.locator(".methods").first
    expect(first.locator("figure")).to_have_count(6, timeout=RUN)
    names = first.locator(".name").all_inner_texts()
    assert names[0] == "Pyramid bilateral (ours)" and names[3] == "AnyUp"
    expect(methods).to_contain_text("EfficientNet-Lite0, trained on ImageNet")
    expect(first.locator(".absent")).to_contain_text("not on this machine")
    first.locator(".absent summary").click()
    expect(first.locator(".absent")).to_contain_text("anyup_multi_backbone.pth")

    colours = first.locator("img").first.get_attribute("src")
    methods.get_by_role("button", name="Segments").click()
    assert first.locator("img").first.get_attribute("src") != colours
    page.select_option("#feature-segments", "3")
    page.select_option("#feature-other", label="astronaut")
    expect(methods.locator(".methods")).to_have_count(2, timeout=RUN)
    expect(methods).to_contain_text("The same in the second photograph")

    first.locator(".frame").first.click(position={"x": 80, "y": 50})
    expect(methods.locator(".best-point")).to_have_count(3, timeout=RUN)  # by every method
    assert methods.get_by_role("button", name="Similarity").get_attribute("aria-pressed") == "true"
    assert methods.locator(".legend .strip").count() == 1
    expect(page.locator("#similarity")).to_be_hidden()  # which is of the run
    methods.screenshot(path=artefacts / "features_of_two.png")
    page.click("#language")
    expect(methods).to_contain_text("第二张照片中的对应结果")


def test_a_mask_is_painted_and_upsampled(visit, artefacts):
    page = visit("#size=224&stride=16&iters=1&tab=segmentation")
    expect(page.locator("#mask .brush img")).to_be_visible(timeout=RUN)  # of the example
    run_sample(page, 1)
    page.click("#tab-segmentation")
    canvas, mask = page.locator("#mask canvas"), page.locator("#mask")
    expect(canvas).to_have_attribute("width", "224")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    page.mouse.up()
    expect(mask.locator("figure")).to_have_count(8, timeout=RUN)
    names = mask.locator(".name").all_inner_texts()
    assert names[0] == "Boundaries: pyramid bilateral (ours)" and names[3] == "Boundaries: the mask's cells"
    expect(mask.locator(".classes")).to_contain_text("painted")
    mask.screenshot(path=artefacts / "mask.png")

    mask.get_by_role("button", name="Clear").click()
    expect(mask.locator("figure")).to_have_count(0)
    canvas.focus()  # and by keys; a single dab is less than half of a cell
    page.locator("#brush-radius").evaluate("slider => { slider.value = 0.01; }")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    expect(mask).to_contain_text("less than half of every cell", timeout=RUN)
    mask.get_by_role("button", name="Erase").click()
    page.click("#language")
    expect(mask).to_contain_text("没有像素被判为涂抹部分")


def test_every_tab_shows_its_pictures(first_tab, artefacts):
    page = first_tab
    # the last picture of the segmentation is painted on
    pictures = {"features": 5 + 5 + 2, "kernels": 4 + 1 + 1, "segmentation": 4 + 4 + 2 + 1}
    for tab in TABS[1:]:
        page.click(f"#tab-{tab}")
        panel = page.locator(f"#panel-{tab}")
        expect(panel).to_be_visible()
        if tab in pictures:
            expect(panel.locator("img")).to_have_count(pictures[tab], timeout=RUN)
            assert min(widths(page, f"#panel-{tab} img")) >= 64
        page.screenshot(path=artefacts / f"{tab}.png", full_page=True)
    assert page.locator("#panel-features .number").count() == 3 + 4
    assert page.locator("#panel-kernels .histogram rect").count() > 4 * 8
    assert page.locator("#panel-kernels .legend").count() == 5
    expect(page.locator("#panel-kernels .ellipses ellipse")).to_have_count(16 * 11)
    unmoved = re.compile(r"they began at 16 px and lie between 1[56]\.\d{3} and 16\.\d{3} px, less than 5 % away")
    expect(page.locator("#panel-kernels")).to_contain_text(unmoved)
    assert page.locator("#panel-kernels button", has_text="Run with the paper preset").count() == 1


def test_metrics_are_all_there_and_can_be_taken_away(first_tab):
    page = first_tab
    page.click("#tab-metrics")
    scores = page.locator("#panel-metrics table").first
    assert [row.split("\t")[0] for row in scores.locator("tbody tr").all_inner_texts()] == [
        "Bilinear",
        "Bicubic",
        "Fixed JBU",
        "GS-JBU + TTO",
        "Pyramid bilateral",
    ]
    assert scores.locator("td.best").count() >= 3
    spread = page.locator("#panel-metrics table").nth(1)
    assert spread.locator("tbody tr").count() == 4 and spread.locator("td.best").count() == 0
    expect(page.locator("#panel-metrics")).to_contain_text("does not say whether a border")
    expect(page.locator("#panel-metrics")).to_contain_text(re.compile(r"gains [+-]\d+\.\d\d dB"))

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as Markdown").click()
    expect(page.locator("#toast")).to_have_text("Copied")
    assert "| gsjbu |" in page.evaluate("navigator.clipboard.readText()")

    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert download.value.suggested_filename == "coffee_metrics.json"
    numbers = json.loads(Path(download.value.path()).read_text())
    assert set(numbers["metrics"]["methods"]) == {"bilinear", "bicubic", "fixed", "gsjbu", "pyramid"}
    assert "images" not in numbers

    with page.expect_download() as download:
        page.get_by_role("link", name="kernels.safetensors").click()
    assert Path(download.value.path()).stat().st_size > 1000


def test_pictures_can_be_saved(first_tab):
    with first_tab.expect_download() as download:
        first_tab.get_by_role("link", name="Save as PNG: GS-JBU + TTO", exact=True).click()
    assert download.value.suggested_filename == "coffee_I_hat_tto.png"
    assert Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).width == 256
    first_tab.click("#tab-kernels")
    with first_tab.expect_download() as download:
        first_tab.get_by_role("button", name="Save as PNG: Shapes").click()
    assert download.value.suggested_filename == "coffee_kernels.png"
    assert Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).width == 1024


def test_progress_is_seen(visit, artefacts):
    page = visit("#preset=paper&size=320&stride=16&iters=40")
    page.evaluate(RECORD)
    page.locator("#samples button").first.click()
    page.wait_for_function("() => seen.points.length > 3", timeout=3 * RUN)
    page.screenshot(path=artefacts / "progress.png")  # or of the result, where the browser gets less of the cores
    finished(page)
    seen = page.evaluate("seen")
    assert seen["visible"]
    assert "Fitting the kernels (TTO)" in seen["stages"]
    assert len(seen["stages"]) < 12  # read out once each, not at every step
    assert seen["points"] == sorted(seen["points"]) and seen["points"][-1] >= 20
    assert max(seen["bar"]) > min(seen["bar"])  # of the comparison, which may end at 100, and of the run


def test_cancel_leaves_the_page_usable(visit):
    page = visit("#size=224&stride=16&iters=1")
    upload(page, "noise.png", noise_png())
    page.click("#run")
    finished(page)
    page.evaluate("() => { location.hash = 'preset=paper&size=512&stride=8&iters=100&radius=8&lr=0.1'; }")
    expect(page.locator("#slow")).to_be_visible()
    for _ in range(4):  # a run may be over before a browser that gets little of the cores has seen it
        former = set(widths(page, "#panel-image img"))
        page.click("#run")
        page.wait_for_selector("#live-curve polyline[points*=' ']", state="attached", timeout=3 * RUN)
        with contextlib.suppress(PlaywrightTimeout):
            page.click("#cancel", timeout=2000)
            break
        finished(page)
    expect(page.locator("#hint")).to_contain_text("Cancelled", timeout=RUN)
    expect(page.locator("#progress")).to_be_hidden()
    assert set(widths(page, "#panel-image img")) == former

    page.click("#gentler")
    expect(page.locator("#slow")).to_be_hidden()
    page.evaluate("document.getElementById('announcer').textContent = ''")
    page.select_option("#preset", "spec")
    page.select_option("#size", "256")
    page.click("#run")
    finished(page)
    assert set(widths(page, "#panel-image img")) == {256}
    expect(page.locator("#hint")).not_to_contain_text("Cancelled")


def noise_png():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_no_steps_of_optimisation(visit):
    page = visit("#size=224&iters=0")
    upload(page)
    page.click("#run")
    finished(page)
    expect(page.locator("#panel-image")).to_contain_text("No steps were taken")
    expect(page.locator("#about-run")).to_contain_text("specification, changed, TTO steps 0")
    assert page.locator("#panel-image select").first.locator("option", has_text="GS-JBU, no TTO").count()
    page.click("#tab-metrics")
    expect(page.locator("#panel-metrics table").first).to_contain_text("GS-JBU, no TTO")
    expect(page.locator("#panel-metrics")).not_to_contain_text("The fit gains")
    page.click("#tab-image")
    expect(page.locator("#sides .pending")).to_have_count(0, timeout=RUN)
    assert len(widths(page, "#panel-image img")) == 19


def test_upload_drop_and_paste(visit):
    page = visit("#size=224&stride=16&iters=1")
    upload(page, "upload.png")
    expect(page.locator("#chosen-name")).to_have_text("upload.png · 96 × 64")
    for kind in ("drop", "paste"):
        page.evaluate(DELIVER, [kind, list(png()), f"{kind}.png", "image/png"])
        expect(page.locator("#chosen-name")).to_have_text(f"{kind}.png · 96 × 64")
        expect(page.locator("#drop")).to_be_hidden()
    assert widths(page, "#preview") == [96]
    page.click("#run")
    finished(page)
    assert page.locator("#panel-image a.icon").first.get_attribute("download") == "paste_pyramid_bilateral.png"


def test_pictures_that_are_none_are_refused_before_they_are_sent(visit, tmp_path):
    page = visit()
    page.click("#run")
    expect(page.locator("#file-error")).to_contain_text("Choose a picture first")
    upload(page, "notes.txt", b"no picture", "text/plain")
    expect(page.locator("#file-error")).to_contain_text("“notes.txt” is not a picture")
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(34 * 2**20)
    page.set_input_files("#file", huge)
    expect(page.locator("#file-error")).to_contain_text("at most 33.6 MB")
    upload(page)
    expect(page.locator("#file-error")).to_be_hidden()


def test_what_the_server_refuses_stands_at_its_control(visit):
    page = visit("#size=4000")
    upload(page)
    page.click("#run")
    expect(page.locator("#size-error")).to_contain_text("1024")
    assert page.get_attribute("#size", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "size"
    page.select_option("#size", "224")
    expect(page.locator("#size-error")).to_be_hidden()

    upload(page, "text.png", b"this is no PNG")  # the browser believes its name, the server does not
    page.click("#run")
    expect(page.locator("#file-error")).to_be_visible()


def test_a_server_that_has_gone(visit):
    page = visit("#size=224&stride=16&iters=1")
    upload(page)
    page.context.set_offline(True)
    page.click("#run")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    page.context.set_offline(False)
    page.click("#run")
    finished(page)
    expect(page.locator("#problem")).to_be_hidden()


def test_a_busy_server_is_asked_again(visit):
    page = visit("#size=224&stride=16&iters=1")
    asked = []

    def answer(route):
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "full"})
        else:
            route.continue_()

    page.route("**/api/run", answer)
    upload(page)
    page.click("#run")
    expect(page.locator("#progress")).to_contain_text("trying again in 1 s")
    finished(page)
    assert len(asked) == 2


def test_similarity_by_click_from_every_tab(first_tab, artefacts):
    page = first_tab
    for tab in ("image", "features", "kernels"):
        page.click(f"#tab-{tab}")
        if page.is_visible("#similarity"):
            page.locator("#similarity").get_by_role("button", name="Close").click()
        figures = page.locator(f"#panel-{tab} > .grid figure .frame")
        figures.nth(1).click(position={"x": 40, "y": 30})
        expect(page.locator("#similarity")).to_be_visible()
        assert widths(page, "#similarity img") == [256, 256]
        assert page.locator("#similarity .legend").count() == 1
        assert page.locator(f"#panel-{tab} .mark:visible").count() >= 4
    sources = page.eval_on_selector_all("#similarity img", "images => images.map((image) => image.src)")
    assert len(set(sources)) == 2
    page.screenshot(path=artefacts / "similarity.png")
    page.locator("#similarity").get_by_role("button", name="Close").click()


def test_similarity_by_keyboard(first_tab):
    page = first_tab
    page.locator("#panel-image .frame").first.focus()
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator("#announcer")).to_have_text(re.compile(r"x \d+, y \d+"))
    page.keyboard.press("Enter")
    expect(page.locator("#similarity")).to_be_visible()
    assert widths(page, "#similarity img") == [256, 256]
    page.locator("#similarity").get_by_role("button", name="Close").click()


def test_tabs_by_keyboard(first_tab):
    page = first_tab
    page.focus("#tab-image")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-features")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "tab-features"
    page.keyboard.press("End")
    expect(page.locator("#tab-restore")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-image")).to_be_visible()
    assert page.locator("[role=tab][tabindex='0']").count() == 1


def test_zoom_moves_all_pictures(first_tab):
    page = first_tab

    def boxes():
        return page.eval_on_selector_all(
            "#panel-image figure .frame",
            """frames => frames.map((frame) => {
              const [a, b] = [frame, frame.querySelector("img")].map((element) => element.getBoundingClientRect());
              return [b.width / a.width, (b.left - a.left) / a.width, (b.top - a.top) / a.height];
            })""",
        )

    frames = page.locator("#panel-image figure .frame")
    expect(frames.locator("img")).to_have_count(frames.count())  # a picture is there once it has been decoded
    page.click("#zoom-in")
    page.click("#zoom-in")
    zoomed = np.array(boxes())
    np.testing.assert_allclose(zoomed[:, 0], 2, rtol=0.01)
    assert np.ptp(zoomed, axis=0).max() < 0.01
    frame = page.locator("#panel-image .frame").first
    assert frame.locator("img").evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"

    box = frame.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 60, steps=4)
    page.mouse.up()
    panned = np.array(boxes())
    assert panned[0, 1] < zoomed[0, 1] and np.ptp(panned, axis=0).max() < 0.01
    expect(page.locator("#similarity")).to_be_hidden()  # a drag is no click

    frame.focus()
    page.keyboard.press("0")
    expect(page.locator("#zoom-reset")).to_have_text("100 %")
    frame.dblclick(position={"x": 50, "y": 50})
    expect(page.locator("#zoom-reset")).to_have_text("400 %")
    page.wait_for_timeout(400)
    expect(page.locator("#similarity")).to_be_hidden()  # nor is half of a double click
    page.click("#zoom-reset")


def test_compare_by_keyboard_and_pointer(first_tab):
    page = first_tab
    compare = page.locator("#panel-image .compare")
    divider = compare.get_by_role("slider")
    left, right = compare.locator("select").all()
    assert (left.input_value(), right.input_value()) == ("by_bilinear", "by_pyramid_bilateral")
    divider.focus()
    page.keyboard.press("Home")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "12")
    assert abs(move_divider(page, compare, 0.75) - 75) <= 1

    original = page.locator("#sides figure img").last.get_attribute("src")
    left.select_option("I_hr")
    assert compare.locator(".over img").get_attribute("src") == original
    left.select_option("by_bilinear")


def test_language_changes_everything_and_is_remembered(visit, artefacts):
    page = visit("#size=224&stride=16&iters=1")
    run_sample(page)
    for tab in TABS:
        page.click(f"#tab-{tab}")
    page.click("#tab-image")
    page.click("#language")
    assert page.get_attribute("html", "lang") == "zh-CN"
    expect(page.locator("#run")).to_have_text("运行")
    assert "lang=zh" in page.url
    # what is left of English are the terms, the numbers and what the server says
    texts = page.evaluate(
        "[...document.querySelectorAll('[data-t]:not([data-t=verbatim], [data-t=otherLanguage])')]"
        ".map((element) => element.textContent).filter((text) => text && !/[\\u4e00-\\u9fff]/.test(text))"
    )
    assert not [text for text in texts if re.search("[a-z]{4}", text) and text != "stride"]
    page.screenshot(path=artefacts / "chinese.png", full_page=True)
    page.evaluate("history.replaceState(null, '', '/')")
    page.reload()
    expect(page.locator("#run")).to_have_text("运行")


def test_chinese_where_the_browser_speaks_it(visit):
    page = visit(locale="zh-CN")
    expect(page.locator("#panel-image")).to_contain_text("点选一张示例图像")
    page.click("#language")
    expect(page.locator("#run")).to_have_text("Run")


def test_both_languages_have_the_same_gaps(visit):
    page = visit()
    wrong = page.evaluate(
        """async () => {
          const { TEXTS } = await import("/static/texts.js");
          const gaps = (text) => (text.match(/\\{\\w+\\}/g) ?? []).sort().join();
          const differ = ([en, zh]) => !en || !zh || gaps(en) !== gaps(zh);
          return Object.keys(TEXTS).filter((key) => TEXTS[key].length !== 2 || differ(TEXTS[key]));
        }"""
    )
    assert wrong == []


def test_address_restores_settings_and_runs_small_samples(visit):
    page = visit("#sample=rocket&size=288&iters=7&stride=14&sigma_r=0.3&tab=features")
    finished(page)
    expect(page.locator("#about-run")).to_contain_text("rocket")
    expect(page.locator("#about-run")).to_contain_text("TTO steps 7,")
    expect(page.locator("#panel-features")).to_be_visible()
    assert (page.input_value("#size"), page.input_value("#stride")) == ("288", "14")
    assert page.locator("#control-sigma_r output").text_content() == "0.3"

    set_slider(page, "lr", -2)
    page.select_option("#shape", "square")
    assert page.url.partition("#")[2] == (
        "sample=rocket&tab=features&size=288&shape=square&stride=14&iters=7&lr=0.01&sigma_r=0.3"
    )
    page.select_option("#preset", "paper")  # which brings its own steps, radius and step size
    assert page.url.partition("#")[2].endswith("preset=paper&size=288&shape=square&stride=14&sigma_r=0.3")
    assert page.locator("#control-iters output").inner_text() == "51"


def test_gentler_settings_are_told_and_undone_with_one_click(visit):
    page = visit("#lang=en")
    answer = page.request.get(page.url.partition("#")[0] + "api/options").json()
    answer["config"] |= {"size": 224, "iters": 30}
    page.route("**/api/options", lambda route: route.fulfill(json=answer))
    page.reload()
    expect(page.locator("#gentle")).to_contain_text("224 px and 30 steps in place of the specification's 256 px and 50")
    expect(page.locator("#preset option:checked")).to_have_text("specification, changed")
    page.click("#usual")
    expect(page.locator("#gentle")).to_be_hidden()
    assert (page.input_value("#size"), page.input_value("#iters")) == ("256", "50")
    expect(page.locator("#preset option:checked")).to_have_text("specification")


def test_an_estimate_has_the_loading_of_a_network(visit):
    page = visit()
    answer = page.request.get(page.url.partition("#")[0] + "api/options").json()
    answer["loading_seconds"] = {"resnet18_layer2": 40.0, "segmentation": 70.0}
    page.route("**/api/options", lambda route: route.fulfill(json=answer))
    page.reload()
    page.select_option("#extractor", "resnet18_layer2")
    expect(page.locator("#estimate")).to_have_text(re.compile(r"about 4\d s"))
    page.check("#segmentation")
    expect(page.locator("#estimate")).to_have_text(re.compile(r"about 11\d s"))


def test_address_of_a_long_run_waits(visit):
    page = visit("#sample=coffee&preset=paper&size=512&iters=100&stride=8")
    expect(page.locator("#chosen-name")).to_contain_text("coffee")
    expect(page.locator("#announcer")).to_contain_text("press Run")
    expect(page.locator("#progress")).to_be_hidden()


def test_hint_leads_to_the_paper_preset(visit):
    page = visit("#size=224&stride=16&iters=1")
    run_sample(page)
    page.evaluate("document.getElementById('announcer').textContent = ''")
    page.locator("#hint").get_by_role("button", name="Run with the paper preset").click()
    finished(page)
    expect(page.locator("#about-run")).to_contain_text("paper, TTO steps 51, R = 8")
    assert page.input_value("#preset") == "paper"
    expect(page.locator("#hint")).to_be_hidden()


def test_help_opens_at_every_control(visit):
    page = visit()
    page.click("#more > summary")
    asks = page.locator("#settings .ask:visible")
    assert asks.count() >= 11
    for ask in asks.all():
        ask.click()
        expect(page.locator(f"#{ask.get_attribute('aria-controls')}")).to_be_visible()


def test_own_signal(visit, artefacts):
    page = visit("#tab=signal")
    file = io.BytesIO()
    np.save(file, np.linspace(0, 1, 5 * 4 * 6, dtype=np.float32).reshape(5, 4, 6))
    page.click("#signal-run")
    expect(page.locator("#signal-error")).to_contain_text("Choose a signal first")
    page.evaluate(DELIVER, ["drop", list(file.getvalue()), "features.npy", ""])
    expect(page.locator("#signal-name")).to_have_text("features.npy")
    upload(page)
    assert page.input_value("#signal-method") == "pyramid_bilateral"
    method = omniup.methods()["pyramid_bilateral"]
    expect(page.locator("#method-summary")).to_have_text(method.summary)
    page.click("#language")
    expect(page.locator("#method-summary")).to_have_text(method.summary_zh)
    page.click("#language")
    page.select_option("#signal-method", "upsample_anything")
    page.select_option("#setting-preset", "paper")
    page.click("#signal-settings > summary")
    page.fill("#setting-iterations", "2")
    page.click("#signal-run")
    expect(page.locator("#signal-result")).to_contain_text(
        "Taken for features · 5 channels · 6 × 4 → 96 × 64", timeout=RUN
    )
    assert widths(page, "#signal-result img") == [96] * 9
    names = page.locator("#signal-result .files a").all_inner_texts()
    assert {"result.npy", "kernels.safetensors"} <= set(names)
    with page.expect_download() as download:
        page.get_by_role("link", name="result.npy").click()
    assert np.load(download.value.path()).shape == (1, 5, 64, 96)
    page.screenshot(path=artefacts / "signal.png", full_page=True)

    page.select_option("#signal-type", "values")
    page.select_option("#signal-consistency", "full")
    page.click("#signal-run")
    expect(page.locator("#signal-result")).to_contain_text("Taken for other values", timeout=RUN)
    with page.expect_download() as download:
        page.get_by_role("link", name="result.npy").click()
    means = np.load(download.value.path()).reshape(5, 4, 16, 6, 16).mean((2, 4))
    np.testing.assert_allclose(means, np.linspace(0, 1, 5 * 4 * 6).reshape(5, 4, 6), atol=1e-3)
    page.select_option("#signal-type", "probabilities")
    page.click("#signal-run")
    expect(page.locator("#signal-error")).to_contain_text("signal holds no probabilities", timeout=RUN)

    page.select_option("#signal-type", "auto")
    page.select_option("#signal-method", "guided_filter")
    page.fill("#setting-radius", "-3")
    page.click("#signal-run")
    expect(page.locator("#panel-signal, #problem").filter(has_text="radius is -3")).to_be_visible(timeout=RUN)


def test_methods_settings_and_choices_are_the_librarys(visit):
    page, known = visit("#tab=signal"), omniup.methods()
    assert page.locator("#signal-method option").evaluate_all("all => all.map(each => each.value)") == list(known)
    for name, method in known.items():
        page.select_option("#signal-method", name)
        for setting, values in method.choices.items():
            shown = page.locator(f"#setting-{setting} option").evaluate_all("all => all.map(each => each.value)")
            assert shown == ([] if setting in method.variants else [""]) + list(values)
        numbers = {setting for setting, value in method.settings.items() if type(value) in (int, float)}
        fields = page.locator("#method-settings input").evaluate_all("all => all.map(each => each.dataset.setting)")
        assert set(fields) == numbers
        assert page.is_enabled("#signal-run")  # with our weights where the published ones are missing


def test_weights_that_are_not_here_are_grey_and_say_why(visit):
    page = visit("#tab=signal")
    assert page.locator("#signal-method option.lacking").count() == 0  # as ours come along
    page.select_option("#signal-method", "anyup")
    expect(page.locator("#setting-weights option")).to_have_count(3)
    assert page.input_value("#setting-weights") == "omniup"
    expect(page.locator("#method-missing")).to_be_hidden()
    page.select_option("#setting-weights", "multi_backbone")
    expect(page.locator("#method-missing")).to_contain_text("are not on this machine")
    assert not page.is_enabled("#signal-run")
    page.click("#language")
    expect(page.locator("#setting-weights option:checked")).to_contain_text("五种编码器")
    expect(page.locator("#setting-weights option:checked")).to_contain_text("缺少权重")
    page.click("#language")
    page.select_option("#signal-method", "bilinear")
    expect(page.locator("#method-missing")).to_be_hidden()
    assert page.is_enabled("#signal-run")


def test_a_signal_is_recognised_in_words_before_it_is_upsampled(visit, artefacts):
    page, depth = visit("#tab=signal"), np.linspace(1, 9, 24 * 16, dtype=np.float32).reshape(16, 24)
    depth[:4, :5] = 0
    upload(page)
    upload(page, "depth.npy", npy(depth), selector="#signal")
    found = page.locator("#signal-found")
    expect(found).to_contain_text("This looks like a measurement")
    expect(found).to_contain_text("20 cells are 0: holes")
    expect(page.locator("#signal-type option:checked")).to_contain_text("as recognised: a measurement")
    expect(page.locator("#signal-settings > summary")).to_be_visible()
    assert not page.is_visible("#signal-invalid")  # settings are folded
    page.screenshot(path=artefacts / "signal_found.png")
    page.click("#language")
    expect(found).to_contain_text("20 个单元为 0：视为没有测量值的空洞")
    page.click("#language")
    page.click("#signal-run")
    result = page.locator("#signal-result")
    expect(result).to_contain_text("Cells that are holes and do not count: 20", timeout=RUN)
    page.uncheck("#signal-holes")
    expect(result).to_contain_text("made with the settings before")
    page.click("#signal-run")
    expect(result).not_to_contain_text("made with the settings before", timeout=RUN)
    expect(result).not_to_contain_text("Cells that are holes")

    upload(page, "labels.npy", npy(np.arange(24 * 16).reshape(16, 24) // 96), selector="#signal")
    expect(found).to_contain_text("labels: 4 different numbers")
    upload(page, "tokens.npy", npy(np.random.default_rng(0).random((1, 385, 8), np.float32)), selector="#signal")
    expect(found).to_contain_text("on a grid of 24 × 16 cells; other tokens before them, left out: 1")
    upload(page, "unclear.npy", npy(np.zeros((16, 24, 16), np.float32)), selector="#signal")
    expect(page.locator("#signal-error")).to_contain_text("channels_first with a grid of 24 × 16 or channels_last")
    expect(page.locator("#signal-layout")).to_be_visible()
    page.select_option("#signal-layout", "channels_last")
    expect(found).to_contain_text("Read with channels last: 16 channels on 24 × 16 cells")
    expect(page.locator("#signal-error")).to_be_hidden()


def test_a_failed_run_leaves_no_result_of_other_settings(visit):
    page = visit("#tab=signal")
    upload(page)
    upload(page, "depth.npy", npy(np.ones((4, 6), np.float32)), selector="#signal")
    page.click("#signal-run")
    expect(page.locator("#signal-result figure").first).to_be_visible(timeout=RUN)
    page.select_option("#signal-method", "guided_filter")
    page.click("#signal-settings > summary")
    page.fill("#setting-radius", "-3")
    page.click("#signal-run")
    expect(page.locator("#signal-error")).to_contain_text("radius is -3", timeout=RUN)
    expect(page.locator("#signal-result > *")).to_have_count(0)


def test_own_label_map(visit):
    page = visit("#tab=signal")
    upload(page)
    upload(page, "labels.png", palette_png(), selector="#signal")
    page.select_option("#signal-method", "joint_bilateral")
    page.click("#signal-run")
    expect(page.locator("#signal-result")).to_contain_text("Taken for labels", timeout=RUN)
    assert len(widths(page, "#signal-result img")) == 9
    expect(page.locator("#signal-result")).to_contain_text("in 8 of 10 such pixels the label is right")


def test_own_bands_guide_and_what_was_decided_is_said(visit, artefacts):
    """Bands of a sensor on the left, depth of a lidar that covers a part of them, on the right."""
    page, random = visit("#tab=signal"), np.random.default_rng(0)
    bands = (random.random((4, 64, 96)) * 9000 + 500).astype(np.float32)
    depth = np.zeros((64, 48), np.float32)
    depth[8::5, ::3] = 10
    upload(page, "scene.npz", archive(guide=bands, height=depth))
    expect(page.locator("#chosen-name")).to_have_text("scene.npz")
    expect(page.locator("#preview")).to_be_hidden()
    expect(page.locator("#signal-guidance")).to_have_text("guided by scene.npz")
    upload(page, "depth.npz", archive(height=depth), selector="#signal")
    page.click("#signal-settings > summary")
    page.fill("#signal-invalid", "0")
    page.fill("#signal-region", "0, 0, 48, 64")
    page.select_option("#signal-method", "joint_bilateral")
    page.click("#signal-run")
    expect(page.locator("#file-error")).to_contain_text("holds 2 arrays", timeout=RUN)
    page.fill("#signal-image-array-name", "guide")
    page.click("#signal-run")
    result = page.locator("#signal-result")
    expect(result).to_contain_text(re.compile(r"1 channel · \d+ × \d+ → 48 × 64"), timeout=RUN)
    expect(result).to_contain_text(re.compile(r"from 50\d to 9,\d00: each of its bands was scaled to 0..1"))
    expect(result).to_contain_text("Few of its 48 × 64 cells hold a measurement, so they were averaged down to")
    expect(result).to_contain_text("Cells that are holes and do not count: ")
    assert widths(page, "#signal-result img") == [48] * 9
    expect(page.locator("#file-error")).to_be_hidden()
    page.screenshot(path=artefacts / "signal_bands.png", full_page=True)
    page.click("#language")
    expect(result).to_contain_text("1 个通道 · ")
    expect(result).to_contain_text("每个波段都已从第 1 到第 99 百分位缩放到 0..1")
    page.screenshot(path=artefacts / "signal_bands_zh.png", full_page=True)
    page.click("#language")
    page.fill("#signal-region", "0, 0, 48")
    page.click("#signal-run")
    expect(page.locator("#signal-error")).to_contain_text("Field required", timeout=RUN)
    page.fill("#signal-region", "96, 0, 48, 64")
    page.click("#signal-run")
    expect(page.locator("#signal-error")).to_contain_text("lies outside the image", timeout=RUN)


def test_the_confidence_of_an_own_signal(visit, artefacts):
    """A step that the picture does not show: away from it the result is trusted, at it not."""
    page, depth = visit("#tab=signal"), np.full((4, 6), 2, np.float32)
    depth[:, 3:] = 7
    depth[:, 2] = 4
    file = io.BytesIO()
    np.save(file, depth)
    upload(page)
    upload(page, "depth.npy", file.getvalue(), selector="#signal")
    page.select_option("#signal-method", "bilinear")
    page.select_option("#signal-type", "measurement")  # whole numbers are recognised as labels
    page.click("#signal-run")
    result = page.locator("#signal-result")
    expect(result).to_contain_text("in 8 of 10 such pixels the error is at most 5 % of the range", timeout=RUN)
    with page.expect_download() as download:
        page.get_by_role("link", name="confidence.npy").click()
    trust = np.load(download.value.path())[0, 0]
    assert trust.shape == (64, 96)
    assert trust[:, 40:48].max() < 0.5 < trust[:, :8].min()
    assert page.locator("#signal-result .legend").count() == 3
    trusted = result.locator("figure", has_text="What can be trusted")
    expect(trusted.get_by_role("button", name="Save")).to_be_visible()  # it is painted

    def hidden():
        """Which pixels are transparent."""
        return np.array(page.evaluate(TRANSPARENT, trusted.locator("img").element_handle())).reshape(64, 96)

    slider = page.get_by_label("Hide what has less than")
    rounded = (255 * trust).round()
    for least in ("0.5", "0.95", "0"):
        slider.fill(least)
        expect(trusted.locator("output")).to_have_text(f"{float(least):.2f}")
        np.testing.assert_array_equal(hidden(), rounded < 255 * float(least))
    page.screenshot(path=artefacts / "signal_confidence.png", full_page=True)
    page.click("#language")
    expect(result).to_contain_text("10 个有 8 个的误差不超过周围单元数值范围的 5 %")
    page.screenshot(path=artefacts / "signal_confidence_zh.png", full_page=True)


TRANSPARENT = """async (image) => {
  await image.decode();
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({ length: data.length / 4 }, (_, at) => data[4 * at + 3] === 0);
}"""


def test_own_mask_as_run_lengths(visit):
    page = visit("#tab=signal")
    upload(page)
    mask = b'{"size": [4, 6], "counts": [10, 4, 10]}'
    page.evaluate(DELIVER, ["drop", list(mask), "mask.json", "application/json"])
    expect(page.locator("#signal-name")).to_have_text("mask.json")
    page.click("#signal-run")
    expect(page.locator("#signal-result")).to_contain_text(
        "Taken for labels · 1 channel · 6 × 4 → 96 × 64", timeout=RUN
    )


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def palette_png():
    file = io.BytesIO()
    picture = Image.new("P", (6, 4))
    picture.putpalette([200, 30, 30, 30, 120, 200, 40, 160, 60])
    picture.putdata([column // 2 for _ in range(4) for column in range(6)])
    picture.save(file, "PNG")
    return file.getvalue()


def test_segmentation_example_is_always_there(visit):
    page = visit("#tab=segmentation")
    panel = page.locator("#panel-segmentation")
    expect(panel.locator("h3").first).to_contain_text("example", timeout=RUN)
    assert panel.locator("> *").first.inner_text() == "An example that comes along, not your picture"
    expect(panel.locator(".classes").first).to_contain_text("Of the pixels:")
    assert len(widths(page, "#panel-segmentation img")) == 11
    shares = [float(share) for share in re.findall(r"([\d.]+)%", panel.locator(".classes").inner_text())]
    assert len(shares) >= 2 and sum(shares) == pytest.approx(100, abs=1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("phone", {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}),
        ("zoomed_in_200", {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2}),
    ],
)
def test_small_screens(visit, artefacts, name, options):
    page = visit("#size=224&stride=16&iters=1", **options)
    page.locator("#settings > summary").click()
    assert overflow(page) == 0
    run_sample(page)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(100)
        assert overflow(page) == 0, tab
        page.screenshot(path=artefacts / f"{name}_{tab}.png", full_page=name == "phone")


def test_contrast(visit, artefacts):
    page = visit("#size=224&stride=16&iters=1")
    upload(page, "notes.txt", b"", "text/plain")  # for its message
    run_sample(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for tab in TABS:
            page.click(f"#tab-{tab}")
            page.wait_for_timeout(100)
            low = [(round(ratio, 2), text) for ratio, text in page.evaluate(CONTRASTS) if ratio < 4.5]
            assert low == [], (scheme, tab)
        page.screenshot(path=artefacts / f"{scheme}.png")


def test_accessibility_tree(first_tab):
    page = first_tab
    session = page.context.new_cdp_session(page)
    named = {"button", "link", "checkbox", "combobox", "slider", "spinbutton", "textbox", "tab", "tabpanel"}
    named |= {"image", "img", "application", "progressbar", "form", "region", "heading", "tablist"}
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(100)
        nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
        roles = [node["role"]["value"] for node in nodes]
        nameless = [node for node in nodes if node["role"]["value"] in named and not node["name"]["value"].strip()]
        assert nameless == []
        assert {"main", "banner", "tablist", "form"} <= set(roles)

        ids = page.eval_on_selector_all("[id]", "elements => elements.map((element) => element.id)")
        assert len(ids) == len(set(ids))
        levels = page.eval_on_selector_all(
            "h1, h2, h3, h4", "all => all.filter((h) => h.checkVisibility()).map((h) => Number(h.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        references = page.eval_on_selector_all(
            "[aria-describedby], [aria-controls], [aria-labelledby], label[for]",
            """all => all.flatMap((element) => ["aria-describedby", "aria-controls", "aria-labelledby", "for"].flatMap(
              (name) => (element.getAttribute(name) ?? "").split(" ").filter(Boolean)))""",
        )
        assert set(references) <= set(ids)


def test_keyboard_alone_reaches_everything(visit):
    page = visit("#size=224&stride=16&iters=1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.sample || ''"))
    assert {"language", "coffee", "file", "preset", "iters", "lr", "run", "tab-image"} <= reached
    page.locator("[data-sample=coffee]").focus()
    page.keyboard.press("Enter")
    finished(page)
