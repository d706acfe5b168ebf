"""What was measured, as JSON lines: one file, added to line by line, read whole.

A line is written in one piece, so a run that is killed leaves at most an unfinished last line, which the next run cuts
off and measures again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from omniup.errors import InputError

Sides: TypeAlias = tuple[int, int]


class Record(BaseModel):
    """What every line says.

    Attributes:
        method: its name, as `methods` has it.
        settings: all of them.
        size: (H, W), in pixels.
        grid: (h, w), in cells.
        channels: of the signal.
        device: cpu, cuda or mps.
        processor: its name.
        versions: of the packages that numbers depend on.
        identity: the names of those of these that make two lines the same measurement; omniup's version is one more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    settings: dict[str, Any]
    size: Sides
    grid: Sides
    channels: int
    device: str
    processor: str
    versions: dict[str, str]

    identity: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def key(cls, facts: Mapping[str, Any]) -> str:
        """What tells the measurement with these facts from others."""
        return json.dumps(
            [cls.__name__, facts["versions"].get("omniup"), *(facts[name] for name in cls.identity)], sort_keys=True
        )


class Quality(Record):
    """How good one method's result for one image is.

    Attributes:
        task: its name.
        factor: pixels to a cell.
        image: its name in the task.
        views: how many images were upsampled for it.
        statistics: what the task's judge found.
        seconds: that the method took, once, for all views.
        peak_bytes: that it held beyond its inputs; None where that is not known.
    """

    kind: Literal["quality"] = "quality"
    task: str
    factor: int
    image: str
    views: int
    statistics: dict[str, float | list[Any]]
    seconds: float
    peak_bytes: int | None

    identity: ClassVar[tuple[str, ...]] = ("task", "factor", "image", "method", "settings", "device")


class Speed(Record):
    """How long one method takes at one size.

    Attributes:
        stage: `fit`, `render`, or `whole`: from the image and the signal to the result.
        seconds: of each counted run; none where there was a failure.
        failure: `time` where not one run ended within `limit_seconds`, `memory` where there was too little; or None.
        limit_seconds: how long all stages together might take.
        peak_bytes: that the method held beyond its inputs, its result included; None where that is not known.
        result_bytes: of the result.
        copy_rate: bytes a second that this machine copied, reading and writing, in this run.
        matmul_rate: floating-point operations a second that it multiplied matrices with, in this run.
    """

    kind: Literal["speed"] = "speed"
    stage: Literal["fit", "render", "whole"]
    seconds: tuple[float, ...]
    failure: Literal["time", "memory"] | None
    limit_seconds: float
    peak_bytes: int | None
    result_bytes: int
    copy_rate: float
    matmul_rate: float

    identity: ClassVar[tuple[str, ...]] = (
        *("method", "settings", "stage", "size", "grid", "channels", "device", "processor"),
    )


_LINE: TypeAdapter[Quality | Speed] = TypeAdapter(Annotated[Quality | Speed, Field(discriminator="kind")])


class Results:
    """A file of results.

    Args:
        path: a file of JSON lines; it need not exist yet, its folder must.

    Raises:
        InputError: the file cannot be read, or a line of it is no result.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._records = list(self._read()) if self.path.exists() else []
        self._keys = {record.key(vars(record)) for record in self._records}

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    @property
    def quality(self) -> list[Quality]:
        """Its lines on quality, oldest first."""
        return [record for record in self._records if isinstance(record, Quality)]

    @property
    def speed(self) -> list[Speed]:
        """Its lines on speed, oldest first."""
        return [record for record in self._records if isinstance(record, Speed)]

    def add(self, record: Quality | Speed) -> None:
        """Write a line; it is on the disk when this returns.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                _cut_unfinished(self.path)
                os.write(descriptor, record.model_dump_json().encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._records.append(record)
        self._keys.add(record.key(vars(record)))

    def _read(self) -> Iterator[Quality | Speed]:
        try:
            text = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); accepted are JSON lines") from error
        for number, line in enumerate(text.split(b"\n")[:-1], start=1):  # the last is empty, or not finished
            try:
                yield _LINE.validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(str(part) for part in first["loc"])
                message = (
                    f"{self.path}: line {number} is no result of this benchmark ({place or 'line'}: {first['msg']})"
                )
                raise InputError(f"{message}; accepted is what `omniup bench` writes") from error


def _cut_unfinished(path: Path) -> None:
    """Cut off what a killed run left behind the last end of a line."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if not end:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
