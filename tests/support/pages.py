"""A browser's visit to the demo."""

import io

import numpy as np
from PIL import Image

RUN = 20_000  # ms that a small run may take where the cores are busy
TABS = ("image", "features", "kernels", "segmentation", "metrics", "signal", "restore")


def new_context(browser, **options):
    """Make what Playwright calls a context: a window's size, a language, and what is remembered between pages."""
    return browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en-US"} | options)


class Visit:
    """A page and all that it complained about."""

    def __init__(self, context, url, address=""):
        self.page = context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self._heard(message))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = url
        self.go(address)

    def _heard(self, message):
        # a refused request is what some tests ask for; the page itself answers for what it makes of it
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def go(self, address=""):
        self.page.goto(f"{self.url.rstrip('/')}/{address}")
        self.page.wait_for_selector("#samples button")
        return self.page

    def close(self):
        self.page.evaluate("localStorage.clear()")  # the next visit is another person's
        self.page.close()
        assert self.complaints == []
        foreign = [url for url in self.requests if not url.startswith((self.url, "blob:", "data:"))]
        assert foreign == []


def move_divider(page, compare, part):
    """Drag the divider of a comparison to a part of its width, and tell where it says to be, in %."""
    divider = compare.get_by_role("slider")
    divider.scroll_into_view_if_needed()
    box, grip = compare.locator(".frame").bounding_box(), divider.bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + part * box["width"], grip["y"] + 40, steps=3)
    page.mouse.up()
    return int(divider.get_attribute("aria-valuenow"))


def finished(page, said="Done"):
    """Wait for the next result, which is announced by a word, or by a pattern of some."""
    from playwright.sync_api import expect  # which not everybody has who visits no page

    expect(page.locator("#announcer")).to_contain_text(said, timeout=RUN)
    expect(page.locator("#progress")).to_be_hidden()


def png(width=96, height=64):
    """A picture with one edge."""
    file = io.BytesIO()
    pixels = np.full((height, width, 3), 60, np.uint8)
    pixels[:, width // 2 :] = (220, 160, 40)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def upload(page, name="edge.png", content=None, kind="image/png", selector="#file"):
    """Choose a file, by default a picture with one edge."""
    content = png() if content is None else content
    page.set_input_files(selector, {"name": name, "mimeType": kind, "buffer": content})
