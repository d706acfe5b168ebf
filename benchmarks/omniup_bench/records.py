"""Keep measurements as JSON lines: one file, added to line by line, read whole.

A run that is killed leaves at most an unfinished last line, which the next run cuts off and measures again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from omniup.errors import InputError
from omniup.files import locked
from omniup.files.lines import append_line

Sides: TypeAlias = tuple[int, int]

MeasuredType: TypeAlias = Literal["features", "probabilities", "measurement"]
"""The signal types whose speed is measured."""

MEASURED_TYPES: tuple[MeasuredType, ...] = get_args(MeasuredType)


class Record(BaseModel):
    """The facts of every line.

    Attributes:
        method: its name, as `methods` has it.
        settings: all numbers of the method, so that a change of one makes another measurement.
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
        """Return what identifies the measurement with these facts."""
        return json.dumps(
            [cls.__name__, facts["versions"].get("omniup"), *(facts[name] for name in cls.identity)], sort_keys=True
        )


class Quality(Record):
    """The quality of one method's result for one image.

    Attributes:
        task: its name.
        factor: pixels to a cell.
        image: its name in the task.
        views: number of images that were upsampled for it.
        statistics: the task's, of the result.
        seconds: of one run, for all views.
        peak_bytes: held beyond the inputs; None where that is not known.
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
    """The time and memory of one method at one size.

    Attributes:
        signal_type: of the signal.
        stage: `prepare`, `render`, or `whole`: both, from the image and the signal to the result.
        seconds: of each counted run; none where it failed.
        failure: `time` where not one run ended within `limit_seconds`, `memory` where it was too little; or None.
        limit_seconds: the limit of all stages together.
        peak_bytes: held beyond the inputs, the result included; None where that is not known.
        result_bytes: of the result.
        copy_rate: bytes a second, read and written, in copies on this machine during this run.
        matmul_rate: floating-point operations a second in matrix products, likewise.
    """

    kind: Literal["speed"] = "speed"
    signal_type: MeasuredType
    stage: Literal["prepare", "render", "whole"]
    seconds: tuple[float, ...]
    failure: Literal["time", "memory"] | None
    limit_seconds: float
    peak_bytes: int | None
    result_bytes: int
    copy_rate: float
    matmul_rate: float

    identity: ClassVar[tuple[str, ...]] = (
        *("method", "settings", "signal_type", "stage", "size", "grid", "channels", "device", "processor"),
    )


_LINE: TypeAdapter[Quality | Speed] = TypeAdapter(Annotated[Quality | Speed, Field(discriminator="kind")])


_BEGIN = b'{"method":"'


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
        """The lines on quality, oldest first."""
        return [record for record in self._records if isinstance(record, Quality)]

    @property
    def speed(self) -> list[Speed]:
        """The lines on speed, oldest first."""
        return [record for record in self._records if isinstance(record, Speed)]

    def add(self, record: Quality | Speed) -> None:
        """Write a line; it is on the disk when this returns.

        Raises:
            InputError: the file cannot be written.
        """
        append_line(self.path, record.model_dump_json().encode(), accepted="a file in a folder that exists")
        self._records.append(record)
        self._keys.add(record.key(vars(record)))

    def _read(self) -> Iterator[Quality | Speed]:
        try:
            text = self.path.read_bytes()
        except OSError as error:
            raise InputError(
                str(self.path), "cannot be read ({reason})", "JSON lines", reason=error.strerror
            ) from error
        *lines, unfinished = text.split(b"\n")
        if not unfinished.startswith(_BEGIN[: len(unfinished)]):
            raise InputError(
                str(self.path), "ends in what is no result of this benchmark", "what `omniup bench` writes"
            )
        for number, line in enumerate(lines, start=1):
            try:
                yield _LINE.validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(str(part) for part in first["loc"])
                raise InputError(
                    str(self.path),
                    "has a line {number} that is no result of this benchmark ({place}: {why})",
                    "what `omniup bench` writes",
                    number=number,
                    place=place or "line",
                    why=first["msg"],
                ) from error


@contextmanager
def results_file(path: str | Path) -> Iterator[Results]:
    """Have a file of results for this process alone, to add to.

    Raises:
        InputError: as `Results`; or another process adds to it.
    """
    with locked(path):
        yield Results(path)
