import os
import tempfile
import threading
import time
from contextlib import suppress
from uuid import uuid4

import pytest
import torch
from PIL import Image

from omniup.files import read_image, read_signal
from omniup.web.runs import Kept, Runs, picture_maker, tensor_maker
from support.forks import Fork


@pytest.fixture
def keep():
    """`keep(kept_seconds, kept_bytes)`"""
    made = []

    def make(kept_seconds=1000, kept_bytes=10**6):
        made.append(Runs(kept_seconds, kept_bytes))
        return made[-1]

    yield make
    for runs in made:
        runs.close()


def run(memory=0, **files):
    """A run with files `name=content`."""
    makers = {f"{name}.bin": lambda path, content=content: path.write_bytes(content) for name, content in files.items()}
    return Kept(uuid4(), makers, None, memory)


def test_runs_are_added_found_and_removed(keep):
    runs, kept = keep(), run(a=b"content")
    runs.add(kept)
    assert runs.find(kept.id) is kept
    assert runs.find(uuid4()) is None
    with kept.open("a.bin") as file:
        assert file.read() == b"content"
    assert runs.remove(kept.id)
    assert runs.find(kept.id) is None
    assert not kept.folder.exists()
    assert not runs.remove(kept.id)


def test_files_are_made_when_they_are_asked_for(keep):
    runs, kept = keep(), run(a=b"1", b=b"2")
    runs.add(kept)
    assert list(kept.folder.iterdir()) == []
    kept.open("b.bin").close()
    assert [path.name for path in kept.folder.iterdir()] == ["b.bin"]


def test_a_file_is_made_once_however_many_ask(keep):
    calls, together = [], threading.Barrier(8)

    def make(path):
        calls.append(path)
        time.sleep(0.05)
        path.write_bytes(b"content")

    kept, read = Kept(uuid4(), {"a": make}, None, 0), []
    keep().add(kept)

    def ask():
        together.wait()
        with kept.open("a") as file:
            read.append(file.read())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [b"content"] * 8
    assert len(calls) == 1


def test_no_file_but_those_that_are_named_is_opened(keep):
    kept = run(a=b"1")
    keep().add(kept)
    for name in ("b.bin", "../a.bin", "/etc/passwd", ""):
        with pytest.raises(KeyError):
            kept.open(name)


def test_a_file_of_a_removed_run_is_not_found(keep):
    runs, kept = keep(), run(a=b"1")
    runs.add(kept)
    runs.remove(kept.id)
    with pytest.raises(FileNotFoundError):
        kept.open("a.bin")
    assert not kept.folder.exists()


def test_a_file_of_a_run_that_is_removed_while_it_is_made_is_not_found(keep):
    runs = keep()

    def make(path):
        runs.remove(kept.id)
        tensor_maker(lambda: torch.zeros(1, 1, 2, 2))(path)

    kept = Kept(uuid4(), {"a.npy": make}, None, 0)
    runs.add(kept)
    with pytest.raises(FileNotFoundError):
        kept.open("a.npy")


def test_an_open_file_outlives_its_run(keep):
    runs, kept = keep(), run(a=b"content")
    runs.add(kept)
    with kept.open("a.bin") as file:
        runs.remove(kept.id)
        assert file.read() == b"content"


def test_the_oldest_go_when_there_is_too_much(keep):
    runs, kept = keep(kept_bytes=100), [run(memory=40) for _ in range(5)]
    for each in kept:
        runs.add(each)
    assert [runs.find(each.id) is not None for each in kept] == [False, False, False, True, True]
    assert runs.count_and_size == (2, 80)
    assert [each.folder.exists() for each in kept] == [False, False, False, True, True]


def test_files_count_too(keep):
    runs, first, second = keep(kept_bytes=100), run(memory=10, a=bytes(70)), run(memory=10, a=bytes(70))
    runs.add(first)
    runs.add(second)
    first.open("a.bin").close()
    assert runs.count_and_size == (2, 90)
    second.open("a.bin").close()
    assert runs.find(second.id) is second
    assert runs.find(first.id) is None
    assert runs.count_and_size == (1, 80)


def test_a_file_counts_once(keep):
    runs, kept = keep(), run(memory=10, a=bytes(70))
    runs.add(kept)
    for _ in range(3):
        kept.open("a.bin").close()
    kept.settle("a.bin")
    assert runs.count_and_size == (1, 80)


def test_the_latest_stays_even_where_it_is_too_much(keep):
    runs, kept = keep(kept_bytes=100), [run(memory=500), run(memory=500)]
    for each in kept:
        runs.add(each)
        assert runs.find(each.id) is each
    assert runs.count_and_size == (1, 500)


def test_old_runs_go(keep):
    runs, old, young = keep(kept_seconds=100), run(), run()
    for each in (old, young):
        runs.add(each)
    old.born -= 101
    assert runs.find(old.id) is None
    assert not old.folder.exists()
    assert runs.find(young.id) is young


def test_an_old_run_goes_even_if_it_is_the_latest(keep):
    runs, kept = keep(kept_seconds=100), run()
    runs.add(kept)
    kept.born -= 101
    assert runs.find(kept.id) is None
    assert runs.count_and_size == (0, 0)


def test_many_threads_at_once(keep):
    runs, failed = keep(kept_bytes=300), []

    def work(seed):
        try:
            for _ in range(100):
                kept = run(memory=10, a=bytes(20))
                runs.add(kept)
                with suppress(FileNotFoundError):  # it was the oldest by then
                    kept.open("a.bin").close()
                runs.find(kept.id)
                if seed % 2:
                    runs.remove(kept.id)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    runs.tidy()
    count, size = runs.count_and_size
    assert size <= 300
    assert len(list(runs._folder.glob("[!.]*"))) == count  # beside the lock


def test_closing_removes_every_file(keep):
    runs, kept = keep(), run(a=b"1")
    runs.add(kept)
    kept.open("a.bin").close()
    runs.close()
    assert not runs._folder.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_files_of_a_killed_server_are_removed_by_the_next_and_those_of_one_that_runs_are_not(
    keep, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (told, tell), mine = os.pipe(), run(a=b"1")

    def serve():
        runs = Runs(1000, 10**6)
        runs.add(run(a=b"1"), "a.bin")
        os.write(tell, b".")
        time.sleep(600)

    killed = Fork(serve)
    assert os.read(told, 1) == b"."
    (left,) = tmp_path.iterdir()
    keep().add(mine, "a.bin")
    unfinished = tmp_path / "omniup-runs-unfinished"  # of one that was killed before it had a lock, and one that starts
    starting = tmp_path / "omniup-runs-starting"
    for folder in (unfinished, starting):
        folder.mkdir()
    os.utime(unfinished, (0, 0))
    assert left.exists()
    killed.kill()
    keep()
    assert not left.exists() and not unfinished.exists()
    assert starting.exists() and (mine.folder / "a.bin").exists()
    os.close(told)
    os.close(tell)


def test_urls_name_the_run_and_the_file():
    kept = run(a=b"1")
    assert kept.urls == {"a.bin": f"/api/runs/{kept.id}/files/a.bin"}


def test_tensors_and_pictures_as_files(tmp_path):
    signal = torch.randn(1, 3, 4, 5)
    tensor_maker(lambda: signal)(tmp_path / "a.npy")
    assert read_signal(tmp_path / "a.npy").equal(signal)
    picture_maker(Image.new("RGB", (5, 4), "red"))(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0, 0].tolist() == [1, 0, 0]
