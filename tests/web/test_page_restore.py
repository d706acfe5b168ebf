"""The tab that restores, in a real browser, with the tiny model."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from omniup.files import sample_image
from support.demo import encoded, eventually
from support.pages import move_divider

pytest.importorskip("diffusers")

LOADED = 180_000  # ms within which the model is loaded and has restored where the cores are busy
RUN = 60_000

#: What passes by in a restoration: the words of each stage, the bar, and the tiles.
RECORD = """() => {
  window.seen = { stages: [], bar: [], tiles: [] };
  const text = (id) => document.getElementById(id).textContent;
  const add = (list, value) => value && value !== list.at(-1) && list.push(value);
  const look = () => {
    add(seen.stages, text("stage"));
    add(seen.bar, Number(document.getElementById("bar").getAttribute("aria-valuenow")));
    add(seen.tiles, text("remaining"));
    seen.visible ||= document.getElementById("bar").checkVisibility();
  };
  const options = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document.getElementById("progress"), options);
}"""


@pytest.fixture
def visit_with(visitor, server):
    """Open the page of a server that has another model: tells what differs in its options."""

    def start(address="#tab=restore", options=None, **restoration):
        page = visitor(server.url, "", **(options or {}))

        def answer(route):
            told = route.fetch().json()
            route.fulfill(json=told | {"restoration": told["restoration"] | restoration})

        page.route("**/api/options", answer)
        page.goto(f"{page.url}{address}")
        page.reload()
        page.wait_for_selector("#samples button")
        return page

    return start


@pytest.fixture
def visit(visit_with):
    """Open the page of a server that says of its tiny network that it was trained: it draws, and quickly."""
    return lambda address="#tab=restore", **options: visit_with(address, options, trained=True)


def upload(page, picture, name="old.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": encoded(picture)})
    expect(page.locator("#chosen-name")).to_contain_text(name)


def restored(page):
    """Wait for a result, and give its pictures' widths."""
    expect(page.locator("#announcer")).to_contain_text("Done", timeout=LOADED)
    page.wait_for_function("() => [...document.querySelectorAll('#restore-result img')].every((each) => each.complete)")
    return page.eval_on_selector_all("#restore-result img", "all => all.map((image) => image.naturalWidth)")


def downloaded(page, name):
    with page.expect_download() as download:
        page.get_by_role("link", name=name).click()
    with Image.open(io.BytesIO(Path(download.value.path()).read_bytes())) as image:
        return download.value.suggested_filename, np.array(image)


def test_a_sample_is_restored_tile_by_tile(visit, artefacts):
    page = visit()
    expect(page.locator("#restore-model")).to_have_text("Restored by tiny.")
    page.evaluate(RECORD)
    page.fill("#restore-prompt", "a cat")
    page.select_option("#restore-tile", "256")
    page.locator("[data-sample=chelsea]").click()
    page.wait_for_function(
        "() => seen.tiles.some((words) => /tile \\d+ of 1\\d, [\\d.]+ s left/.test(words))", timeout=LOADED
    )
    page.screenshot(path=artefacts / "restore_progress.png")  # or of the result, where the browser is slower
    assert restored(page) == [902, 902]
    seen = page.evaluate("seen")
    assert seen["visible"]
    assert "Loading the model" in seen["stages"]
    assert "Restoring, tile by tile" in seen["stages"]
    assert len(seen["stages"]) < 8  # read out once each, not at every tile
    tiles = [int(told[1]) for told in (re.match(r"tile (\d+) of 1\d", words) for words in seen["tiles"]) if told]
    assert tiles == sorted(tiles)
    assert len(tiles) > 4
    assert seen["bar"][-1] > seen["bar"][0]
    expect(page.locator("#restore-result")).to_contain_text("902 × 600 px · tiny, untrained, in fp32 · CPU")
    expect(page.locator("#panel-image")).to_contain_text("Click one of the sample pictures")  # nothing was run there
    page.screenshot(path=artefacts / "restore.png", full_page=True)


