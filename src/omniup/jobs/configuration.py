"""Configure a job on a data set: which pictures, which signals of them, what is kept of the results, and where.

Reading a configuration loads no network and lists no pictures, so that a mistake costs a second. Everything that
decides the bytes of the results is here; where and by how many processes they are computed is not.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from omniup.encoders.dense import MOST_RESOLUTION
from omniup.errors import InputError
from omniup.files.settings import Section, beside_the_file, existing, read_settings
from omniup.jobs.addresses import is_remote
from omniup.upsamplers import DEFAULT_METHOD
from omniup.upsamplers.checks import parse_memory
from omniup.upsamplers.signal_types import SIGNAL_TYPES

MOST_RESULTS = 64
"""Signals, and results kept of them, at most."""


def _address(text: str, info: ValidationInfo) -> str:
    """Resolve a local path beside the file; leave an address of fsspec as it is."""
    return text if is_remote(text) else beside_the_file(Path(text), info).as_posix()


def _pattern(text: str, info: ValidationInfo) -> str:
    """Resolve a pattern beside the file, unless it begins with a column, whose paths are the list's."""
    return text if text.startswith("{") else _address(text, info)


def _memory(text: str) -> str:
    parse_memory(text)
    return text


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise InputError("", "is called {name!r}", "letters, digits, _ and -, at most 64", name=name)
    return name


def _are_numbers(given: Any, count: int, least: int) -> bool:
    """Return whether this is a list of so many whole numbers from `least` to `MOST_RESOLUTION`."""
    return (
        isinstance(given, (list, tuple))
        and len(given) == count
        and all(type(number) is int and least <= number <= MOST_RESOLUTION for number in given)
    )


Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
Address: TypeAlias = Annotated[Text, AfterValidator(_address)]
"""A local path, or an address that fsspec opens, e.g. `s3://bucket/folder`."""

Pattern: TypeAlias = Annotated[Text, AfterValidator(_pattern)]
"""An address with `{key}` or a column of the list, or, of a tar archive, the suffix of a member: `{depth.npy}`."""

Name: TypeAlias = Annotated[str, AfterValidator(_name)]
Number: TypeAlias = str | int | float | bool | None
Side: TypeAlias = Annotated[int, Field(ge=1, le=MOST_RESOLUTION)]


class _Source(Section):
    """Settings that all sources have.

    Attributes:
        path: of the folder, list or archive, or a pattern of paths.
        storage: what fsspec needs for its addresses, e.g. `{anon: true}`; secrets belong into the environment.
    """

    path: Address
    storage: dict[str, Number] = Field(default_factory=dict, max_length=64)


class FolderSource(_Source):
    """The pictures of a folder.

    Attributes:
        below: whether those of the folders in it count too.
    """

    kind: Literal["folder"]
    below: bool = True


class GlobSource(_Source):
    """The files that a pattern matches, such as `photos/**/*.jpg`."""

    kind: Literal["glob"]


class ListSource(_Source):
    """The pictures of a list: parquet, csv with a header, or jsonl, by the suffix.

    Attributes:
        image: the column of paths or addresses.
        key: the column of names for the results; by default the paths without their suffixes.
        root: where the paths begin, and which they cannot leave; by default the list's folder.
    """

    kind: Literal["list"]
    image: Text = "image"
    key: Text | None = None
    root: Address | None = None


class WebdatasetSource(_Source):
    """The samples of tar archives as webdataset has them: members that differ in their suffixes only.

    Attributes:
        image: the suffix of the picture; by default that of a known format.
    """

    kind: Literal["webdataset"]
    image: Text | None = None


Source: TypeAlias = Annotated[FolderSource | GlobSource | ListSource | WebdatasetSource, Field(discriminator="kind")]


class EncoderSignal(Section):
    """Features that a network computes from each picture.

    Attributes:
        name: of the encoder, as `omniup encoders` lists them.
        settings: of the encoder, e.g. `{layer: 8}`.
        resolution: as for `omniup.features`.
        sides: likewise.
        precision: likewise.
    """

    kind: Literal["encoder"]
    name: Text
    settings: dict[str, Any] = Field(default_factory=dict, max_length=64)
    resolution: Side | None = None
    sides: Literal["resize", "pad"] = "resize"
    precision: Literal["float32", "float16", "bfloat16"] = "float32"


class StoredSignal(Section):
    """Signals that lie in files, one for each picture.

    Attributes:
        file: of a picture's signal.
        signal_type: as for `omniup.upsample`.
    """

    kind: Literal["stored"]
    file: Pattern
    signal_type: str = "auto"

    @field_validator("signal_type")
    @classmethod
    def _known_type(cls, name: str) -> str:
        known = ("auto", *SIGNAL_TYPES)
        if name not in known:
            raise InputError("", "is {value!r}", "{names}", value=name, names=", ".join(known))
        return name


Signal: TypeAlias = Annotated[EncoderSignal | StoredSignal, Field(discriminator="kind")]


class _Kept(Section):
    """Settings that all results have.

    Attributes:
        of: the signal.
    """

    of: str


