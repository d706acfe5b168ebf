"""Memory in huge pages is memory like any other, and what was freed goes back."""

import sys

import pytest
import torch

from omniup.evaluation.measuring import resident
from omniup.mixing import pages


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_and_small_results_are_as_new_empty_has_them(dtype):
    like = torch.zeros(2, dtype=dtype)
    for shape in ((0,), (3, 5), (pages.FRESH_BYTES // dtype.itemsize + 3,)):
        made = pages.new_empty(like, shape)
        assert (made.shape, made.dtype, made.is_contiguous()) == (torch.Size(shape), dtype, True)
        made.fill_(1)
        assert made.sum(dtype=torch.float64) == made.numel()


def test_only_whole_pages_of_the_result_are_advised(monkeypatch):
    seen = []
    monkeypatch.setattr(pages, "_madvise", lambda: lambda *call: seen.append(call))
    made = pages.new_empty(torch.zeros(0), (pages.FRESH_BYTES // 4 + 1,))
    ((begin, length, advice),) = seen
    assert advice == 14
    assert begin % 4096 == length % 4096 == 0
    assert made.data_ptr() <= begin < made.data_ptr() + 4096
    assert made.nbytes - 2 * 4096 < begin + length - made.data_ptr() <= made.nbytes


def test_where_there_are_no_such_pages_nothing_is_advised(monkeypatch):
    monkeypatch.setattr(pages, "_madvise", lambda: None)
    assert pages.new_empty(torch.zeros(0), (2**23,)).shape == (2**23,)


def test_other_systems_than_linux_are_not_asked(monkeypatch):
    monkeypatch.setattr(pages.sys, "platform", "darwin")
    assert pages._madvise.__wrapped__() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read as Linux tells it")
def test_freed_memory_goes_back_to_the_system():
    """Also what lies below something that is still used, which stays with the process otherwise."""
    if pages._malloc_trim() is None:
        pytest.skip("another C library than GNU's")
    held = [torch.ones(25_000) for _ in range(400)]  # 100 kB each, which do not get memory of their own
    del held[:-1]
    before = resident("VmRSS")
    pages.give_back()
    assert before - resident("VmRSS") > 20  # MB


def test_other_c_libraries_keep_what_they_will(monkeypatch):
    monkeypatch.setattr(pages.sys, "platform", "darwin")
    assert pages._malloc_trim.__wrapped__() is None
    monkeypatch.setattr(pages, "_malloc_trim", lambda: None)
    pages.give_back()
