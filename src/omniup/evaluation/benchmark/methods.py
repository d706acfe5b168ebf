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
from typing import Any

from omniup.errors import InputError
from omniup.upsamplers import Method, Upsampler, methods, upsampler


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
        known = methods()
        if method not in known:
            raise InputError(f"method is {name!r}: accepted are {', '.join(default_methods())}, and others by settings")
        if colon and not (known[method].variants and variant):
            raise InputError(f"method is {name!r}: accepted after a colon are {_accepted_variants()}")
        given = dict.fromkeys(known[method].variants, variant) if colon else {}
        for part in parts:
            setting, equals, value = part.partition("=")
            if not (setting and equals and value):
                raise InputError(f"method is {name!r}: {part!r} is not a setting; accepted is name=value")
            given[setting] = _value(value)
        entry = cls(label.strip(), method, given)
        if unknown := sorted(given.keys() - known[method].settings.keys()):
            accepted = ", ".join(known[method].settings) or "none"
            raise InputError(f"method is {name!r}: there is no setting {', '.join(unknown)}; accepted are {accepted}")
        return entry

    def build(self, weights: Path | None = None) -> Upsampler:
        """Make the upsampler.

        Args:
            weights: a folder that may hold published weights, e.g. `anyup_paper.pth`; else they are downloaded.

        Raises:
            InputError: a setting's value is not accepted, or weights cannot be had.
        """
        settings, known = dict(self.given), self._registered
        for setting, published in known.paths.items():
            name = settings.get(setting, known.settings[setting])
            local = weights / f"{self.method}_{name}.pth" if weights and name in published else None
            settings[setting] = str(local) if local and local.is_file() else name
        return upsampler(self.method, **settings)

    def settings(self) -> dict[str, Any]:
        """Return all its settings, those that are not given too, as JSON has them."""
        if self._registered.paths:  # building it may load files
            return {**self._registered.settings, **self.given}
        built = upsampler(self.method, **self.given)
        fields = dataclasses.asdict(built) if dataclasses.is_dataclass(built) else dict(self.given)
        return json.loads(json.dumps(fields))

    @property
    def _registered(self) -> Method:
        return methods()[self.method]


def default_methods() -> tuple[str, ...]:
    """Return the names of all methods, with their variants, in the order of registration."""
    names: list[str] = []
    for name, method in methods().items():
        variants = [f"{name}:{variant}" for each in method.variants.values() for variant in each]
        names += variants or [name]
    return tuple(names)


def _accepted_variants() -> str:
    return "; ".join(
        f"{name}: {', '.join(variants)}" for name, method in methods().items() for variants in method.variants.values()
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
