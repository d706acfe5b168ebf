"""What fits where: first screens, phones, fingers, the tour and the mathematics."""

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from support.pages import Visit, finished, new_context

DESK = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
SMALL = "#size=224&iters=1"


@pytest.fixture
def visit(visitor, server):
    return lambda address="", **options: visitor(server.url, address, **options)


def run_sample(page, index=1):
    page.locator("#samples button").nth(index).click()
    finished(page)


def box(locator):
    return locator.bounding_box()


def test_the_first_paint_is_soon(browser, server):
    paints = []
    for _ in range(3):  # the best of them: other tests may be running
        context = new_context(browser)  # which has no files yet
        visit = Visit(context, server.url)
        paints.append(visit.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        visit.close()
        context.close()
    assert min(paints) < 500


def test_the_comparison_is_on_the_first_screen_after_a_run(visit, artefacts):
    page = visit(SMALL, **DESK)
    run_sample(page)
    assert page.evaluate("scrollY") == 0
    figures = page.locator("#panel-image figure").all()[:3]
    assert all(box(figure)["y"] + box(figure)["height"] <= 900 for figure in figures)
    compare = page.locator("#panel-image .compare").first
    assert box(compare)["height"] <= 900 - 60  # of which tabs take some
    page.screenshot(path=artefacts / "first_screen.png")


def test_help_opens_at_full_width(visit):
    page = visit(**DESK)
    before = box(page.locator("#control-stride"))["width"]
    page.locator("#control-stride .ask").click()
    assert box(page.locator("#control-stride"))["width"] > 1.8 * before


def test_similarity_covers_no_picture(visit, artefacts):
    page = visit(SMALL, **DESK)
    run_sample(page)
    page.click("#tab-kernels")
    page.locator("#panel-kernels figure .frame").first.click(position={"x": 40, "y": 30})
    expect(page.locator("#similarity")).to_be_visible()
    side = box(page.locator("#similarity"))
    for frame in page.locator("#panel-kernels .frame").all():
        assert box(frame)["x"] + box(frame)["width"] <= side["x"]
    assert side["y"] >= 0 and side["y"] + side["height"] <= 900
    page.screenshot(path=artefacts / "similarity_beside.png")


def test_tabs_of_a_phone_say_that_there_are_more(visit, artefacts):
    page = visit(**PHONE)
    before, after = page.locator(".more-tabs.before"), page.locator(".more-tabs.after")
    expect(before).to_be_hidden()
    expect(after).to_be_visible()
    for _ in range(4):
        if after.is_visible():
            after.click()
            page.wait_for_timeout(500)
    expect(after).to_be_hidden()
    expect(before).to_be_visible()
    assert box(page.locator("#tab-restore"))["x"] + box(page.locator("#tab-restore"))["width"] <= 360
    page.tap("#tab-restore")
    expect(page.locator("#panel-restore")).to_be_visible()
    page.screenshot(path=artefacts / "phone_tabs.png")


def test_two_fingers_zoom_all_pictures(visit):
    page = visit(SMALL, **PHONE)
    run_sample(page)
    expect(page.locator("#touch-note")).to_contain_text("pinch with two fingers")
    frame = page.locator("#panel-image .frame").first
    frame.scroll_into_view_if_needed()
    place = box(frame)
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind, *offsets):
        points = [{"x": x + offset, "y": y, "id": index} for index, offset in enumerate(offsets)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -15, 15)
    for apart in (20, 25, 30, 35, 40, 45):
        touch("touchMove", -apart, apart)
    touch("touchEnd")
    expect(page.locator("#zoom-reset")).to_have_text("300 %")
    assert page.evaluate("visualViewport.scale") == 1  # the page stays as it is
    assert frame.locator("img").first.evaluate("image => image.getBoundingClientRect().width") == pytest.approx(
        3 * place["width"], rel=0.02
    )
    page.wait_for_timeout(400)
    expect(page.locator("#similarity")).to_be_hidden()  # that was no tap


def test_the_tour_has_four_steps_and_is_offered_once(visit, artefacts):
    page = visit(**DESK)
    expect(page.locator("#tour-offer")).to_be_visible()
    page.click("#tour-start")
    for step in (1, 2, 3, 4):
        expect(page.locator("#tour-place")).to_have_text(f"Step {step} of 4")
        assert page.evaluate("document.activeElement.id") == "tour-title"
        expect(page.locator(".toured")).to_have_count(1)
        page.screenshot(path=artefacts / f"tour_{step}.png")
        if step == 2:  # the cards that it speaks of can be seen
            box = page.locator("#tour").bounding_box()
            cards = [page.locator("#sides figure").nth(index).bounding_box() for index in range(3)]
            assert all(card["y"] >= 0 and card["y"] + card["height"] <= box["y"] for card in cards)
        if step == 3:
            page.click("#language")
            expect(page.locator("#tour-text")).to_contain_text("深度与类别概率")
            page.click("#language")
        page.click("#tour-next")
    expect(page.locator("#tour")).to_be_hidden()
    expect(page.locator(".toured")).to_have_count(0)
    page.reload()
    page.wait_for_selector("#samples button")
    expect(page.locator("#tour-offer")).to_be_hidden()
    page.click("#tour-again")
    expect(page.locator("#tour")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#tour")).to_be_hidden()


def test_the_tour_can_be_skipped(visit):
    page = visit(**PHONE)
    page.click("#tour-no")
    expect(page.locator("#tour-offer")).to_be_hidden()
    page.reload()
    page.wait_for_selector("#samples button")
    expect(page.locator("#tour-offer")).to_be_hidden()


def test_every_computed_picture_has_its_mathematics(visit, artefacts):
    page = visit(SMALL, **DESK)
    run_sample(page)
    for tab in ("image", "kernels"):
        page.click(f"#tab-{tab}")
        for button in page.locator(f"#panel-{tab} .maths").all():
            button.click()
            dialog = page.locator("#mathematics")
            expect(dialog).to_be_visible()
            assert dialog.locator(".formula").count() >= 1
            assert "maths." not in dialog.inner_text()
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
    page.click("#tab-kernels")
    page.locator("#panel-kernels .maths").first.click()
    page.screenshot(path=artefacts / "mathematics.png")
    page.keyboard.press("Escape")
