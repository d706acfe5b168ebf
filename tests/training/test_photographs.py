import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.errors import InputError
from omniup.files import read_photograph
from omniup.training.photographs import (
    Positions,
    Squares,
    batches,
    central_square,
    measured_squares,
    photographs,
)


def test_a_folder_means_its_photographs_in_order(photo_folder):
    names = [f"{photo_folder}/{index}.png" for index in range(5)]  # and no label maps
    assert photographs([str(photo_folder)]) == names
    assert photographs(["sample:coffee", names[3], str(photo_folder)]) == ["sample:coffee", names[3], *names]


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no photographs; accepted: an image "):
        photographs([str(tmp_path)])


def test_squares_are_reproducible_wherever_one_begins(photo_folder):
    sources = photographs([str(photo_folder)])
    first, second = Squares(sources, 32, seed=3), Squares(sources, 32, seed=3)
    for position in (17, 4, 0, 1000):
        assert first[position].shape == (3, 32, 32)
        assert torch.equal(first[position], second[position])
    assert not torch.equal(first[4], Squares(sources, 32, seed=4)[4])


def test_each_turn_shows_every_photograph_once_in_another_order(tmp_path):
    squares = Squares([f"{index}" for index in range(20)], 32, seed=0)
    orders = [squares._order(turn).tolist() for turn in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_squares_are_not_enlarged_unless_they_must_be(photo_folder):
    squares = Squares([f"{photo_folder}/2.png"], 64, seed=0)  # of 64 × 64 pixels
    whole = read_photograph(f"{photo_folder}/2.png")[0]
    seen = {bool(torch.equal(squares[position], whole)) for position in range(8)}
    mirrored = {bool(torch.equal(squares[position], whole.flip(2))) for position in range(8)}
    assert seen == mirrored == {True, False}
    assert Squares([f"{photo_folder}/3.png"], 64, seed=0)[0].shape == (3, 64, 64)  # of 40 × 100


@given(st.integers(0, 50), st.integers(0, 20), st.integers(1, 5), st.integers(1, 4))
def test_processes_share_the_sequence_out(first, count, size, processes):
    shares = [list(Positions(first, first + count, size, process, processes)) for process in range(processes)]
    assert all(len(share) == count == len(Positions(first, first + count, size)) for share in shares)
    in_turn = itertools.chain.from_iterable(zip(*shares, strict=True))
    positions = list(itertools.chain.from_iterable(in_turn))
    assert positions == list(range(first * size * processes, (first + count) * size * processes))


def test_the_sequence_goes_on_where_it_stopped(photo_folder):
    squares = Squares(photographs([str(photo_folder)]), 32, seed=0)
    whole = list(batches(squares, Positions(0, 6, 2), workers=0))
    rest = list(batches(squares, Positions(4, 6, 2), workers=0))
    assert torch.equal(torch.stack(whole[4:]), torch.stack(rest))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # where there is one core
def test_workers_change_nothing(photo_folder):
    squares = Squares(photographs([str(photo_folder)]), 32, seed=0)
    alone = list(batches(squares, Positions(0, 4, 3), workers=0))
    assert torch.equal(torch.stack(alone), torch.stack(list(batches(squares, Positions(0, 4, 3), workers=2))))


def test_the_middle_is_measured(photo_folder):
    assert torch.equal(central_square(torch.arange(12.0).view(1, 1, 2, 6))[0, 0], torch.tensor([[2.0, 3], [8, 9]]))
    assert measured_squares([str(photo_folder)], 3, 32).shape == (3, 3, 32, 32)
