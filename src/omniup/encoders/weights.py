"""Network weights from a file or from torch.hub's cache. They are data: nothing is ever unpickled as code."""

from __future__ import annotations

import hashlib
import io
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.files import atomic_write, read_tensors

SEED = 0
"""Of random weights, where there are no others."""

_ACCEPTED = "a state dict, that is tensors by name, as .safetensors or written by torch.save"

_TIMEOUT = 10.0  # seconds without an answer after which a server counts as out of reach


class WeightsUnavailableError(Exception):
    """Published weights are neither in the cache nor to be had from the network; the message says why."""


@contextmanager
def seeded() -> Iterator[None]:
    """Draw initial weights from `SEED` and leave the caller's random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed would reseed the GPUs as well
        yield


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a local file.

    Args:
        path: a .safetensors file, or what `torch.save(model.state_dict(), path)` wrote.

    Returns:
        Tensors by name, on the CPU; at least one.

    Raises:
        InputError: the file is missing, damaged, or holds anything but tensors by name.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        state, _ = read_tensors(path)
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes raise OSError, EOFError, KeyError, RuntimeError, UnpicklingError …
            raise InputError(f"{path}: cannot be read ({summary(error)}); accepted: {_ACCEPTED}") from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        held = f"a dict of {', '.join(map(str, state))}" if state and isinstance(state, dict) else type(state).__name__
        raise InputError(f"{path}: holds {summary(held)}; accepted: {_ACCEPTED}")
    return state


def published_state_dict(url: str) -> dict[str, Tensor]:
    """Get published weights from torch.hub's cache, or else from the network in a single attempt.

    Unlike `torch.hub.load_state_dict_from_url`, this checks the cached file too, so that one that was cut short is
    fetched again instead of failing at every run, and it does not wait for a server that is silent.

    Args:
        url: of a file named like `resnet18-f37072fd.pth`, with the beginning of its SHA-256.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        WeightsUnavailableError: the file is not in the cache, or damaged there, and cannot be fetched or kept.
    """
    cached = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    checksum = cached.stem.rpartition("-")[2]
    try:
        content = cached.read_bytes() if cached.is_file() else b""
        if not hashlib.sha256(content).hexdigest().startswith(checksum):
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                content = response.read()
            if not hashlib.sha256(content).hexdigest().startswith(checksum):
                raise WeightsUnavailableError(f"what {url} gives does not have the checksum {checksum}")
            cached.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(cached) as file:
                file.write(content)
    except (OSError, HTTPException, InputError) as error:  # the last from atomic_write
        raise WeightsUnavailableError(f"{url}: {summary(error)}") from error
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def summary(problem: object) -> str:
    """Put what an exception or a text says into one line of readable length."""
    strerror = problem.strerror if isinstance(problem, OSError) else None  # without the file's name
    text = strerror or str(problem) or type(problem).__name__
    return textwrap.shorten(text, 300, placeholder=" …")