def test_alpha_is_kept_and_seen(visit, artefacts):
    page = visit()
    picture = sample_image("coffee").resize((96, 64)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    upload(page, picture)
    page.click("#restore-run")
    assert set(restored(page)) == {192}
    page.screenshot(path=artefacts / "restore_alpha.png", full_page=True)
    _, made = downloaded(page, "restored.png")
    assert made.shape == (128, 192, 4)
    assert made[0, :, 3].max() < 10 and made[-1, :, 3].min() > 245


def test_before_and_after_by_keyboard_and_pointer_and_to_take_along(visit):
    page = visit()
    upload(page, sample_image("rocket").resize((120, 80)))
    expect(page.locator("#restore-size")).to_have_text("120 × 80 → 240 × 160 px")
    page.click("#restore-run")
    assert restored(page) == [240, 240]
    compare = page.locator("#restore-result .compare")
    assert [select.input_value() for select in compare.locator("select").all()] == ["enlarged", "restored"]
    divider = compare.get_by_role("slider")
    divider.focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "12")
    assert abs(move_divider(page, compare, 0.75) - 75) <= 1
    page.click("#zoom-in")
    expect(page.locator("#zoom-reset")).not_to_have_text("100 %")

    name, after = downloaded(page, "restored.png")
    assert name == "old_restored.png"
    assert after.shape == (160, 240, 3)
    _, before = downloaded(page, "enlarged.png")
    assert (before != after).any()


def test_settings_reach_the_server(visit, client):
    page, picture = visit(), sample_image("rocket").resize((40, 30))
    upload(page, picture)
    page.fill("#restore-prompt", "a rocket")
    page.locator("#restore-scale").focus()
    page.keyboard.press("End")  # 8
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#restore-scale-value")).to_have_text("7.5 ×")
    page.select_option("#restore-tile", "128")
    page.select_option("#restore-colour", "adain")
    page.fill("#restore-seed", "4294967295")
    page.keyboard.press("Enter")
    assert restored(page) == [300, 300]
    _, shown = downloaded(page, "restored.png")
    config = {"prompt": "a rocket", "scale": 7.5, "tile": 128, "colour": "adain", "seed": 2**32 - 1}
    files = {"image": encoded(picture)}
    answer = client.post("/api/restore", files=files, data={"config": json.dumps(config)}).json()
    with Image.open(io.BytesIO(client.get(answer["images"]["restored"]).content)) as expected:
        np.testing.assert_array_equal(shown, np.array(expected))


def test_cancel_stops_between_tiles_and_leaves_the_former_result(visit):
    page = visit()
    upload(page, sample_image("rocket").resize((60, 40)), "small.png")
    page.click("#restore-run")
    assert restored(page) == [120, 120]
    upload(page, sample_image("rocket"), "large.png")
    page.locator("#restore-scale").focus()
    page.keyboard.press("End")
    for _ in range(9):  # to 3.5: some seventy tiles
        page.keyboard.press("ArrowLeft")
    page.select_option("#restore-tile", "256")
    page.click("#restore-run")
    expect(page.locator("#remaining")).to_contain_text("tile", timeout=RUN)
    page.click("#cancel")
    expect(page.locator("#hint")).to_contain_text("Cancelled", timeout=RUN)
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#restore-result")).to_contain_text("120 × 80 px")
    health = page.url.partition("#")[0] + "api/health"
    assert eventually(lambda: page.request.get(health).json()["running"] == 0, seconds=3)  # all tiles take far longer


