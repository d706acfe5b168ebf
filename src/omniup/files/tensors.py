"""Read and write named tensors with metadata in safetensors files, which can run nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from omniup.files.atomic import atomic_write
from omniup.files.sources import open_source


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write named tensors to a safetensors file, atomically; equal contents make equal files.

    Args:
        path: the file to write.
        tensors: what to write, from any device, views and tensors that share memory included.
        metadata: what to say about them.

    Raises:
        InputError: the file cannot be written.
    """
    packed = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)  # safetensors takes no views
        for name, tensor in tensors.items()
    }
    content = memoryview(save(packed, metadata or None))
    header, data = _header(content)
    text = json.dumps(_sorted(header), separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that tensors are aligned
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(data)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_tensors` wrote.

    Args:
        path: a safetensors file.

    Returns:
        The tensors, on the CPU, and the metadata, empty where the file has none.

    Raises:
        InputError: the file is missing, empty, damaged, truncated or not a safetensors file.
    """
    # safe_open maps the file by its path; opening it here first gives a missing one the words that it has everywhere
    with (
        open_source(path, noun="tensors", accepted="a safetensors file") as (_, subject),
        subject.attempt("read"),
        safe_open(path, framework="pt") as file,
    ):
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def _header(content: memoryview) -> tuple[dict[str, Any], memoryview]:
    """Split the bytes of a safetensors file into header and tensors."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(bytes(content[8:end])), content[end:]


def _sorted(header: dict[str, Any]) -> dict[str, Any]:
    """Sort the metadata, which safetensors writes in an order that differs from process to process."""
    metadata = header.pop("__metadata__", None)
    return header if metadata is None else {"__metadata__": dict(sorted(metadata.items())), **header}
