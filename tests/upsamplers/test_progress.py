"""`progress=True` shows a bar where a function could be called after each step."""

import pytest
import torch

import omniup
from omniup.upsamplers import progress
from omniup.upsamplers.progress import Progress, counted, shown


@pytest.fixture
def bars(monkeypatch):
    """The bars that are drawn, each with its steps."""
    import tqdm.auto

    drawn = []

    class Bar:
        def __init__(self, **options):
            self.n, self.options, self.total, self.is_open = 0, options, options["total"], True
            drawn.append(self)

        def set_postfix(self, **values):
            self.options |= values

        def update(self, steps):
            self.n += steps

        def close(self):
            self.is_open = False

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    return drawn


def test_a_fit_shows_a_bar(bars):
    omniup.UpsampleAnything(iterations=3).prepare(torch.rand(1, 3, 32, 32), (2, 2), progress=True)
    (bar,) = bars
    assert (bar.options["desc"], bar.n, bar.total, bar.is_open) == ("fit", 3, 3, False)
    assert "loss" in bar.options


def test_labels_show_a_bar(bars):
    prepared = omniup.upsampler("bilinear").prepare(torch.rand(1, 3, 32, 32), (2, 2))
    prepared.render(torch.tensor([[[[1, 2], [3, 4]]]]), "labels", progress=True)
    (bar,) = bars
    assert bar.n == bar.total > 0
    assert not bar.is_open


@pytest.mark.parametrize("name", ["bilinear", "guided_filter", "joint_bilateral", "pyramid_bilateral"])
def test_methods_of_one_step_take_it_and_show_nothing(bars, name):
    omniup.upsampler(name).prepare(torch.rand(1, 3, 32, 32), (2, 2), progress=True)
    assert bars == []


def test_functions_are_handed_on(bars):
    seen = []
    with shown(seen.append, "x") as show:
        show(Progress(1, 2, 0))
    with shown(None, "x") as show:
        assert show is None
    with shown(False, "x") as show:
        assert show is None
    with counted(lambda *parts: seen.append(parts), "x") as show:
        show(1, 2)
    assert seen == [Progress(1, 2, 0), (1, 2)]
    assert bars == []


def test_parts_are_counted_on_a_bar(bars):
    with counted(True, "restore") as show:
        for done in (1, 2, 3):
            show(done, 3)
    assert [(bar.options["desc"], bar.n, bar.is_open) for bar in bars] == [("restore", 3, False)]


def test_a_bar_is_closed_when_the_work_ends_early(bars):
    with pytest.raises(KeyboardInterrupt), progress.progress_bar("x") as show:
        show(Progress(1, 3, 0))
        raise KeyboardInterrupt
    assert not bars[0].is_open
