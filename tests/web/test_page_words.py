"""The page in Chinese: not one English sentence in any state, and set as Chinese is."""

import json
import re
from functools import partial

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from support import pages
from support.demo import npy
from support.pages import RUN, TABS, png, upload

#: All texts and attributes that somebody may read, but for what is marked as English.
READ = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    if (!parentElement.closest("[lang=en], noscript, script, [download]")) found.push(data);
  }
  for (const element of document.querySelectorAll("*")) {
    for (const name of ["alt", "title", "placeholder", "aria-label", "aria-valuetext"]) {
      if (element.hasAttribute(name)) found.push(element.getAttribute(name));
    }
  }
  return [document.title, ...found];
}"""

#: Two words in a row that are no names: sentences have some.
ENGLISH = re.compile(r"\b[a-z]{2,}[,;:]? [a-z]{2,}\b")

#: What stands for itself in Chinese too: samples of prompts, commands, names of methods and networks.
TERMS = re.compile(r"“[^”]*”|\"[^\"]*\"|https?://\S+|\S+/\S+|pip install \S+|omniup \w+", re.ASCII)


@pytest.fixture
def visit(visitor, server):
    return lambda address="", **options: visitor(server.url, address, **options)


def english(page):
    """English that is left on the page."""
    return sorted({text for text in page.evaluate(READ) if ENGLISH.search(TERMS.sub("", text))})


finished = partial(pages.finished, said=re.compile("完成|Done"))


def test_no_english_in_any_tab_before_and_after_a_run(visit):
    page = visit("#size=224&iters=1&extractor=resnet18_layer2", locale="zh-CN")
    page.click("#tour-start")
    for _ in range(4):
        assert english(page) == []
        page.click("#tour-next")
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(200)
        assert english(page) == [], tab
    for ask in page.locator("#settings .ask:visible").all():
        ask.click()
    page.check("#segmentation")
    page.click("#tab-image")
    page.locator("#samples button").first.click()
    finished(page)
    assert english(page) == []
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(400)
        assert english(page) == [], tab
    page.click("#tab-image")
    for button in page.locator("#panel-image .maths").all():
        button.click()
        assert english(page) == []
        page.keyboard.press("Escape")
    page.click("#tab-kernels")
    page.locator("#panel-kernels figure .frame").first.click(position={"x": 40, "y": 30})
    expect(page.locator("#similarity")).to_be_visible()
    assert english(page) == []


def test_no_english_is_left_when_the_language_changes(visit):
    page = visit("#size=224&iters=1&extractor=resnet18_layer2&segmentation=true")
    page.locator("#samples button").first.click()
    finished(page)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(200)
    upload(page, "notes.txt", b"", kind="text/plain")
    upload(page, "edge.png", b"no picture")
    page.click("#run")
    expect(page.locator("#file-error")).to_be_visible()
    page.click("#language")
    assert page.get_attribute("html", "lang") == "zh-CN"
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(200)
        assert english(page) == [], tab


def test_no_english_in_what_is_refused(visit):
    page = visit("#tab=signal&size=4000", locale="zh-CN")
    page.click("#run")
    assert english(page) == []
    upload(page, "notes.txt", b"", kind="text/plain")
    assert english(page) == []
    upload(page, "edge.png", png())
    page.click("#run")
    expect(page.locator("#size-error")).to_be_visible(timeout=RUN)
    assert english(page) == []
    signals = {
        "broken.npy": b"nothing",
        "unclear.npy": npy(np.zeros((16, 24, 16), np.float32)),
        "large.npy": npy(np.zeros((2, 300, 300), np.float32)),
        "complex.npy": npy(np.zeros((4, 6), np.complex64)),
        "cut.npy": npy(np.zeros((4, 6), np.float32))[:-9],
        "infinite.npy": npy(np.full((4, 6), np.inf, np.float32)),
        "damaged.png": png()[:100],
    }
    for name, content in signals.items():
        upload(page, name, content, "", "#signal")
        expect(page.locator("#signal-error")).to_be_visible(timeout=RUN)
        assert english(page) == [], name
        page.click("#signal-run")
        page.wait_for_timeout(300)
        assert english(page) == [], name
    upload(page, "depth.npy", npy(np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)), "", "#signal")
    page.click("#signal-settings > summary") if not page.is_visible("#signal-grid") else None
    for control, value in {"grid": "3 × 3", "invalid": "x", "region": "900, 0, 5, 5"}.items():
        page.fill(f"#signal-{control}", value)
        page.click("#signal-run")
        expect(page.locator("#signal-error")).to_be_visible(timeout=RUN)
        assert english(page) == [], control
        page.fill(f"#signal-{control}", "")
    page.select_option("#signal-type", "probabilities")
    page.click("#signal-run")
    expect(page.locator("#signal-error")).to_be_visible(timeout=RUN)
    assert english(page) == []
    page.select_option("#signal-type", "auto")
    for method in page.locator("#signal-method option").evaluate_all("all => all.map((each) => each.value)"):
        page.select_option("#signal-method", method)
        page.wait_for_timeout(50)
        assert english(page) == [], method


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "json": {"detail": "x", "texts": {"en": "the server failed badly", "zh": "服务器出错"}}},
        {"status": 502, "body": "Bad gateway"},
        {"status": 404, "json": {"detail": "there is no such run"}},
        {"status": 413, "body": ""},
        None,
    ],
)
def test_no_english_where_the_server_fails(visit, answer):
    page = visit("#size=224&iters=1", locale="zh-CN")
    upload(page, "edge.png", png())
    page.route("**/api/run", lambda route: route.fulfill(**answer) if answer else route.abort())
    page.click("#run")
    expect(page.get_by_role("alert")).to_be_visible()
    assert english(page) == []


def test_no_english_on_a_signal_s_result(visit):
    page = visit("#tab=signal", locale="zh-CN")
    upload(page, "edge.png", png())
    random = np.random.default_rng(0)
    depth = random.random((16, 24), np.float32) * 8 + 1
    depth[:4, :5] = 0
    signals = {
        "depth.npy": depth,
        "labels.npy": random.integers(0, 5, (16, 24)),
        "features.npy": random.standard_normal((5, 16, 24)).astype(np.float32),
        "tokens.npy": random.random((1, 385, 8), np.float32),
        "classes.npy": np.stack([depth / 10, 1 - depth / 10]),
    }
    for name, array in signals.items():
        upload(page, name, npy(array), "", "#signal")
        expect(page.locator("#signal-type option").first).to_contain_text("按识别结果", timeout=RUN)
        assert english(page) == [], name
        page.evaluate("document.getElementById('announcer').textContent = ''")
        page.click("#signal-run")
        finished(page)
        assert english(page) == [], name
    page.select_option("#signal-method", "bilinear")
    expect(page.locator("#signal-result")).to_contain_text("此结果由之前的设置得到")
    assert english(page) == []


def test_chinese_is_set_as_chinese(visit):
    page = visit(locale="zh-CN")
    texts = page.evaluate("async () => (await import('/static/texts.js')).TEXTS")
    ideograph = "[\u4e00-\u9fff]"
    joined = re.compile(f"[A-Za-z0-9]{ideograph}|{ideograph}[A-Za-z0-9]")
    half = re.compile(f"{ideograph}[,;:!?()]|[,;:!?()]{ideograph}|[，。；：！？（）] | [，。；：！？（）]")
    wrong = {key: zh for key, (_, zh) in texts.items() if joined.search(zh) or half.search(zh)}
    assert wrong == {}, json.dumps(wrong, ensure_ascii=False, indent=1)
    family = page.evaluate("getComputedStyle(document.body).fontFamily")
    assert {"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC"} <= {name.strip(' "') for name in family.split(",")}
