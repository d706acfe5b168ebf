"""Read network weights from a file or from torch.hub's cache, never unpickling code."""

from __future__ import annotations

import hashlib
import re
import textwrap
import urllib.request
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from omniup.errors import InputError
from omniup.files.atomic import atomic_write, sweep
from omniup.files.refusals import printable
from omniup.files.tensors import read_tensors

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's pixels, red, green and blue in 0..1: most published networks expect them."""

_ACCEPTED = "a state dict, that is tensors by name, as .safetensors or written by torch.save"

_TIMEOUT = 10.0  # seconds without an answer after which a server counts as out of reach

_CHUNK = 2**18

OFFLINE: ContextVar[bool] = ContextVar("offline", default=False)
"""True where `fetch` must not ask the network: in the requests of a server that is offline."""


class WeightsUnavailableError(Exception):
    """Published weights are neither in the cache nor available from the network; the message says why."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a local file.

    Args:
        path: a .safetensors file, or what `torch.save(model.state_dict(), path)` wrote.

    Returns:
        Tensors by name, on the CPU; at least one.

    Raises:
        InputError: the file is missing, damaged, or holds anything but tensors by name.
    """
    subject = printable(path)
    if Path(path).suffix == ".safetensors":
        state, _ = read_tensors(path)
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes raise OSError, EOFError, KeyError, RuntimeError, UnpicklingError …
            why, _, _ = summary(error).partition(". ")  # torch's message goes on with how to unpickle it after all
            raise InputError(subject, "cannot be read ({reason})", _ACCEPTED, reason=why) from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        held = f"dict of {', '.join(map(str, state))}" if state and isinstance(state, dict) else type(state).__name__
        raise InputError(subject, "holds a {held}", _ACCEPTED, held=summary(held))
    return state


def cached_path(url: str) -> Path:
    """Return the path that a URL's file has, or would have, in torch.hub's cache."""
    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])


def fetch(url: str, checksum: str | None = None) -> Path:
    """Get a published file from torch.hub's cache, or else from the network in a single attempt, with progress.

    Unlike `torch.hub.load_state_dict_from_url`, this checks the cached file too, so that one that was cut short is
    fetched again instead of failing at every run, and it does not wait for a server that is silent.

    Args:
        url: of the file.
        checksum: its SHA-256, or the beginning of it; by default what its name says, as in `resnet18-f37072fd.pth`, if
            it says any.

    Returns:
        The file in the cache.

    Raises:
        WeightsUnavailableError: the file is not in the cache, or damaged there, and cannot be fetched or kept.
    """
    cached = cached_path(url)
    if checksum is None:
        named = re.search(r"-([0-9a-f]{8,64})\.\w+$", cached.name)
        checksum = named[1] if named else ""
    try:
        if not (cached.is_file() and hashlib.sha256(cached.read_bytes()).hexdigest().startswith(checksum)):
            if OFFLINE.get():
                raise WeightsUnavailableError(f"{url}: not in the cache, and `offline` forbids to fetch it")
            download(url, cached, checksum)
    except (OSError, HTTPException, InputError, ValueError) as error:  # the last two from atomic_write and for no URL
        raise WeightsUnavailableError(f"{url}: {summary(error)}") from error
    return cached


def download(url: str, path: Path, checksum: str = "") -> None:
    """Download a file in a single attempt, with progress, whole or not at all; folders are made as needed.

    Args:
        url: of the file.
        path: where it goes.
        checksum: its SHA-256, or the beginning of it.

    Raises:
        WeightsUnavailableError: it is cut short, or has another checksum.
        OSError: the server gives no such file, or cannot be reached.
        HTTPException: the server breaks off.
        InputError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, atomic_write(path) as file:
        digest, size = hashlib.sha256(), int(response.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, desc=path.name, unit="B", unit_scale=True, disable=None) as progress:
            while chunk := response.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
                progress.update(len(chunk))
        if size and file.tell() != size:  # of a connection that ends early, `read` gives no sign
            raise WeightsUnavailableError(f"{url} gives {file.tell()} bytes of {size}")
        if not digest.hexdigest().startswith(checksum):
            raise WeightsUnavailableError(f"what {url} gives does not have the checksum {checksum}")


def published_state_dict(url: str) -> dict[str, Tensor]:
    """Get published weights; see `fetch`.

    Args:
        url: of a file named like `resnet18-f37072fd.pth`, with the beginning of its SHA-256.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        WeightsUnavailableError: as `fetch`.
    """
    return read_state_dict(fetch(url))


def summary(cause: object) -> str:
    """Summarise an exception or a text in one line of readable length."""
    strerror = cause.strerror if isinstance(cause, OSError) else None  # without the file's name
    text = strerror or str(cause) or type(cause).__name__
    return textwrap.shorten(text, 300, placeholder=" …")
