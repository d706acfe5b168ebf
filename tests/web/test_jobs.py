import gc
import threading
import time
import weakref
from uuid import uuid4

import pytest
import torch

from omniup.web.jobs import REMEMBERED, CancelledError, Job, Jobs, KnownError, QueueFullError, Worker
from omniup.web.schemas import Progress
from support.demo import eventually


def job(work=lambda _: None):
    return Job(uuid4(), work)


def stages(job):
    return [event.stage for event in job.events]


class Gate:
    """A job's work that lasts until it is let go, or cancelled."""

    def __init__(self):
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, job):
        self.entered.set()
        while not self.opened.is_set():
            job.add_event(Progress(stage="fit"))
            time.sleep(0.005)
        return "done"


@pytest.fixture
def worker():
    made = Worker(8)
    yield made
    made.close()


@pytest.fixture
def busy(worker):
    """A job that keeps the worker."""
    gate = Gate()
    blocking = job(gate)
    worker.submit(blocking)
    assert gate.entered.wait(5)
    blocking.gate = gate
    yield blocking
    gate.opened.set()


def test_jobs_run_one_at_a_time_in_their_order(worker):
    running, seen, most = [], [], []

    def work(job):
        running.append(job)
        most.append(len(running))
        time.sleep(0.005)
        seen.append(job)
        running.remove(job)
        return len(seen)

    jobs = [job(work) for _ in range(8)]
    for each in jobs:
        worker.submit(each)
    assert [each.future.result(5) for each in jobs] == list(range(1, 9))
    assert seen == jobs
    assert max(most) == 1


def test_a_job_tells_of_its_end(worker):
    done = job(lambda job: job.add_event(Progress(stage="draw")))
    worker.submit(done)
    done.future.result(5)
    assert stages(done)[-2:] == ["draw", "done"]
    assert stages(done)[0] == "queued"


def test_what_is_before_a_job_is_told(worker, busy):
    waiting = [job() for _ in range(3)]
    for each in waiting:
        worker.submit(each)
    assert worker.waiting == 3
    busy.gate.opened.set()
    waiting[-1].future.result(5)
    ahead = [[event.ahead for event in each.events if event.stage == "queued"] for each in waiting]
    assert ahead == [[1], [2, 1], [3, 2, 1]]


def test_a_job_of_an_idle_worker_has_none_before_it(worker):
    first = job()
    worker.submit(first)
    first.future.result(5)
    assert first.events[0].ahead == 0


@pytest.mark.parametrize("error", [ValueError("a reason"), MemoryError(), KeyboardInterrupt()], ids=repr)
def test_an_exception_reaches_the_future_and_the_events(worker, error):
    def work(_):
        raise error

    failing = job(work)
    worker.submit(failing)
    assert failing.future.exception(5) is error
    assert stages(failing)[-1] == "failed"
    assert failing.events[-1].message == (str(error) or type(error).__name__)
    after = job(lambda _: "served")
    worker.submit(after)
    assert after.future.result(5) == "served"


def test_a_running_job_ends_at_its_next_step(worker, busy):
    worker.cancel(busy)
    with pytest.raises(CancelledError):
        busy.future.result(5)
    assert stages(busy)[-1] == "cancelled"
    assert eventually(lambda: worker.running is None)


def test_a_waiting_job_is_cancelled_at_once_and_the_others_move_up(worker, busy):
    ran = []
    waiting = [job(ran.append) for _ in range(3)]
    for each in waiting:
        worker.submit(each)
    worker.cancel(waiting[0])
    assert isinstance(waiting[0].future.exception(0), CancelledError)
    assert worker.waiting == 2
    assert [each.events[-1].ahead for each in waiting[1:]] == [1, 2]
    busy.gate.opened.set()
    waiting[2].future.result(5)
    assert ran == waiting[1:]


def test_cancelling_what_is_over_changes_nothing(worker):
    done = job(lambda _: 5)
    worker.submit(done)
    assert done.future.result(5) == 5
    worker.cancel(done)
    assert stages(done)[-1] == "done"
    assert done.future.result() == 5


