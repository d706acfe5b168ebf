"""Compute and keep results of a data set: `omniup.batch`, in this process or on Ray Data."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omniup.errors import InputError
from omniup.files import Inputs
from omniup.jobs.configuration import Job, read_job
from omniup.jobs.manifest import Finished, open_manifest
from omniup.jobs.operators import Operators, components_files
from omniup.jobs.sinks import Part, cut_into_parts, prepare_sink, sweep_sink
from omniup.jobs.sources import Item, list_items
from omniup.jobs.work import Worker, torch_threads
from omniup.upsamplers.checks import check_choice, check_number

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Summary:
    """The pictures of a job, or of a shard of it, by what became of them.

    Attributes:
        output: the folder of the results.
        done: pictures that this run computed.
        skipped: pictures that were done before.
        broken: pictures without results, of this run and before, and why.
    """

    output: Path
    done: int
    skipped: int
    broken: dict[str, str]


def batch(
    job: str | Path | Mapping[str, Any],
    *,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    address: str | None = None,
    device: str = "cpu",
    shard: str | None = None,
    ahead: int = 8,
    retry: bool = False,
    changes: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Compute signals of all pictures of a data set, upsample them, and keep what the job says of the results.

    A job that was killed goes on: the same call computes what is missing. The results are the same bytes whichever
    engine computes them, with however many workers, shards and pictures ahead.

    Args:
        job: a YAML file, or its contents; docs/datasets.md has all fields.
        engine: `"local"`, in this process; or `"ray"`, on Ray Data.
        workers: processes of Ray, each with its networks; by default one for each GPU, or for each `threads` cores.
        address: of a cluster of Ray that runs; by default one is started on this machine.
        device: where to compute, e.g. `"cuda"`.
        shard: `"i/n"`, the i-th of n parts of the data set, from 1 on, for schedulers that start n processes.
        ahead: pictures that are read ahead, and that a worker of Ray gets at a time.
        retry: compute again what was broken.
        changes: values that stand in for the job's, by their paths, e.g. `{"output.path": "out"}`.
        progress: called with the pictures done so far, and how many there are to do.

    Raises:
        InputError: an argument or a field cannot be accepted, or results cannot be written. Pictures that cannot be
            accepted are in the summary.
    """
    check_choice("engine", engine, ENGINES)
    check_number("ahead", ahead, 1, 1024, whole=True)
    if workers is not None:
        check_number("workers", workers, 1, 4096, whole=True)
        if engine == "local" and workers > 1:
            raise InputError("workers", "is {count}, and the engine is local, one process", "engine ray", count=workers)
    if address is not None and engine == "local":
        raise InputError("address", "is given, and the engine is local", "engine ray")
    number, count = parse_shard(shard)
    wanted = read_job(job, changes)
    Inputs([wanted.source.path]).check(wanted.output.path)
    items = list_items(wanted.source, wanted.output.path)
    parts = cut_into_parts(items, wanted.output)[number - 1 :: count]
    with open_manifest(wanted, items, (number, count)) as manifest:
        todo = [part for part in parts if _is_missing(manifest.finished.get(part.number), retry)]
        before = {part.number for part in parts} - {part.number for part in todo}
        skipped = sum(manifest.finished[part].done for part in before)
        broken = {key: why for part in before for key, why in manifest.finished[part].broken.items()}
        done, seen, total = 0, 0, sum(len(part.items) for part in todo)

        def advance(pictures: int = 1) -> None:
            nonlocal seen
            seen += pictures
            if progress is not None:
                progress(seen, total)

        prepare_sink(wanted.output)
        sweep_sink(todo, wanted.output, is_alone=count == 1)
        how: dict[str, Any] = {"device": device, "ahead": ahead}
        if engine == "ray":
            made = _run_on_ray(wanted, items, todo, advance, workers=workers, address=address, **how)
        else:
            made = _run_here(wanted, items, todo, advance, **how)
        try:
            with closing(made):  # whose files and processes end before what is left of them is removed
                for finished in made if todo else ():
                    manifest.record(finished)
                    done += finished.done
                    broken |= finished.broken
        finally:
            sweep_sink(todo, wanted.output, is_alone=count == 1)
    return Summary(wanted.output.path, done, skipped, broken)


def parse_shard(text: str | None) -> tuple[int, int]:
    """Read `i/n`; None is all of it, 1/1.

    Raises:
        InputError: no such text, or i is none of 1 to n.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError("shard", "is {text!r}", "i/n with i from 1 to n, such as 1/16", text=text)
    return int(match[1]), int(match[2])


def _is_missing(finished: Finished | None, retry: bool) -> bool:
    return finished is None or (retry and bool(finished.broken))


def _run_here(
    job: Job, items: Sequence[Item], parts: Sequence[Part], advance: Callable[[], None], device: str, ahead: int
) -> Generator[Finished, None, None]:
    worker = Worker(job, device, ahead)
    with torch_threads(job.threads):
        worker.operators.fit_components(items)
    yield from worker.work(parts, advance)


def _run_on_ray(
    job: Job, items: Sequence[Item], parts: Sequence[Part], advance: Callable[[int], None], **how: Any
) -> Generator[Finished, None, None]:
    from omniup.jobs.ray_engine import run

    if not all(path.exists() for path in components_files(job).values()):
        with torch_threads(job.threads):
            Operators(job, how["device"]).fit_components(items)
    for finished in run(job, parts, **how):
        advance(finished.done + len(finished.broken))
        yield finished
