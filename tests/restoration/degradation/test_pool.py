from collections import Counter
from io import BytesIO

import pytest
import torch
from scipy import stats

from omniup import InputError
from omniup.restoration.degradation import PairPool


def batch(first, count, size=(2, 3)):
    """Pairs `first` to `first + count - 1`, each of which shows its number."""
    numbers = torch.arange(first, first + count).float()
    lq = (numbers / 255).view(-1, 1, 1, 1).expand(-1, 3, *size)
    return lq, 1 - lq, [f"prompt {int(number)}" for number in numbers]


def numbers(lq, target, prompts):
    """Which pairs these are, once it is clear that they have not been torn apart."""
    found = (255 * lq[:, 0, 0, 0]).round()
    assert torch.equal(lq, (found / 255).view(-1, 1, 1, 1).expand_as(lq))
    torch.testing.assert_close(target, 1 - lq)
    assert prompts == [f"prompt {int(number)}" for number in found]
    return found.int().tolist()


def pool(size=12, seed=0):
    return PairPool(size, torch.Generator().manual_seed(seed))


def test_it_fills_up_first():
    filling = pool()
    for first in range(0, 12, 4):
        assert numbers(*filling.exchange(*batch(first, 4))) == list(range(first, first + 4))
    assert len(filling) == 12


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_every_pair_leaves_once(count):
    exchanging, left = pool(), []
    batches = [batch(first, count) for first in range(0, 240, count)]
    full = [first for first in range(0, 240, count) if first + count <= 12]
    for first, pairs in zip(range(0, 240, count), batches, strict=True):
        out = numbers(*exchanging.exchange(*pairs))
        assert len(out) == count
        if first not in full:
            left += out
    assert len(set(left)) == len(left) == 240 - len(full) * count
    assert len(exchanging) == len(full) * count


def test_every_pair_is_as_likely_to_leave():
    generator, left = torch.Generator().manual_seed(0), Counter()
    for _ in range(800):
        full = PairPool(8, generator)
        full.exchange(*batch(0, 8))
        left.update(numbers(*full.exchange(*batch(8, 3))))
    assert left.keys() == set(range(8))
    assert stats.chisquare(list(left.values())).pvalue > 1e-3


def test_it_goes_on_from_a_checkpoint():
    uninterrupted, first_half = pool(), pool()
    for first in range(0, 40, 4):
        uninterrupted.exchange(*batch(first, 4))
        first_half.exchange(*batch(first, 4))
    file = BytesIO()
    torch.save(first_half.state_dict(), file)
    file.seek(0)
    second_half = pool(seed=7)
    second_half.load_state_dict(torch.load(file, weights_only=True))
    assert len(second_half) == 12
    for first in range(40, 80, 4):
        assert numbers(*second_half.exchange(*batch(first, 4))) == numbers(*uninterrupted.exchange(*batch(first, 4)))


@pytest.mark.parametrize("stored", [0, 4])
def test_a_checkpoint_before_it_is_full(stored):
    begun, resumed = pool(), pool(seed=3)
    if stored:
        begun.exchange(*batch(0, stored))
    resumed.load_state_dict(begun.state_dict())
    assert len(resumed) == stored
    for first in range(stored, 60, 4):
        assert numbers(*resumed.exchange(*batch(first, 4))) == numbers(*begun.exchange(*batch(first, 4)))


def test_what_leaves_is_a_copy():
    exchanging = pool(4)
    exchanging.exchange(*batch(0, 4))
    out = exchanging.exchange(*batch(4, 4))
    before = [tensor.clone() for tensor in out[:2]]
    exchanging.exchange(*batch(8, 4))
    assert all(torch.equal(*tensors) for tensors in zip(before, out[:2], strict=True))


def test_256_levels_survive_and_the_type_stays():
    levels = (torch.arange(256).double() / 255).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    exchanging = pool(1)
    exchanging.exchange(levels, levels.flip(2), ["a"])
    lq, target, _ = exchanging.exchange(levels * 0, levels * 0, ["b"])
    assert lq.dtype == torch.float64
    assert torch.equal(lq, levels) and torch.equal(target, levels.flip(2))


def test_refusals():
    with pytest.raises(InputError, match="pool_size is 12; accepted: sizes from that of a batch on, 13"):
        pool().exchange(*batch(0, 13))
    exchanging = pool()
    exchanging.exchange(*batch(0, 4))
    with pytest.raises(InputError, match="prompts are 3; accepted: one for each of 4 images"):
        exchanging.exchange(*batch(0, 4)[:2], ["a", "b", "c"])
    with pytest.raises(InputError, match="images have 5 x 6 pixels; accepted: those of the batches before, 2 x 3"):
        exchanging.exchange(*batch(0, 4, size=(5, 6)))
    with pytest.raises(InputError, match="pool_size is 3; accepted: sizes from 4 on"):
        pool(3).load_state_dict(exchanging.state_dict())
