"""Attach the adapter that turns Stable Diffusion's U-Net into a restorer: LoRA (arXiv 2106.09685), with PEFT.

Published weights are a plain dict of tensors, named as the U-Net with a PEFT adapter `default` names them, such as
`down_blocks.0.attentions.0.proj_in.lora_A.default.weight`. Every name must be known, and every known one be there: an
adapter of which a part is missing would still run, and give pictures that are a little worse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from omniup.errors import InputError, optional_import
from omniup.files.refusals import printable
from omniup.files.weights import read_state_dict

TARGETS = (
    "to_k",
    "to_q",
    "to_v",
    "to_out.0",
    "conv",
    "conv1",
    "conv2",
    "conv_shortcut",
    "conv_out",
    "proj_in",
    "proj_out",
    "ff.net.2",
    "ff.net.0.proj",
)
"""The layers of the U-Net that are adapted: attention, convolutions, feed-forward."""

_LISTED = 3  # names in a refusal


def add_lora(unet: Any, rank: int) -> None:
    """Add an adapter to a U-Net that does not change it yet: A is Gaussian, B is 0, alpha is the rank.

    Args:
        unet: diffusers' UNet2DConditionModel.
        rank: of the products that are added to its weights.
    """
    peft = optional_import("peft", extra="restore")
    settings = peft.LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(TARGETS), lora_bias=False
    )
    unet.add_adapter(settings)


def lora_tensors(unet: Any) -> dict[str, Tensor]:
    """Return the tensors of a U-Net's adapter, under their published names."""
    return {name: tensor for name, tensor in unet.state_dict().items() if ".lora_" in name}


def load_lora(unet: Any, path: str | Path) -> None:
    """Fill a U-Net's adapter from a file.

    Args:
        unet: has an adapter.
        path: .safetensors, or a dict that `torch.save` wrote, of which nothing but tensors is read.

    Raises:
        InputError: the file cannot be read, lacks tensors or has some too many, or is of another rank; says which.
    """
    subject, found, known = printable(path), read_state_dict(path), lora_tensors(unet)
    if missing := sorted(known.keys() - found.keys()):
        raise InputError(
            subject, "lacks {count} of {all} tensors, {names}", count=len(missing), all=len(known), names=_some(missing)
        )
    if unexpected := sorted(found.keys() - known.keys()):
        raise InputError(
            subject,
            "has {count} tensors that the model has not, {names}",
            count=len(unexpected),
            names=_some(unexpected),
        )
    if ranks := {_rank(name, found) for name in known} ^ {_rank(name, known) for name in known}:
        theirs = sorted({_rank(name, found) for name in known} & ranks)
        ours = sorted({_rank(name, known) for name in known})
        raise InputError(
            subject, "is of the LoRA rank {theirs}", "{ours}", theirs=_numbers(theirs), ours=_numbers(ours)
        )
    if unfit := [name for name in sorted(known) if found[name].shape != known[name].shape]:
        raise InputError(
            subject,
            "has {count} tensors of another shape, {names}, the first {found} instead of {expected}",
            count=len(unfit),
            names=_some(unfit),
            found=list(found[unfit[0]].shape),
            expected=list(known[unfit[0]].shape),
        )
    unet.load_state_dict(found, strict=False)  # the adapter only, which is whole, as just checked


def merge_lora(unet: Any) -> None:
    """Add the adapter's products to the weights and remove the adapter: the same results, without its time."""
    unet.fuse_lora()
    unet.unload_lora()


def _rank(name: str, tensors: dict[str, Tensor]) -> int:
    """Return the rank of an adapter whose A is [rank, …] and B is [out, rank, …]."""
    return tensors[name].shape[0 if ".lora_A." in name else 1]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
