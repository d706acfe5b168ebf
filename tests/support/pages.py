"""A browser's visit to the demo."""


class Visit:
    """A page and all that it complained about."""

    def __init__(self, browser, url, address="", **options):
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US"} | options
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
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
        self.context.close()
        assert self.complaints == []
        foreign = [url for url in self.requests if not url.startswith((self.url, "blob:", "data:"))]
        assert foreign == []
