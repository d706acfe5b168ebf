"""Register methods by name, those of this package and those that others bring.

A method is an `Upsampler` with a name: `@register("name", "one line")` on a frozen dataclass makes it known to
`omniup.upsample`, to the command line, to the page and to the benchmark. Other packages register theirs in a module
that they name under the entry point `omniup.upsamplers`; CONTRIBUTING.md has an example.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import inspect
import logging
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from omniup.errors import InputError

if TYPE_CHECKING:
    from omniup.upsamplers.base import Upsampler

ENTRY_POINTS = "omniup.upsamplers"

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        name: what users call it.
        summary: one line on what it does.
        summary_zh: the same in Chinese, for the page; the English one where there is none.
        build: makes the upsampler from its settings.
        settings: the settings that `build` takes, with their defaults.
        paths: those of them that may name a file, which whoever is not to read this machine's files must not do; with
            the names that stand for something else, and are safe.
        choices: the settings that are one of a few values, with these; None among them where it is the default.
        variants: the one setting, if any, which selects a variant, with their names: presets, weights.
        image_gradient: whether results are differentiable in the image too.
    """

    name: str
    summary: str
    summary_zh: str
    build: Callable[..., Upsampler]
    settings: Mapping[str, Any]
    paths: Mapping[str, Collection[str]]
    choices: Mapping[str, Sequence[Any]]
    variants: Mapping[str, Collection[str]]
    image_gradient: bool = False


_METHODS: dict[str, Method] = {}
_Build = TypeVar("_Build", bound=Callable[..., Any])


def register(
    name: str,
    summary: str,
    *,
    summary_zh: str = "",
    settings: Mapping[str, Any] | None = None,
    paths: Mapping[str, Collection[str]] | None = None,
    choices: Mapping[str, Sequence[Any]] | None = None,
    variants: Mapping[str, Collection[str]] | None = None,
    image_gradient: bool = False,
) -> Callable[[_Build], _Build]:
    """Register a method under a name.

    Args:
        name: what users call it.
        summary: one line on what it does.
        summary_zh: the same in Chinese.
        settings: its settings with their defaults; by default the keyword arguments of what is registered.
        paths: as in `Method`; none by default.
        choices: as in `Method`; by default those of the keyword arguments that are annotated with `Literal`.
        variants: as in `Method`; none by default.
        image_gradient: as in `Method`.

    Raises:
        InputError: the name is taken, or is not a plain identifier.
    """
    if not name.isidentifier():
        raise InputError("name", "is {name!r}", "letters, digits and underscores", name=name)
    if name in _METHODS:
        raise InputError("name", "is {name!r}, which is taken", "a new name", name=name)

    def add(build: _Build) -> _Build:
        parameters = inspect.signature(build).parameters.values()
        found = {parameter.name: parameter.default for parameter in parameters} if settings is None else settings
        words = {**literals(build), **(choices or {}), **{key: tuple(names) for key, names in (variants or {}).items()}}
        options = {key: words[key] for key in found if key in words}
        _METHODS[name] = Method(
            name, summary, summary_zh or summary, build, found, paths or {}, options, variants or {}, image_gradient
        )
        return build

    return add


def methods() -> dict[str, Method]:
    """Return every method by its name, in the order of registration.

    Example:
        >>> import omniup
        >>> omniup.methods()["bilinear"].summary
        'linear interpolation between the four nearest cells; does not look at the image'
    """
    _load_entry_points()
    return dict(_METHODS)


def upsampler(method: str, /, **settings: Any) -> Upsampler:
    """Build a method by name.

    Raises:
        InputError: no such method, or it has no such setting; the message lists what there is.

    Example:
        >>> import omniup, torch
        >>> prepared = omniup.upsampler("joint_bilateral", radius=1).prepare(torch.rand(1, 3, 64, 96), grid=(4, 6))
        >>> prepared.render(torch.rand(1, 5, 4, 6)).shape
        torch.Size([1, 5, 64, 96])
    """
    known = methods()
    if not isinstance(method, str) or method not in known:
        raise InputError("method", "is {value!r}", "{names}", value=method, names=", ".join(sorted(known)))
    accepted = known[method].settings
    if unknown := sorted(settings.keys() - accepted.keys()):
        names = ", ".join(accepted) or "none"
        raise InputError(unknown[0], "is no setting of {method}", "{names}", method=method, names=names)
    return known[method].build(**settings)


def literals(build: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values of keyword arguments that are annotated with `Literal`."""
    try:
        hints = typing.get_type_hints(build)
    except NameError:  # of names that are imported for type checkers only
        return {}
    found = {name: _literal(hint) for name, hint in hints.items()}
    return {name: values for name, values in found.items() if values}


def _literal(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return tuple(value for part in typing.get_args(hint) for value in _literal(part))


@functools.cache
def _load_entry_points() -> None:
    """Import the modules that other packages name; one that fails is left out, and the log says why."""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception:
            logger.exception("the upsampler %s (%s) cannot be loaded", entry.name, entry.value)
