"""Compute the example that the page opens with: src/omniup/web/static/opening.js and the pictures beside it.

    GOMP_SPINCOUNT=2000 python tools/opening.py  # as `omniup serve` has it, or the times would be others

The server computes it as it would for any visitor; the page then shows it without waiting. WebP keeps the pictures
small: they are to be looked at, and what is measured was measured before.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.testclient import TestClient

import omniup.web
from omniup.files import sample_image
from omniup.web import Settings, create_app

SAMPLE = "chelsea"
METHODS = [
    *({"method": name, "settings": {}} for name in ("pyramid_bilateral", "bilinear", "bicubic")),
    *({"method": "upsample_anything", "settings": {"preset": name}} for name in ("spec", "paper")),
]
STATIC = Path(omniup.web.__file__).with_name("static")


def opening(repeats: int = 1) -> dict[str, Any]:
    """Return the answer of `/api/compare` for the sample, with the page's settings.

    Args:
        repeats: requests, of which each method's shortest time is told: other programs run as well.
    """
    photo = io.BytesIO()
    sample_image(SAMPLE).save(photo, "PNG")
    config = {"shape": "keep", "methods": METHODS}
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        files, data = {"image": photo.getvalue()}, {"config": json.dumps(config)}
        found = [client.post("/api/compare", files=files, data=data).raise_for_status().json() for _ in range(repeats)]
    for place, each in enumerate(found[0]["results"]):
        each["seconds"] = min(answer["results"][place]["seconds"] for answer in found)
    answer: dict[str, Any] = found[0]
    return answer


def _save(data_url: str, name: str) -> str:
    """Save a picture as WebP beside the page, and return its URL."""
    content = base64.b64decode(data_url.partition(",")[2])
    folder = STATIC / "opening"
    folder.mkdir(exist_ok=True)
    with Image.open(io.BytesIO(content)) as picture:
        picture.save(folder / f"{name}.webp", quality=80, method=6)
    return f"/static/opening/{name}.webp"


def main() -> None:
    """Write the example."""
    answer = opening(repeats=4)
    del answer["run_id"]
    answer["original"] = _save(answer["original"], "original")
    for each in answer["results"]:
        each["image"] = _save(each["image"], each["settings"].get("preset", each["method"]))
        each["psnr"] = {name: round(value, 2) for name, value in each["psnr"].items()}
        each["seconds"] = round(each["seconds"], 1)
    text = json.dumps(answer, indent=2)
    head = "/** The example that the page opens with; tools/opening.py computes it. */\n\n"
    (STATIC / "opening.js").write_text(f"{head}export const OPENING = {text};\n", "utf-8")


if __name__ == "__main__":
    main()
