"""How long the demo lets people wait: whole answers over HTTP, similarities, and the page in a real browser.

The server is a process of its own, as users start it. The page is loaded in the Chromium of the machine, each time in
a fresh profile; what it weighs are the bytes of all that it loads before anything is clicked.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import torch

from measure import show
from omniup.files import sample_image

RUNS, CLICKS, LOADS = 15, 15, 5
TRANSFERRED = """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .reduce((sum, entry) => sum + entry.transferSize, 0)"""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Print the table."""
    command = [sys.executable, "-m", "omniup", "serve", "--port", "0", "--offline"]
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(r"OmniUp is at (\S+)", line) for line in process.stderr)))
            started = time.perf_counter() - began
            subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=process.stderr)
            rows = [["server, from its start to its address", f"{started:.2f} s", "", ""], *requests(found[1])]
            rows += page(found[1])
        finally:
            process.terminate()
    show("The demo", ["what", "median", "range", "to reach"], rows, torch.device("cpu"))


def requests(url: str) -> list[list[str]]:
    """Time runs and similarities."""
    photo = BytesIO()
    sample_image("coffee").save(photo, "PNG")

    with httpx.Client(base_url=url, timeout=600) as client:

        def run() -> dict[str, Any]:
            answer = client.post("/api/run", files={"image": photo.getvalue()})
            answer.raise_for_status()
            return answer.json()

        def similarity(map: str) -> Callable[[], Any]:
            wanted = {"run_id": run()["run_id"], "x": 128, "y": 128, "map": map}
            return lambda: client.post("/api/similarity", json=wanted).raise_for_status()

        run()
        rows = [row("POST /api/run, defaults: 256×256, stride 16, R = 2, 50 iterations", timed(run, RUNS), "≤ 1.5 s")]
        seconds = run()["meta"]["seconds"]
        rows += [[f"    of which {stage}", f"{value:.3f} s", "", ""] for stage, value in seconds.items()]
        for map in ("bilinear", "fixed", "gsjbu"):
            rows.append(row(f"POST /api/similarity, {map}, 32 channels", timed(similarity(map), CLICKS), "< 0.1 s"))
    return rows


def page(url: str) -> list[list[str]]:
    """Load the page in a browser; nothing where there is none."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    paints, weights = [], []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        for _ in range(LOADS + 1):
            context = browser.new_context()
            tab = context.new_page()
            tab.goto(url, wait_until="networkidle")
            paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            paints.append(paint / 1000)
            weights.append(tab.evaluate(TRANSFERRED))
            context.close()
        browser.close()
    rows = [row("page: first contentful paint", paints[1:], "< 0.5 s")]
    return [*rows, ["page: bytes transferred, with everything", f"{max(weights) / 1000:.0f} kB", "", "< 200 kB"]]


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of several calls."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def row(name: str, seconds: list[float], reach: str) -> list[str]:
    """A line of the table."""
    return [name, f"{statistics.median(seconds):.3f} s", f"{min(seconds):.3f} to {max(seconds):.3f}", reach]


if __name__ == "__main__":
    main()