class _Map(_Kept):
    """Settings of results that are maps.

    Attributes:
        dtype: of the numbers; int8 comes with a scale for each channel, the unsigned ones are for labels.
    """

    dtype: Literal["float32", "float16", "int8", "uint8", "uint16"] = "float16"


class KeptMap(_Map):
    """The upsampled signal, [C, H, W]."""

    kind: Literal["map"]


class KeptComponents(_Map):
    """The first principal components of the signal over the data set, upsampled, [count, H, W].

    Attributes:
        count: of components.
        sample: pictures that they are fitted to, drawn at random.
    """

    kind: Literal["components"]
    count: Annotated[int, Field(ge=1, le=1024)]
    sample: Annotated[int, Field(ge=1, le=100_000)] = 256


class KeptPoints(_Kept):
    """Vectors at pixels, [N, C].

    Attributes:
        points: [x, y] in pixels of the picture: the same of all pictures, or a file of each, [N, 2], or a column of the
            list.
        dtype: of the numbers.
    """

    kind: Literal["points"]
    points: str | list[tuple[int, int]]
    dtype: Literal["float32", "float16"] = "float32"

    @field_validator("points", mode="before")
    @classmethod
    def _pairs_or_a_pattern(cls, given: Any, info: ValidationInfo) -> Any:
        if isinstance(given, str) and given:
            return _pattern(given, info)
        if not isinstance(given, list) or not given or not all(_are_numbers(pair, 2, 0) for pair in given):
            accepted = "pairs [x, y] of whole numbers from 0 on, a column such as {{points}}, or a path with {{key}}"
            raise InputError("", "is {value}", accepted, value=reprlib.repr(given))
        return given


class KeptLabels(_Kept):
    """The most probable label of each pixel by a linear probe, [H, W].

    Attributes:
        probe: a file that `omniup probe fit` wrote.
    """

    kind: Literal["labels"]
    probe: Annotated[Path, AfterValidator(beside_the_file), AfterValidator(existing)]


class KeptRegions(_Kept):
    """Means over regions, [R, C], with their labels [R] and numbers of pixels [R].

    Attributes:
        masks: the file of each picture: a label map, or masks [R, H, W].
        dtype: of the means.
    """

    kind: Literal["regions"]
    masks: Pattern
    dtype: Literal["float32", "float16"] = "float32"


Kept: TypeAlias = Annotated[
    KeptMap | KeptComponents | KeptPoints | KeptLabels | KeptRegions, Field(discriminator="kind")
]


class Output(Section):
    """The folder of the results.

    Attributes:
        kind: a file or, of zarr, a group for each picture; or files of `part` pictures each, parquet or tar.
        path: of the folder, on a disk that all workers see.
        part: pictures a file, of parquet and webdataset.
    """

    kind: Literal["npz", "safetensors", "zarr", "parquet", "webdataset"]
    path: Annotated[Path, AfterValidator(beside_the_file)]
    part: Annotated[int, Field(ge=1, le=100_000)] = 100

    @property
    def pictures_a_part(self) -> int:
        """Pictures that become whole together."""
        return self.part if self.kind in ("parquet", "webdataset") else 1


class Job(Section):
    """A job on a data set.

    Attributes:
        source: the pictures.
        signals: what is upsampled, by names of the job's own.
        keep: what is kept of the results, by their names in the output.
        output: where that goes.
        size: of the results, [height, width] or the longer side in pixels; by default the picture's, at most 1024.
        method: of upsampling.
        settings: of the method.
        memory: working memory of the upsampling.
        threads: that compute one picture; sums depend on their number in the last bits.
        seed: of what is drawn for principal components.
    """

    source: Source
    signals: Annotated[dict[Name, Signal], Field(min_length=1, max_length=MOST_RESULTS)]
    keep: Annotated[dict[Name, Kept], Field(min_length=1, max_length=MOST_RESULTS)]
    output: Output
    size: int | tuple[int, int] | None = None
    method: Text = DEFAULT_METHOD
    settings: dict[str, Any] = Field(default_factory=dict, max_length=64)
    memory: Annotated[str, AfterValidator(_memory)] = "512MB"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @field_validator("size", mode="before")
    @classmethod
    def _one_or_both_sides(cls, given: Any) -> Any:
        if not (given is None or _are_numbers([given], 1, 1) or _are_numbers(given, 2, 1)):
            accepted = "the longer side, or [height, width], in pixels from 1 to {most}"
            raise InputError("", "is {value}", accepted, value=reprlib.repr(given), most=MOST_RESOLUTION)
        return given

    @model_validator(mode="after")
    def _signals_known(self) -> Job:
        for name, kept in self.keep.items():
            if kept.of not in self.signals:
                known = ", ".join(self.signals)
                raise InputError(f"keep.{name}.of", "is {value!r}", "{names}", value=kept.of, names=known)
        return self


def read_job(source: str | Path | Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> Job:
    """Read a job from a YAML file, or take its fields.

    Args:
        source: the file, or its contents as a mapping, whose paths begin at the current folder.
        changes: as for `read_settings`.

    Raises:
        InputError: the file cannot be read, or a field cannot be accepted; a line for each.
    """
    if isinstance(source, Mapping):
        return read_settings(Job, yaml.safe_dump(dict(source)).encode(), changes)
    return read_settings(Job, source, changes)
