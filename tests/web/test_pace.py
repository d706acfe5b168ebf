import pytest

from omniup.upsamplers import UpsampleAnything
from omniup.web.pace import Pace


@pytest.fixture
def pace():
    return Pace()


def test_a_slow_machine_begins_with_gentler_settings(pace):
    pace.pairs_per_second, pace.overhead_seconds = 1e9, 0.3
    assert pace.gentle() == {}
    changes = []
    for rate in (2.8e7, 1.6e7, 1e5):
        pace.pairs_per_second = rate
        changes.append(pace.gentle())
    assert changes == [{"iters": 30}, {"iters": 30, "size": 224}, {"iters": 30, "size": 224}]


def test_it_measures_the_machine(pace):
    pace.measure("cpu")
    assert pace.pairs_per_second != Pace().pairs_per_second
    assert pace.overhead_seconds > 0
    assert pace.seconds(256, UpsampleAnything()) > 0


def test_it_learns_from_runs(pace):
    for _ in range(50):
        pace.learn(256 * 256, pairs=256 * 256 * 25 * 50, iterations=50, fit=2.0, rest=0.5)
    method = UpsampleAnything(iterations=50)
    assert pace.seconds(256, method) == pytest.approx(2.5, rel=1e-3)
    assert pace.seconds(512, method) == pytest.approx(10, rel=1e-3)
    before = pace.pairs_per_second
    pace.learn(256 * 256, pairs=0, iterations=0, fit=0.0, rest=0.5)  # which tells nothing of the fit
    assert pace.pairs_per_second == before
