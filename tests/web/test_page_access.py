"""WCAG 2.2 AA by axe-core, on every tab, light and dark, phone and desk."""

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from support.demo import npy
from support.pages import RUN, TABS, finished

ALL = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""What can differ between light and dark."""

SCREENS = {
    "desk": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}


@pytest.fixture
def visit(visitor, server):
    return lambda address="", **options: visitor(server.url, address, **options)


def violations(page, rules=ALL):
    """What axe-core finds, a line each."""
    axe_core = pytest.importorskip("axe_playwright_python.base")
    if not page.evaluate("'axe' in window"):
        # as a parsed script: the page's own policy forbids those that are put into it
        page.evaluate(axe_core.AXE_FILE_PATH.read_text())
    found = page.evaluate("rules => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })", rules)
    return [
        f"{each['id']}: {node['target']} {node['failureSummary'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("screen", SCREENS)
def test_every_tab_empty_and_with_a_result(visit, screen):
    page = visit("#size=224&iters=1", **SCREENS[screen])
    page.click("#tour-start")
    assert violations(page) == []
    page.click("#tour-skip")
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(200)
        assert violations(page) == [], tab
    page.click("#tab-image")
    page.locator("#samples button").first.click()
    finished(page)
    for scheme, rules in {"light": ALL, "dark": COLOURS}.items():
        page.emulate_media(color_scheme=scheme)
        for tab in TABS:
            page.click(f"#tab-{tab}")
            page.wait_for_timeout(300)
            assert violations(page, rules) == [], (scheme, tab)
        page.click("#tab-kernels")
        page.locator("#panel-kernels .maths").first.click()
        assert violations(page, rules) == [], scheme
        page.keyboard.press("Escape")


@pytest.mark.parametrize("screen", SCREENS)
def test_one_s_own_signal_and_what_is_refused(visit, screen):
    page = visit("#tab=signal", **SCREENS[screen])
    page.click("#run")
    page.click("#signal-run")
    assert violations(page) == []
    page.evaluate("document.getElementById('settings').open = true")
    for ask in page.locator("#settings .ask:visible").all():
        ask.click()
    assert violations(page) == []
    page.locator("#samples button").first.click()
    expect(page.locator("#announcer")).to_contain_text("Done", timeout=RUN)
    page.click("#tab-signal")
    for name, array in {"depth": np.linspace(0, 1, 150).reshape(10, 15), "labels": np.eye(15, dtype=int)[:10]}.items():
        content = npy(array)
        page.set_input_files("#signal", {"name": f"{name}.npy", "mimeType": "", "buffer": content})
        page.evaluate("document.getElementById('announcer').textContent = ''")
        page.click("#signal-run")
        expect(page.locator("#announcer")).to_contain_text("Done", timeout=RUN)
        page.evaluate("document.getElementById('signal-settings').open = true")
        for scheme, rules in {"light": ALL, "dark": COLOURS}.items():
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(100)
            assert violations(page, rules) == [], (name, scheme)
