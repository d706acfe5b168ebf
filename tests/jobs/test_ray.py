"""On Ray Data a job has the bytes of the one in this process, also where a worker is killed in the middle."""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from omniup.errors import InputError
from omniup.jobs import ray_engine
from omniup.jobs.batch import batch
from omniup.jobs.configuration import read_job
from omniup.jobs.manifest import Finished
from omniup.jobs.sinks import cut_into_parts
from omniup.jobs.sources import list_items
from omniup.jobs.work import Worker
from support.jobs import results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the processes of Ray"),
    # Ray leaves sockets and processes for the collector, and touches its own deprecated fields
    *(
        pytest.mark.filterwarnings(f"ignore::{name}")
        for name in ("ResourceWarning", "DeprecationWarning", "FutureWarning")
    ),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NETWORK = {
    "signals": {"net": {"kind": "encoder", "name": "timm:test_efficientnet", "settings": {"pretrained": False}}},
    "keep": {
        "map": {"kind": "map", "of": "net", "dtype": "int8"},
        "pca": {"kind": "components", "of": "net", "count": 2, "sample": 5},
    },
    "method": "pyramid_bilateral",
    "size": 160,
}


def workers():
    """The processes of Ray's actors below this process, by their names in /proc."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    for pid, parent in parents.items():
        with suppress(OSError):
            is_actor = b"MapWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()
            if is_actor and parents.get(parent) == os.getpid():
                yield pid


def kill_a_worker(folder, killed):
    """Kill a worker of Ray once something is written, and well before the end."""
    while not list(folder.glob("out/*.parquet")):
        time.sleep(0.005)
    victim = min(workers())
    os.kill(victim, signal.SIGKILL)
    killed.append(victim)


def test_two_workers_one_of_them_killed_and_one_worker(ray, folder, job):
    (folder / "photos/02.png").write_bytes(b"broken")
    wanted = {**NETWORK, "sink": "parquet"}
    here = batch(job(output="here", **wanted))
    killed = []
    killer = threading.Thread(target=kill_a_worker, args=(folder, killed), daemon=True)
    killer.start()
    made = batch(job(**wanted), engine="ray", workers=2, ahead=1)
    killer.join(10)
    assert killed, "no worker was killed"
    assert (made.done, made.skipped, list(made.broken)) == (19, 0, ["02"])
    lines = (folder / "out/_job/manifest.jsonl").read_text().splitlines()
    assert len(lines) == len({line.split('"part": ')[1].split(",")[0] for line in lines}) == 7
    assert results() == results("here")
    assert made.broken == here.broken
    again = batch(job(**wanted))
    assert (again.done, again.skipped, list(again.broken)) == (0, 19, ["02"])


def test_one_worker_goes_on_from_what_was_done_here(ray, folder, job):
    wanted = {**NETWORK, "sink": "npz"}
    batch(job(output="here", **wanted))
    batch(job(**wanted), shard="1/2")
    made = batch(job(**wanted), engine="ray", workers=1, ahead=7)
    assert (made.done, made.skipped) == (10, 10)
    assert results() == results("here")


def test_what_cannot_be_is_refused(ray, folder, job):
    with pytest.raises(InputError, match="workers is 3, and the cluster has 2 cores and 0 GPUs; accepted: at most 2"):
        batch(job(), engine="ray", workers=3)


def test_sigterm_does_what_it_did(monkeypatch):
    """Ray's own handler would end the process with 15, before the command has said that it was interrupted."""
    import ray

    def start(**settings):
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        raise RuntimeError("no cluster here")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InputError, match="does not start here"), ray_engine._cluster(ray, None, 1, 1):
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_cluster_that_does_not_answer_is_refused_at_once(folder, job):
    pytest.importorskip("ray.data", reason="Ray is not installed")
    with pytest.raises(InputError, match=r"address is '127.0.0.1:1', which cannot be reached .*; accepted: a cluster"):
        batch(job(), engine="ray", address="127.0.0.1:1")


def test_a_worker_that_cannot_write_says_so(folder, job, monkeypatch):
    """The refusal comes back as data and is raised again, with what the worker had finished before it."""
    monkeypatch.chdir(folder)
    wanted = read_job(job())
    parts = cut_into_parts(list_items(wanted.source, wanted.output.path), wanted.output)
    actor = ray_engine._Actor(wanted, parts, "cpu", 2)
    refused = InputError("out", "has {free:g} bytes free", "{least} or more", free=1.5, least=20)

    def work(self, parts):
        yield Finished(parts[0].number, 1, {})
        raise refused

    monkeypatch.setattr(Worker, "work", work)
    made = actor({"part": np.array([0, 1])})
    assert json.loads(made["finished"][0]) == {"part": parts[0].number, "done": 1, "broken": {}}
    assert made["error"][0] == ""
    assert str(ray_engine._refusal(json.loads(made["error"][1]))) == str(refused)
