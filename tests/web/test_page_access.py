"""WCAG 2.2 AA by axe-core, on every tab, light and dark, phone and desk."""

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

RUN = 20_000
TABS = ("image", "features", "kernels", "segmentation", "metrics", "signal", "restore")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENS = {
    "desk": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}


@pytest.fixture
def visit(visitor, server):
    return lambda address="", **options: visitor(server.url, address, **options)


def violations(page):
    """What axe-core finds, a line each."""
    axe_core = pytest.importorskip("axe_playwright_python.base")
    if not page.evaluate("'axe' in window"):
        # as a parsed script: the page's own policy forbids those that are put into it
        page.evaluate(axe_core.AXE_FILE_PATH.read_text())
    found = page.evaluate(
        "tags => axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] })", TAGS
    )
    return [
        f"{each['id']}: {node['target']} {node['failureSummary'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("screen", SCREENS)
def test_every_tab_empty_and_with_a_result(visit, screen):
    page = visit("#size=224&iters=1", **SCREENS[screen])
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(200)
        assert violations(page) == [], tab
    page.click("#tab-image")
    page.locator("#samples button").first.click()
    expect(page.locator("#announcer")).to_contain_text("Done", timeout=RUN)
    expect(page.locator("#progress")).to_be_hidden()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for tab in TABS:
            page.click(f"#tab-{tab}")
            page.wait_for_timeout(300)
            assert violations(page) == [], (scheme, tab)
