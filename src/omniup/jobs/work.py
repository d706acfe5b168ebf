"""Work through parts of a job in this process: pictures are read ahead, computed one by one, and written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from omniup.errors import InputError, is_out_of_memory
from omniup.jobs.configuration import Job
from omniup.jobs.manifest import Finished
from omniup.jobs.operators import Arrays, Operators
from omniup.jobs.sinks import Part, writing
from omniup.jobs.sources import Item

AHEAD_BYTES = 2**28
"""Bytes of pictures that wait after they were read: with as many, no other is begun."""

READERS = 4
"""Threads that read pictures, at most."""


class Worker:
    """Computes parts of a job.

    Args:
        job: what to compute.
        device: where.
        ahead: pictures that are read ahead, at most.
    """

    def __init__(self, job: Job, device: torch.device | str, ahead: int) -> None:
        self._job, self._ahead = job, ahead
        self.operators = Operators(job, device)

    def work(self, parts: Iterable[Part], advance: Callable[[], None] = lambda: None) -> Iterator[Finished]:
        """Compute and write parts.

        Args:
            parts: in any order.
            advance: called after each picture.

        Yields:
            Each part, once it is whole.

        Raises:
            InputError: results cannot be written.
        """
        chosen = list(parts)
        items = [item for part in chosen for item in part.items]
        with torch_threads(self._job.threads), read_ahead(self.operators.read, items, self._ahead) as pictures:
            for part in chosen:
                broken: dict[str, str] = {}
                with writing(part, self._job.output) as write:
                    for item in part.items:
                        made = self._results(item, next(pictures), broken)
                        if made is not None:
                            write(item.key, made)
                        advance()
                yield Finished(part.number, len(part.items) - len(broken), broken)

    def _results(self, item: Item, picture: Future[Tensor], broken: dict[str, str]) -> Arrays | None:
        """Compute the results of a picture; None of one that is broken, with the reason put down."""
        try:
            return self.operators.results(item, picture.result())
        except InputError as error:
            broken[item.key] = str(error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            broken[item.key] = "out of memory: a smaller size or memory needs less"
        return None


@contextmanager
def read_ahead(read: Callable[[Item], Tensor], items: Iterable[Item], count: int) -> Iterator[Iterator[Future[Tensor]]]:
    """Read pictures in threads before their turn comes.

    Args:
        read: reads one.
        items: what to read.
        count: pictures that are read or wait, at most.

    Yields:
        What reads each picture, in turn.
    """
    pool = ThreadPoolExecutor(min(count, READERS), thread_name_prefix="reader")

    def pictures() -> Iterator[Future[Tensor]]:
        waiting: deque[Future[Tensor]] = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            while len(waiting) >= count or _bytes(waiting) > AHEAD_BYTES:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    try:
        yield pictures()
    finally:
        pool.shutdown(cancel_futures=True)


def _bytes(waiting: Iterable[Future[Tensor]]) -> int:
    return sum(done.result().nbytes for done in waiting if done.done() and done.exception() is None)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute with as many threads as the job says: sums depend on their number in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
