"""Provide the prompts of pictures: one for all, those of text files, or a model's captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from torch import Tensor

from omniup.errors import InputError
from omniup.files.refusals import Subject, printable
from omniup.restoration.captions import Captioner

_LONGEST = 2**16  # bytes of a prompt: the text encoder takes in a few hundred


class Prompts(Protocol):
    """Source of prompts; pictures are known by their places, the paths below the folder they are in."""

    def record(self, place: PurePath) -> str:
        """Return what represents the prompt in a result's settings; a change of it makes the result anew.

        Raises:
            InputError: there is no prompt.
        """

    def text(self, place: PurePath, image: Tensor) -> str:
        """Return the prompt of a picture, [1, 3, H, W] in 0..1.

        Raises:
            InputError: there is no prompt.
        """


@dataclass(frozen=True)
class SamePrompt:
    """One prompt for all pictures; it may be empty."""

    prompt: str

    def record(self, place: PurePath) -> str:
        """Return the prompt."""
        return self.prompt

    def text(self, place: PurePath, image: Tensor) -> str:
        """Return the prompt."""
        return self.prompt


@dataclass(frozen=True)
class MirroredPrompts:
    """A tree of .txt files like that of the pictures: `street/night.jpg` has `street/night.txt`."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(printable(self.folder), "does not exist", "a folder of prompts")

    def record(self, place: PurePath) -> str:
        """Read the prompt."""
        path = self.folder / place.with_suffix(".txt")
        subject = Subject(
            printable(path), "a text in UTF-8 of at most {most} bytes, the prompt of the picture", most=_LONGEST
        )
        with subject.attempt("read"), path.open("rb") as file:
            content = file.read(_LONGEST + 1)
            if len(content) > _LONGEST:
                raise subject.refusal("is longer")
            return " ".join(content.decode("utf-8-sig").split())

    def text(self, place: PurePath, image: Tensor) -> str:
        """Read the prompt."""
        return self.record(place)


@dataclass(frozen=True)
class Captions:
    """A caption for each picture, made by a model elsewhere."""

    captioner: Captioner

    def record(self, place: PurePath) -> str:
        """Return the captioner's name, so that nobody is asked again for finished pictures."""
        return str(self.captioner)

    def text(self, place: PurePath, image: Tensor) -> str:
        """Ask for the caption."""
        return self.captioner(image)
