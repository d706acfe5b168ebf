"""Work through parts of a job on Ray Data: an actor for each device, with its networks loaded once.

The rows that go through Ray are the numbers of parts, and what comes back are records of what is whole: each worker
reads pictures and writes results by itself, as in one process, so that no arrays pass through Ray's object store. A
worker holds the pictures that it has read ahead and the results of one, which bounds the memory of the job by the
number of workers. Ray hands a worker that is free the next parts, and one that has died is started again with those
that it had.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError, optional_import
from omniup.jobs.configuration import Job
from omniup.jobs.manifest import Finished
from omniup.jobs.sinks import Part
from omniup.jobs.work import Worker

OBJECT_STORE = 2**27
"""Bytes of the object store of a cluster that is started here; little goes through it."""

_PATIENCE = 10  # seconds for a cluster to answer


def run(
    job: Job, parts: Sequence[Part], *, device: str, workers: int | None, address: str | None, ahead: int
) -> Iterator[Finished]:
    """Compute and write parts.

    Args:
        job: what to compute.
        parts: in any order.
        device: where.
        workers: actors; by default as many as the cluster has GPUs, or `threads` cores, for.
        address: of a cluster that runs; None for one that is started here, or runs in this process already.
        ahead: pictures that an actor gets at a time, and reads ahead.

    Yields:
        Each part, once it is whole.

    Raises:
        InputError: the cluster cannot be reached, has too few cores or GPUs, or results cannot be written.
        MissingPackageError: Ray is not installed.
    """
    ray: Any = optional_import("ray", extra="ray")
    data: Any = optional_import("ray.data", extra="ray")
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus = 1 if device.startswith("cuda") else 0
    with _cluster(ray, address, workers, job.threads):
        there = ray.cluster_resources()
        most = int(there.get("GPU", 0)) if gpus else int(there.get("CPU", 0)) // job.threads
        count = min(workers or most, len(parts))
        if not 1 <= count <= most:
            problem = "is {count}, and the cluster has {cpus:g} cores and {gpus:g} GPUs"
            accepted = "at most {most}, each with `threads` cores, or a GPU"
            raise InputError(
                "workers", problem, accepted, count=count, cpus=there.get("CPU", 0), gpus=there.get("GPU", 0), most=most
            )
        rows = [{"part": place} for place in range(len(parts))]
        blocks = -(-sum(len(part.items) for part in parts) // ahead)
        found = data.from_items(rows, override_num_blocks=min(len(parts), max(blocks, count))).map_batches(
            _Actor,
            fn_constructor_args=(job, parts, device, ahead),
            batch_size=None,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=count),
            num_cpus=job.threads,
            num_gpus=gpus,
        )
        for batch in found.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for line, error in zip(batch["finished"], batch["error"], strict=True):
                if error:
                    raise _refusal(json.loads(error))
                yield Finished(**json.loads(line))


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, job: Job, parts: Sequence[Part], device: str, ahead: int) -> None:
        self._parts = parts
        self._worker = Worker(job, device, ahead)
        self._worker.operators.fit_components(())  # which reads what was fitted

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, list[Any]]:
        """Compute and write the parts of a batch; an error of writing goes back as data, or Ray would try again."""
        finished, error = [], ""
        try:
            for each in self._worker.work([self._parts[place] for place in batch["part"].tolist()]):
                finished.append(json.dumps(vars(each)))
        except InputError as raised:
            fields = {name: getattr(raised, name) for name in ("argument", "problem", "accepted", "values")}
            finished, error = [*finished, ""], json.dumps(fields, default=str)
        return {"finished": finished, "error": [""] * (len(finished) - bool(error)) + [error] * bool(error)}


def _refusal(fields: dict[str, Any]) -> InputError:
    """Make the refusal of a worker again from its fields."""
    return InputError(fields["argument"], fields["problem"], fields["accepted"], **fields["values"])


@contextmanager
def _cluster(ray: Any, address: str | None, workers: int | None, threads: int) -> Iterator[None]:
    """Connect to a cluster, or start one with a core for each thread; one that runs in this process stays."""
    if ray.is_initialized() and address is None:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _same_sigterm():
            if address is not None:
                _check_port(address)
                ray.init(address=address, **quiet)
            else:
                cores = None if workers is None else workers * threads
                ray.init(num_cpus=cores, object_store_memory=OBJECT_STORE, include_dashboard=False, **quiet)
    except Exception as error:  # Ray promises no list of what it raises, down to Exception itself
        if address is None:
            raise InputError("engine", "is ray, which does not start here ({reason})", "local", reason=error) from error
        problem, accepted = (
            "is {value!r}, which cannot be reached ({reason})",
            "a cluster that runs: auto, or host:6379",
        )
        raise InputError("address", problem, accepted, value=address, reason=error) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _same_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does: Ray's handler ends the process, which the caller's may end with what is whole."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and signal.getsignal(signal.SIGTERM) is not handler:  # set in the main thread, then
            signal.signal(signal.SIGTERM, handler)


def _check_port(address: str) -> None:
    """Connect to `host:port`, where Ray itself would try for minutes.

    Raises:
        OSError: nothing answers there.
    """
    if match := re.fullmatch(r"([^:/]+):(\d{1,5})", address):
        socket.create_connection((match[1], int(match[2])), timeout=_PATIENCE).close()