def test_what_cannot_be_is_said_at_its_control(visit):
    page = visit()
    page.click("#restore-run")
    expect(page.locator("#file-error")).to_contain_text("Choose a picture first")
    upload(page, sample_image("coffee").resize((10, 161)))
    page.click("#restore-run")
    expect(page.locator("#file-error")).to_contain_text("too thin to be restored: one side may be at most 16")
    upload(page, sample_image("coffee"))
    page.locator("#restore-scale").focus()
    page.keyboard.press("End")
    expect(page.locator("#restore-size")).to_contain_text("600 × 400 → 4800 × 3200 px")
    expect(page.locator("#restore-size")).to_contain_text("above the limit of 4.2 megapixels")
    page.click("#restore-run")
    expect(page.locator("#restore-scale-error")).to_contain_text("at most 4.2 megapixels")
    assert page.get_attribute("#restore-scale", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "restore-scale"
    page.keyboard.press("Home")
    expect(page.locator("#restore-scale-error")).to_be_hidden()
    for seed in ("-1", "1.5", str(2**32)):
        page.fill("#restore-seed", seed)
        expect(page.locator("#restore-seed-error")).to_be_hidden()
        page.click("#restore-run")
        expect(page.locator("#restore-seed-error")).to_contain_text("whole numbers from 0 to 4,294,967,295")
    page.fill("#restore-seed", "1")
    page.locator("#restore-prompt").evaluate(
        "input => (input.value = 'a'.repeat(2001))"
    )  # what only the server refuses
    page.click("#restore-run")
    expect(page.locator("#restore-prompt-error")).to_contain_text("at most 2000 characters")
    page.fill("#restore-prompt", "")
    expect(page.locator("#restore-prompt-error")).to_be_hidden()


def test_the_address_keeps_the_settings(visit):
    page = visit("#tab=restore&size=64&prompt=a+cat%26dog&scale=4.5&tile=256&seed=7&colour=none")

    def settings():
        return [page.input_value(f"#restore-{name}") for name in ("prompt", "scale", "tile", "seed", "colour")]

    assert settings() == ["a cat&dog", "4.5", "256", "7", "none"]
    expect(page.locator("#restore-scale-value")).to_have_text("4.5 ×")
    page.fill("#restore-prompt", "天空")
    page.select_option("#restore-tile", "0")
    page.locator("#restore-scale").focus()
    page.keyboard.press("ArrowRight")
    page.fill("#restore-seed", "0")
    page.select_option("#restore-colour", "adain")
    link = page.url
    assert link.partition("#")[2] == "tab=restore&size=64&prompt=%E5%A4%A9%E7%A9%BA&scale=5&colour=adain"
    page.goto(link)
    page.reload()
    assert settings() == ["天空", "5", "0", "0", "adain"]
    page.evaluate("() => { location.hash = 'tab=restore&tile=77&colour=mauve&seed=many'; }")
    expect(page.locator("#restore-prompt")).to_have_value("")
    assert settings() == ["", "2", "0", "0", "wavelet"]  # of what is not to be chosen, the first
    assert page.url.endswith("#tab=restore")


def test_without_trained_weights_the_button_explains(visit_with, artefacts):
    page = visit_with()
    expect(page.locator("#restore-model")).to_contain_text("only “tiny”, a small network that nobody has trained")
    upload(page, sample_image("rocket").resize((60, 40)))
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.click("#restore-run")
    why = page.locator("#restore-result [role=alert]")
    expect(why).to_contain_text("without trained weights the result would be speckle")
    expect(why).to_contain_text("--restore-model")
    expect(why).to_be_focused()
    assert page.locator("#restore-result img").count() == 0
    assert sent == []
    page.screenshot(path=artefacts / "restore_missing.png")
    page.click("#language")
    expect(why).to_contain_text("结果只会是噪点")


def test_a_server_that_cannot_restore_says_why_and_does_the_rest(visit_with):
    why = "model: the folder /models/own has no vae/config.json"
    page = visit_with("#tab=restore&size=64&iters=1", state="unavailable", texts={"en": why, "zh": why}, tiles=[])
    said = page.locator("#restore-model")
    expect(said).to_contain_text(why)
    expect(page.locator("#restore-form")).to_be_hidden()
    page.locator("[data-sample=coffee]").click()
    expect(page.locator("#about-run")).to_contain_text("coffee", timeout=RUN)
    page.click("#tab-restore")
    page.click("#language")
    expect(said).to_contain_text("此服务器无法复原图像")
    expect(said).to_contain_text(why)


def test_a_trained_model_is_told_without_a_warning(visit_with):
    page = visit_with(model="/models/own", trained=True, tiles=[256, 512])
    expect(page.locator("#restore-model")).to_have_text("Restored by /models/own.")
    assert page.locator("#restore-tile option").all_inner_texts() == ["automatic", "256 px", "512 px"]


def test_the_small_network_says_what_it_finds(visitor, serve, artefacts):
    """On a server as users start it."""
    page = visitor(serve().url, "#tab=restore&strength=1.5&deblur=0.5")
    page.wait_for_selector("#samples button")
    expect(page.locator("#restore-model")).to_have_text("Restored by small.")
    expect(page.locator("#restore-note")).to_contain_text("It draws next to nothing")
    assert page.locator("#restore-settings input").evaluate_all("all => all.map((each) => each.id)") == [
        "restore-scale",
        "restore-strength",
        "restore-deblur",
    ]
    expect(page.locator("#restore-strength-value")).to_have_text("1.5 ×")
    expect(page.locator("#restore-deblur-value")).to_have_text("0.5 ×")
    file = io.BytesIO()
    sample_image("coffee").resize((200, 133)).save(file, "JPEG", quality=30)
    page.set_input_files("#file", {"name": "old.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    page.click("#restore-run")
    assert restored(page) == [400, 400]
    expect(page.locator("#restore-result")).to_contain_text(
        re.compile(r"Found: noise \d+ of 255, JPEG quality 30, blur")
    )
    expect(page.locator("#restore-result")).to_contain_text("small in fp32")
    page.screenshot(path=artefacts / "restore_small.png", full_page=True)
