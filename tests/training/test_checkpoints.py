import pytest
import torch

from omniup.errors import InputError
from omniup.training import checkpoints as module
from omniup.training.checkpoints import Checkpoint, Checkpoints


def checkpoint(step):
    weights = {"network": {"a": torch.full((3,), float(step))}}
    return Checkpoint(step, weights, {"optimiser": {"state": {0: torch.tensor(step)}}}, {"steps": 9})


@pytest.fixture
def kept(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def names(kept):
    return sorted(path.name for path in kept.folder.iterdir())


def test_what_is_written_is_read(kept):
    assert kept.steps() == []
    kept.write(checkpoint(5), {"layout": "paper"})
    found = kept.read(5)
    assert (found.step, found.configuration) == (5, {"steps": 9})
    assert torch.equal(found.weights["network"]["a"], torch.full((3,), 5.0))
    assert found.state["optimiser"]["state"][0] == 5


def test_the_newest_are_kept(kept):
    for step in (1, 2, 10, 9):
        kept.write(checkpoint(step), {})
    assert kept.steps() == [9, 10]
    assert names(kept) == ["step-00000009", "step-00000010"]


def test_one_may_be_written_again(kept):
    for _ in range(2):
        kept.write(checkpoint(3), {})
    assert names(kept) == ["step-00000003"]


def test_one_that_fails_leaves_no_trace(kept, monkeypatch):
    kept.write(checkpoint(1), {})

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match="No space left on device"):
        kept.write(checkpoint(2), {})
    assert names(kept) == ["step-00000001"]


def test_nothing_has_its_name_before_it_is_whole(kept, monkeypatch):
    seen = []
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *arguments: (seen.append(kept.steps()), save(*arguments)))
    kept.write(checkpoint(1), {})
    assert seen == [[]]
    assert kept.steps() == [1]


def test_what_killed_processes_have_left_is_swept_out(kept):
    for step in (1, 2):
        kept.write(checkpoint(step), {})
    (kept.folder / ".omniup-0123456789abcdef.part").mkdir()
    (kept.folder / "step-00000000").mkdir()  # which was to be removed once there was another
    kept.sweep()
    assert names(kept) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("file", ["network.safetensors", module.STATE, module.FACTS])
def test_damage_is_refused_in_one_line(kept, file):
    place = kept.write(checkpoint(1), {})
    (place / file).write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match="cannot be read") as refused:
        kept.read(1)
    assert "\n" not in str(refused.value)


def test_nothing_is_unpickled_as_code(kept):
    class Dangerous:
        def __reduce__(self):
            return (pytest.fail, ("code was run",))

    place = kept.write(checkpoint(1), {})
    torch.save(Dangerous(), place / module.STATE)
    with pytest.raises(InputError):
        kept.read(1)
