"""Record which parts of a job are done, so that it goes on after it was killed: no picture twice, none lost.

A part is on record once its file is whole on the disk. What was written and not recorded when a job was killed is
computed again, and replaced by the same bytes. Each shard writes a manifest of its own and reads those of all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniup.errors import InputError
from omniup.files import atomic_write, locked, sweep
from omniup.files.atomic import made_folder
from omniup.files.lines import append_line
from omniup.files.refusals import Subject, printable
from omniup.jobs.addresses import OWN_FOLDER
from omniup.jobs.configuration import Job
from omniup.jobs.sources import Item

_RECORD = "job.json"
_FOLDER = "an empty or new folder, or that of the same job"


@dataclass(frozen=True)
class Finished:
    """A part that is whole.

    Attributes:
        part: its number.
        done: pictures with results.
        broken: those without, and why.
    """

    part: int
    done: int
    broken: dict[str, str]


class Manifest:
    """The parts of a job that are done; see `open_manifest`.

    Attributes:
        finished: by their numbers, by whichever shard.
    """

    def __init__(self, path: Path, finished: dict[int, Finished]) -> None:
        self._path, self.finished = path, finished

    def record(self, finished: Finished) -> None:
        """Put a part on record, whose results are on the disk.

        Raises:
            InputError: the manifest cannot be written.
        """
        line = json.dumps({"part": finished.part, "done": finished.done, "broken": finished.broken})
        append_line(self._path, line.encode(), accepted=_FOLDER)
        self.finished[finished.part] = finished


@contextmanager
def open_manifest(job: Job, items: Sequence[Item], shard: tuple[int, int]) -> Iterator[Manifest]:
    """Have the manifest of a shard for this process alone.

    Args:
        job: what is computed.
        items: its pictures.
        shard: which one of how many, from 1 on.

    Raises:
        InputError: the folder holds something else, or the same job with other fields or pictures; or another process
            works on this shard.
    """
    folder, own = job.output.path, job.output.path / OWN_FOLDER
    if folder.is_dir() and not (own / _RECORD).exists() and any(not _is_ours(path) for path in folder.iterdir()):
        raise InputError(printable(folder), "holds files that are not this job's", _FOLDER)
    name = "manifest.jsonl" if shard == (1, 1) else "manifest.{}-of-{}.jsonl".format(*shard)
    with made_folder(own), locked(own / name):
        sweep(own)
        finished = _read(own)
        _check_record(own / _RECORD, job, items, is_begun=bool(finished))
        yield Manifest(own / name, finished)


def _is_ours(path: Path) -> bool:
    """Return whether a path is what a shard that begins at the same time makes first."""
    return path.name == OWN_FOLDER


def _check_record(path: Path, job: Job, items: Sequence[Item], *, is_begun: bool) -> None:
    """Write what the job is; or compare it with what was written, once there are results."""
    # where the results lie and how they are reached may change, and secrets are for nobody to read
    fields = job.model_dump(mode="json", exclude={"output": {"path"}, "source": {"storage"}})
    digest = hashlib.sha256("\n".join(item.key for item in items).encode()).hexdigest()
    record = {"job": _relative(fields, job.output.path), "pictures": len(items), "keys": digest}
    known = _read_record(path) if path.exists() else None
    if known == record:
        return
    if known is not None and is_begun:
        folder = printable(job.output.path)
        if changed := [name for name, value in record["job"].items() if known["job"].get(name) != value]:
            problem = "holds the results of a job with other {names}"
            raise InputError(folder, problem, _FOLDER, names=", ".join(changed))
        problem = "holds the results of {before} pictures, and the source has {now}, or others"
        accepted = "the same pictures, or another folder"
        raise InputError(folder, problem, accepted, before=known["pictures"], now=len(items))
    for fitted in path.parent.glob("*.safetensors"):  # by another job, which came to nothing
        fitted.unlink(missing_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(record, indent=1).encode())


def _relative(value: Any, folder: Path) -> Any:
    """Write local paths as seen from a folder, so that a job may move together with its files."""
    if isinstance(value, dict):
        return {name: _relative(each, folder) for name, each in value.items()}
    if isinstance(value, list):
        return [_relative(each, folder) for each in value]
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(os.path.relpath(value, folder)).as_posix() if is_path else value


def _read_record(path: Path) -> dict[str, Any]:
    """Read what a job was.

    Raises:
        InputError: the file is something else.
    """
    subject = Subject(printable(path), _FOLDER)
    with subject.attempt("read"):
        known = json.loads(path.read_text("utf-8"))
    if not (isinstance(known, dict) and known.keys() == {"job", "pictures", "keys"} and isinstance(known["job"], dict)):
        raise subject.refusal("is no record of a job")
    return known


def _read(folder: Path) -> dict[int, Finished]:
    """Read the manifests of all shards; a last line that is not whole does not count."""
    finished: dict[int, Finished] = {}
    for path in sorted(folder.glob("manifest*.jsonl")):
        with Subject(printable(path), "the manifest that the job wrote").attempt("read"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                found = json.loads(line)
                one = Finished(int(found["part"]), int(found["done"]), dict(found["broken"]))
                before = finished.get(one.part)
                if before is None or len(one.broken) <= len(before.broken):
                    finished[one.part] = one
    return finished
