"""Run jobs for devices: a thread each, a short queue, events, and cancellation at the next step.

Event loop and threads meet in two places only: a job's future, and its list of events, which only grows.
"""

from __future__ import annotations

import collections
import contextvars
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import torch

from omniup.errors import InputError
from omniup.web.fields import RequestError
from omniup.web.language import said
from omniup.web.schemas import Progress

logger = logging.getLogger(__name__)

REMEMBERED = 64
"""Jobs that are over and whose events can still be asked for."""


class CancelledError(Exception):
    """The job was cancelled: nobody wants the result any more."""


class KnownError(RequestError):
    """A run of this id exists already."""

    def __init__(self, id: UUID) -> None:
        super().__init__(409, "run_id", "is {id}, and there is such a run already", "a new id, or none", id=id)


class QueueFullError(RequestError):
    """The queue holds as many jobs as it may.

    Attributes:
        seconds: until there may be room.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(503, "the queue", "is full; there may be room in {seconds} s", seconds=seconds)
        self.seconds = seconds


class Job:
    """The work of one request.

    Args:
        id: the run's.
        work: is called with this job, in the worker's thread.

    Attributes:
        events: of its progress so far; the last is `done`, `failed` or `cancelled`.
        future: its result.
    """

    def __init__(self, id: UUID, work: Callable[[Job], Any]) -> None:
        self.id = id
        self.events: list[Progress] = []
        self.future: Future[Any] = Future()
        self._work = work
        self._context = contextvars.copy_context()  # of the request: it has the reader's language
        self._cancelled = threading.Event()

    def check(self) -> None:
        """Raise if the job was cancelled.

        Raises:
            CancelledError: the job is to end here.
        """
        if self._cancelled.is_set():
            raise CancelledError

    def add_event(self, event: Progress) -> None:
        """Add an event to the job's, and `check`."""
        self.check()
        self.events.append(event)

    def cancel(self) -> None:
        """Cancel the job at its next step."""
        self._cancelled.set()

    def run(self) -> None:
        """Do the work, and set the future's result whatever happens."""
        try:
            self.check()
            result = self._context.run(self._work, self)
            self.check()
        except BaseException as error:
            if isinstance(error, CancelledError):
                self.events.append(Progress(stage="cancelled"))
            else:
                self.events.append(Progress(stage="failed", message=self._context.run(_message, error)))
            self.future.set_exception(error)
        else:
            self.events.append(Progress(stage="done"))
            self.future.set_result(result)


def _message(error: BaseException) -> str:
    return said(error) if isinstance(error, InputError) else str(error) or type(error).__name__


class Worker:
    """The thread that computes on a device.

    Args:
        capacity: jobs that may wait.
        threads: of torch, for this thread; None leaves them as they are.
    """

    def __init__(self, capacity: int, threads: int | None = None) -> None:
        self.capacity = capacity
        self.running: Job | None = None
        self._threads = threads
        self._waiting: collections.deque[Job] = collections.deque()
        self._seconds: collections.deque[float] = collections.deque([1.0], maxlen=8)  # of the latest jobs
        self._changed = threading.Condition()
        self._reserved = 0
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of waiting jobs."""
        return len(self._waiting)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Reserve a place in the queue for a job that is being prepared, until it is submitted or abandoned.

        Raises:
            QueueFullError: there is no room.
        """
        with self._changed:
            if len(self._waiting) + self._reserved >= self.capacity:
                mean = sum(self._seconds) / len(self._seconds)
                raise QueueFullError(math.ceil(mean * (1 + self.capacity / 2)))
            self._reserved += 1
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= 1

    def submit(self, job: Job) -> None:
        """Put a job in the queue, for which a `place` is reserved."""
        with self._changed:
            self._waiting.append(job)
            job.add_event(Progress(stage="queued", ahead=len(self._waiting) - (self.running is None)))
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Cancel a job: now if it waits, at its next step if it runs."""
        job.cancel()
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
            self._announce()
        job.run()  # which sees that it is cancelled

    def close(self) -> None:
        """Cancel everything, and end the thread."""
        with self._changed:
            self._closed = True
            waiting = [*self._waiting]
            self._changed.notify()
        for job in waiting:
            self.cancel(job)
        if running := self.running:
            running.cancel()
        self._thread.join()

    def _serve(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)  # OpenMP's number of threads is each thread's own
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                job = self.running = self._waiting.popleft()
                self._announce()
            began = time.perf_counter()
            job.run()
            self.running = None
            self._seconds.append(time.perf_counter() - began)
            del job  # or its tensors would stay until the next

    def _announce(self) -> None:
        """Send the number of jobs before them to those that wait."""
        for ahead, job in enumerate(self._waiting, start=1):
            job.events.append(Progress(stage="queued", ahead=ahead))


class Jobs:
    """Workers, every job that waits or runs, and the events of those that are just over.

    Args:
        capacities: how many jobs may wait, and how many threads of torch each device gets, by its name.
    """

    def __init__(self, capacities: dict[str, tuple[int, int | None]]) -> None:
        self.workers = {device: Worker(*each) for device, each in capacities.items()}
        self._active: dict[UUID, tuple[Job, Worker]] = {}
        self._over: collections.OrderedDict[UUID, list[Progress]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def submit(self, job: Job, device: str) -> None:
        """Put a job in a device's queue, in which a `place` is reserved.

        Raises:
            KnownError: there is a job of this id.
        """
        with self._lock:
            if job.id in self._active:
                raise KnownError(job.id)
            self._active[job.id] = job, self.workers[device]
        job.future.add_done_callback(lambda _: self._retire(job))
        self.workers[device].submit(job)

    def events(self, id: UUID) -> list[Progress] | None:
        """Return the events of a job, a list that grows until the job is over; None if it is not known."""
        with self._lock:
            return self._active[id][0].events if id in self._active else self._over.get(id)

    def cancel(self, id: UUID) -> bool:
        """Cancel a job; False if there is none of this id, or it is over."""
        with self._lock:
            job, worker = self._active.get(id, (None, None))
        if job is None or worker is None:
            return False
        worker.cancel(job)
        return True

    def close(self) -> None:
        """Cancel everything."""
        for worker in self.workers.values():
            worker.close()

    def _retire(self, job: Job) -> None:
        """Keep the events of a job that is over, and release all else: its picture, its result."""
        with self._lock:
            del self._active[job.id]
            self._over[job.id] = job.events
            while len(self._over) > REMEMBERED:
                self._over.popitem(last=False)
