"""Name methods with their settings, as on the command line and in the report.

A name is complete: `bilinear`, `upsample_anything:paper`, `anyup:multi_backbone`, `anyup:paper,consistency=1`,
`joint_bilateral,sigma_x=10,sigma_y=10,sigma_r=0.25`. After the colon stands a variant of the method (a preset, or
weights by name or file), after commas stand settings, and `consistency`, which all methods of the library take. A short
label may stand before it: `ours=anyup:out/anyup.safetensors`. Beside the library's methods there are those of `peers`,
which are measured when they are named.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers import Upsampler, methods
from omniup.upsamplers.registry import Method
from omniup_bench.consistent import Consistent
from omniup_bench.peers import PEERS

CONSISTENCY = "consistency"
"""Name of the option of `Prepared.render`, given like a setting."""

SUFFIXES = (".safetensors", ".pth")
"""File name suffixes of weights."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A method with settings.

    Attributes:
        name: as above.
        method: its name in the registry, or among the `peers`.
        given: the settings that the name gives.
    """

    name: str
    method: str
    given: Mapping[str, Any]

    @classmethod
    def parse(cls, name: str) -> Entry:
        """Read a name.

        Raises:
            InputError: there is no such method or setting; or a setting is not `name=value`, the value being JSON or a
                word.
        """
        labelled = re.fullmatch(r"\s*([^:,=\s][^:,=]*)=(.*)", name)  # with a colon or comma before it, = is a setting's
        label, described = labelled.groups() if labelled else (name, name)
        head, *parts = re.split(r",(?=[^,\[\]]*=)", described.strip())
        method, colon, variant = head.partition(":")
        known = _known()
        if method not in known:
            names = ", ".join((*default_methods(), *PEERS))
            raise InputError("method", "is {name!r}", "{names}, and others by settings", name=name, names=names)
        if colon and not (known[method].variants and variant):
            raise InputError("method", "is {name!r}", "after a colon, {variants}", name=name, variants=_variants())
        given = dict.fromkeys(known[method].variants, variant) if colon else {}
        for part in parts:
            setting, equals, value = part.partition("=")
            if not (setting and equals and value):
                problem = "is {name!r}, in which {part!r} is no setting"
                raise InputError("method", problem, "name=value", name=name, part=part)
            given[setting] = _value(value)
        consistency = {CONSISTENCY} if method in methods() else set()
        if unknown := sorted(given.keys() - known[method].settings.keys() - consistency):
            raise InputError(
                "method",
                "is {name!r}, which has no setting {unknown}",
                "{settings}",
                name=name,
                unknown=", ".join(unknown),
                settings=", ".join(known[method].settings) or "none",
            )
        return cls(label.strip(), method, given)

    def build(self, weights: Path | None = None) -> Upsampler:
        """Build the upsampler.

        Args:
            weights: a folder that may hold AnyUp's published weights as anyup_NAME.pth or .safetensors; they are
                downloaded where it does not.

        Raises:
            InputError: a setting's value is not accepted, or weights cannot be loaded.
        """
        method, settings = _known()[self.method], self._own
        for setting, published in method.paths.items():
            name = settings.get(setting, method.settings[setting])
            if weights is not None and name in published:
                files = (weights / f"anyup_{name}{suffix}" for suffix in SUFFIXES)
                settings[setting] = next((str(file) for file in files if file.is_file()), name)
        built = method.build(**settings)
        return Consistent(built, self.given[CONSISTENCY]) if CONSISTENCY in self.given else built

    def settings(self) -> dict[str, Any]:
        """Return all numbers of the method, those that are not given too, as JSON has them."""
        method = _known()[self.method]
        found = {**method.settings, **self._own}
        if not method.paths:  # else building it would load files
            built = method.build(**self._own)
            found = dataclasses.asdict(built) if dataclasses.is_dataclass(built) else found
        steps = {name: value for name, value in self.given.items() if name == CONSISTENCY}
        return json.loads(json.dumps(found | steps))

    @property
    def _own(self) -> dict[str, Any]:
        """Settings of the method itself."""
        return {name: value for name, value in self.given.items() if name != CONSISTENCY}


def upsample(
    method: Upsampler,
    image: Tensor,
    signal: Tensor,
    signal_type: str,
    size: tuple[int, int] | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Tensor:
    """Prepare an image [B, G, H, W] and render a signal [B, C, h, w]: [B, C, H', W']."""
    prepared = method.prepare(image, (signal.shape[2], signal.shape[3]), size, memory=memory)
    return prepared.render(signal, signal_type, memory=memory)


def warm_up(method: Upsampler, signal_type: str, device: torch.device, channels: int = 3) -> None:
    """Upsample something small, so that what is loaded at first use is loaded, and not timed.

    Args:
        method: to run.
        signal_type: of the signal.
        device: to run on.
        channels: of the guidance.

    Raises:
        InputError: the method does not take guidance of so many channels.
    """
    signal = torch.rand(1, 2, 4, 4).softmax(1)  # of any type
    upsample(method, torch.rand(1, channels, 64, 64).to(device), signal.to(device), signal_type)


def default_methods() -> tuple[str, ...]:
    """Return the names of the library's methods, with all their variants."""
    names: list[str] = []
    for method in methods().values():
        variants = [name for each in method.variants.values() for name in each]
        names += [f"{method.name}:{variant}" for variant in variants] if variants else [method.name]
    return tuple(names)


def _known() -> dict[str, Method]:
    return {**methods(), **PEERS}


def _variants() -> str:
    described = {
        method.name: ", ".join(name for each in method.variants.values() for name in each)
        for method in _known().values()
        if method.variants
    }
    return "; ".join(f"{method}: {names}" for method, names in described.items())


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
