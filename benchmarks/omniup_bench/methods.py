"""Methods with their settings, under the names that they have on the command line and in the report.

A name says all: `bilinear`, `upsample_anything:paper`, `anyup:multi_backbone`,
`joint_bilateral,sigma_x=10,sigma_y=10,sigma_r=0.25`. After the colon stands a preset of Upsample Anything or the
weights of AnyUp, by name or by file, after commas stand settings. A shorter name of one's own may stand before:
`ours=anyup:out/anyup.safetensors`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from omniup.errors import InputError
from omniup.upsamplers import PRESETS, Upsampler, methods, upsampler
from omniup.upsamplers.anyup.weights import PUBLISHED

_VARIANT = {"upsample_anything": "preset", "anyup": "weights"}
"""The setting that is named after a colon."""

_VARIANTS = {"upsample_anything": tuple(PRESETS), "anyup": tuple(PUBLISHED)}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A method with settings.

    Attributes:
        name: as above.
        method: its name in the registry.
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
        if method not in methods():
            raise InputError(f"method is {name!r}: accepted are {', '.join(default_methods())}, and others by settings")
        if colon and (method not in _VARIANT or not variant):
            raise InputError(f"method is {name!r}: accepted after a colon are {_accepted_variants()}")
        given = {_VARIANT[method]: variant} if colon else {}
        for part in parts:
            setting, equals, value = part.partition("=")
            if not (setting and equals and value):
                raise InputError(f"method is {name!r}: {part!r} is not a setting; accepted is name=value")
            given[setting] = _value(value)
        entry = cls(label.strip(), method, given)
        if unknown := sorted(given.keys() - methods()[method].settings.keys()):
            known = ", ".join(methods()[method].settings) or "none"
            raise InputError(f"method is {name!r}: there is no setting {', '.join(unknown)}; accepted are {known}")
        return entry

    def build(self, signal: Literal["measurement", "prediction"], weights: Path | None = None) -> Upsampler:
        """Make the upsampler.

        Args:
            signal: what it is for; told to methods that have a setting `kind`.
            weights: a folder that may hold AnyUp's published weights, as `anyup_paper.pth`; else they are downloaded.

        Raises:
            InputError: a setting's value is not accepted, or weights cannot be had.
        """
        settings = self._for(signal)
        if self.method == "anyup":
            name = settings.get("weights", methods()["anyup"].settings["weights"])
            local = weights / f"anyup_{name}.pth" if weights and name in PUBLISHED else None
            settings["weights"] = str(local) if local and local.is_file() else name
        return upsampler(self.method, **settings)

    def settings(self, signal: Literal["measurement", "prediction"]) -> dict[str, Any]:
        """All its settings, those that are not given too, as JSON has them."""
        if self.method == "anyup":  # which is no dataclass, and would be loaded
            return {**methods()["anyup"].settings, **self.given}
        built = upsampler(self.method, **self._for(signal))
        known = dataclasses.asdict(built) if dataclasses.is_dataclass(built) else {**self._for(signal)}
        return json.loads(json.dumps(known))

    def _for(self, signal: str) -> dict[str, Any]:
        """The settings to build it with for a kind of signal: a method that has a setting for it is told.

        Except where it is given, or where it is `values`, which means that the method is to make no difference.
        """
        if "kind" not in methods()[self.method].settings or "kind" in self.given:
            return dict(self.given)
        told = getattr(upsampler(self.method, **self.given), "kind", "values") != "values"
        return {**self.given, "kind": signal} if told else dict(self.given)


def default_methods() -> tuple[str, ...]:
    """The names of all methods, presets and published weights."""
    names = []
    for method in methods():
        variants = _VARIANTS.get(method)
        names += [f"{method}:{variant}" for variant in variants] if variants else [method]
    return tuple(sorted(names, key=_order))


def _order(name: str) -> int:
    """Plain interpolation first, what looks at the image next, what is fitted or trained last."""
    order = ("nearest", "bilinear", "bicubic", "guided_filter", "joint_bilateral", "upsample_anything", "anyup")
    method = name.partition(":")[0]
    return order.index(method) if method in order else len(order)


def _accepted_variants() -> str:
    return "; ".join(f"{method}: {', '.join(names)}" for method, names in _VARIANTS.items())


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
