"""Caption pictures by a chat endpoint in OpenAI's style.

The key comes from the environment variable OMNIUP_CAPTION_KEY, goes into one header, and nowhere else: not into
messages, logs or records, and not to another address, since redirections are not followed.
"""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from io import BytesIO
from typing import IO, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError

KEY_VARIABLE = "OMNIUP_CAPTION_KEY"
"""The environment variable with the key; it may be absent, where a server needs none."""

_INSTRUCTION = (
    "Describe this picture in one sentence for a program that restores it: what it shows, materials and textures. "
    "Do not mention blur, noise or other damage. Answer with the sentence only."
)
_SIDE = 512  # pixels of the longest side that is sent
_TIMEOUT = 60.0  # seconds without an answer
_PAUSES = (1.0, 2.0, 4.0)  # seconds before each new attempt
_LONGEST_PAUSE = 30.0  # seconds that a server may ask for
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses after which it is worth trying again
_LARGEST_ANSWER = 2**20  # bytes


@dataclass(frozen=True)
class Captioner:
    """Asks an endpoint for captions.

    Attributes:
        url: of the endpoint, such as `http://localhost:8000/v1`; `/chat/completions` is added where it is missing.
        model: which of its models is to answer.

    Raises:
        InputError: the address is not one of http or https, or holds a password.
    """

    url: str
    model: str

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            is_accepted = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        except ValueError:
            is_accepted = False
        if not is_accepted:  # and is not repeated: it may hold a password
            raise InputError(
                "caption",
                "is no address of an endpoint",
                "http://HOST/v1 or https://HOST/v1; a key goes into {variable}",
                variable=KEY_VARIABLE,
            )

    def __str__(self) -> str:
        return f"caption by {self.model} at {urllib.parse.urlsplit(self.url).netloc}"

    def __call__(self, image: Tensor) -> str:
        """Ask for the caption of a picture; again after a pause, if the server may only be busy.

        Args:
            image: [1, 3, H, W] in 0..1.

        Raises:
            InputError: the server cannot be reached, refuses, or does not answer with a caption.
        """
        request = self._request(image)
        for pause in (*_PAUSES, None):
            try:
                return self._answer(request)
            except urllib.error.HTTPError as error:
                problem, asked_for = f"status {error.code}", error.headers.get("Retry-After", "")
                passes = error.code in _PASSING
                error.close()
            except (OSError, HTTPException) as error:  # not reached, timed out, broken off
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                problem, asked_for, passes = str(reason) or type(reason).__name__, "", True
            if pause is None or not passes:
                break
            time.sleep(min(float(asked_for), _LONGEST_PAUSE) if asked_for.isdecimal() else pause)
        raise InputError(str(self), "gave no answer ({reason})", reason=problem)

    def _request(self, image: Tensor) -> urllib.request.Request:
        url = self.url.rstrip("/")
        if not url.endswith("/chat/completions"):
            url += "/chat/completions"
        content = [
            {"type": "text", "text": _INSTRUCTION},
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_jpeg(image)}"}},
        ]
        body = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE, "").strip():
            if not (key.isascii() and key.isprintable()):  # what http.client would repeat in refusing it
                raise InputError(KEY_VARIABLE, "holds characters that a key cannot have")
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(url, json.dumps(body).encode(), headers)

    def _answer(self, request: urllib.request.Request) -> str:
        with urllib.request.build_opener(_NoRedirection).open(request, timeout=_TIMEOUT) as response:
            content = response.read(_LARGEST_ANSWER)
        try:
            caption = json.loads(content)["choices"][0]["message"]["content"]
            words = caption.split()
        except (ValueError, LookupError, TypeError, AttributeError):
            words = []
        if not words:
            raise InputError(str(self), "gave an answer that holds no caption")
        return " ".join(words)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirect handler that refuses: urllib would send the key along to the new address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Any:
        return None


def _jpeg(image: Tensor) -> str:
    """Encode a picture, small enough to be sent, as a JPEG in base 64."""
    factor = min(1.0, _SIDE / max(image.shape[2:]))
    size = [max(1, round(side * factor)) for side in image.shape[2:]]
    small = F.interpolate(image, size=size, mode="bilinear", antialias=True)  # [1, 3, h, w]
    levels = (small[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()  # [h, w, 3]
    held = BytesIO()
    Image.fromarray(levels).save(held, format="JPEG", quality=90)
    return base64.b64encode(held.getvalue()).decode()