@pytest.fixture
def full():
    """A worker with one job running and two waiting, which are as many as may."""
    worker, gate = Worker(2), Gate()
    worker.submit(job(gate))
    assert gate.entered.wait(5)
    for _ in range(2):
        with worker.place():
            worker.submit(job())
    yield worker
    gate.opened.set()
    worker.close()


def test_a_full_queue_says_when_to_come_back(full):
    with pytest.raises(QueueFullError) as refused, full.place():
        pass
    assert refused.value.seconds >= 1
    assert isinstance(refused.value.seconds, int)
    assert full.waiting == 2


def test_a_place_is_kept_until_it_is_used_or_given_up():
    worker = Worker(1)
    with worker.place(), pytest.raises(QueueFullError), worker.place():
        pass
    with pytest.raises(ZeroDivisionError), worker.place():
        raise ZeroDivisionError
    with worker.place():
        used = job()
        worker.submit(used)
    assert used.future.result(5) is None
    with worker.place():
        pass
    worker.close()


def test_closing_ends_everything():
    worker = Worker(8)
    gate = Gate()
    jobs = [job(gate), *(job() for _ in range(3))]
    for each in jobs:
        worker.submit(each)
    assert gate.entered.wait(5)
    worker.close()
    assert all(isinstance(each.future.exception(0), CancelledError) for each in jobs)
    assert not worker._thread.is_alive()


def test_a_worker_has_its_own_number_of_threads():
    before = torch.get_num_threads()
    worker = Worker(1, threads=before + 1)
    asking = job(lambda _: torch.get_num_threads())
    worker.submit(asking)
    assert asking.future.result(5) == before + 1
    worker.close()
    assert torch.get_num_threads() == before


@pytest.fixture
def jobs():
    made = Jobs({"one": (2, None), "two": (2, None)})
    yield made
    made.close()


def test_devices_do_not_wait_for_each_other(jobs):
    gates = [Gate(), Gate()]
    for device, gate in zip(("one", "two"), gates, strict=True):
        jobs.submit(job(gate), device)
    assert all(gate.entered.wait(5) for gate in gates)
    for gate in gates:
        gate.opened.set()


def test_jobs_are_known_and_cancelled_by_their_ids(jobs):
    gate = Gate()
    running, waiting = job(gate), job()
    for each in (running, waiting):
        jobs.submit(each, "one")
        assert jobs.events(each.id) is each.events
    assert jobs.events(uuid4()) is None
    assert jobs.cancel(waiting.id)
    assert jobs.cancel(running.id)
    with pytest.raises(CancelledError):
        running.future.result(5)
    assert eventually(lambda: not jobs.cancel(running.id))
    assert not jobs.cancel(waiting.id)
    assert not jobs.cancel(uuid4())
    assert stages(running)[-1] == stages(waiting)[-1] == "cancelled"


def test_an_id_is_taken_once(jobs):
    gate = Gate()
    first = job(gate)
    jobs.submit(first, "one")
    for device in ("one", "two"):
        with pytest.raises(KnownError, match="accepted: a new id"):
            jobs.submit(Job(first.id, lambda _: None), device)
    gate.opened.set()


def test_the_events_of_the_latest_jobs_are_remembered(jobs):
    done = [job() for _ in range(REMEMBERED + 10)]
    for each in done:
        jobs.submit(each, "one")
        each.future.result(5)
    assert eventually(lambda: jobs.events(done[-1].id) is done[-1].events)
    found = [jobs.events(each.id) is each.events for each in done]
    assert found == [False] * 10 + [True] * REMEMBERED


def test_a_job_that_is_over_is_let_go_of(jobs):
    class Picture:
        pass

    picture = Picture()
    left, done = weakref.ref(picture), job(lambda _, picture=picture: picture)
    jobs.submit(done, "one")
    done.future.result(5)
    del picture, done
    assert eventually(lambda: gc.collect() is not None and left() is None)
