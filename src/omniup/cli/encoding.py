"""Build the encoder that options name, and refuse in the words of these options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omniup.cli import options
from omniup.errors import InputError

if TYPE_CHECKING:
    from omniup.encoders import Encoder


def build(name: str, settings: list[options.Setting] | None) -> Encoder:
    """Build the encoder of `--encoder` and `--encoder-set`.

    Raises:
        InputError: there is no such encoder, it cannot be built, or it has no such setting.
    """
    from omniup.encoders import encoder

    with placed(name):
        return encoder(name, **options.pick_settings(settings))


def view(resolution: int | None, sides: str, precision: str, tile: int | None = None) -> dict[str, Any]:
    """Return what `encode_image` takes of these options.

    Raises:
        InputError: one of them is none of its choices.
    """
    from omniup.encoders.dense import PRECISIONS, SIDES
    from omniup.upsamplers.checks import check_choice

    check_choice("--sides", sides, SIDES)
    check_choice("--precision", precision, tuple(PRECISIONS))
    return {"resolution": resolution, "sides": sides, "precision": precision, "tile": tile}


@contextmanager
def placed(name: str) -> Iterator[None]:
    """Put the option before what an encoder refuses.

    Args:
        name: of the encoder.

    Raises:
        InputError: the encoder refuses something.
    """
    from omniup.encoders import encoder_settings

    try:
        yield
    except InputError as error:
        if error.argument != "name" and error.argument in ("settings", *encoder_settings(name)):
            raise error.within("--encoder-set") from error
        raise error.within(f"--encoder {name}") from error


def files(settings: list[options.Setting] | None) -> list[str]:
    """Return the settings that may name files, which results must not overwrite."""
    return [setting.value for setting in settings or () if isinstance(setting.value, str)]
