"""A job that is killed at any time goes on, to the bytes of one that was not."""

import random
import shutil
import sys
import time

import pytest

from omniup.jobs.batch import batch
from omniup.jobs.manifest import Finished, open_manifest
from support.dangers import contents
from support.forks import Fork
from support.jobs import results
from support.thorough import tries

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

KILLS = tries(5, 20)


@pytest.mark.parametrize("sink", ["npz", "zarr", "parquet", "webdataset"])
def test_killed_at_random_and_gone_on_each_time(sink, folder, job):
    wanted = {"sink": sink, "size": 200, "method": "joint_bilateral"}
    wanted["keep"] = {"pca": {"kind": "components", "of": "colours", "count": 3, "sample": 6}}
    started = time.perf_counter()
    assert batch(job(output="whole", **wanted)).done == 20
    whole = time.perf_counter() - started
    draw, killed = random.Random(sink), 0
    while killed < KILLS:
        running = Fork(lambda: bool(batch(job(**wanted)).broken))
        time.sleep(draw.uniform(0, whole / 2))
        if not running.is_killed():
            shutil.rmtree("out")  # it had ended: from the beginning
        killed += 1
    made = batch(job(**wanted))
    assert made.done + made.skipped == 20 and made.broken == {}
    assert results() == results("whole")
    assert batch(job(**wanted)).skipped == 20


def test_an_unfinished_line_of_the_manifest_does_not_count(folder, job):
    batch(job(sink="parquet"))
    manifest = folder / "out/_job/manifest.jsonl"
    before, lines = results(), manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:4]) + lines[4][:10])
    again = batch(job(sink="parquet"))
    assert (again.done, again.skipped) == (8, 12)
    assert results() == before and manifest.read_bytes() == b"".join(lines)


def test_a_shard_has_one_process(folder, job):
    from omniup.errors import InputError
    from omniup.jobs.configuration import read_job
    from omniup.jobs.sources import list_items

    wanted = read_job(job(output="out"))
    items = list_items(wanted.source, wanted.output.path)
    with open_manifest(wanted, items, (1, 2)) as manifest:
        manifest.record(Finished(0, 1, {}))
        with (
            pytest.raises(InputError, match="is being written by another process"),
            open_manifest(wanted, items, (1, 2)),
        ):
            pass
        with open_manifest(wanted, items, (2, 2)) as other:
            assert other.finished == manifest.finished
    assert "out/_job/manifest.1-of-2.jsonl" in contents()
