import pytest
import torch

from omniup.files import image_tensor, sample_image
from omniup.training.anyup.augmentations import Augmentations
from omniup.training.anyup.configuration import AUGMENTATIONS
from omniup.training.photographs import reduce
from omniup.training.randomness import draw, seeded

pytest.importorskip("torchvision")


@pytest.fixture
def photos():
    """[2, 3, 64, 64], in steps of 1/255."""
    photos = torch.cat([image_tensor(sample_image(name))[:, :, :300, :300] for name in ("coffee", "chelsea")])
    return (reduce(photos, 64) * 255).round() / 255


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_changes_the_image_and_keeps_it_one(name, photos, monkeypatch):
    monkeypatch.setattr("omniup.training.anyup.augmentations.PROBABILITY", 1)
    with seeded(0, name):
        changed = Augmentations([name])(photos)
    assert changed.shape == photos.shape
    assert changed.dtype == torch.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not torch.equal(changed, photos)


def test_they_are_repeatable_and_leave_the_random_state_alone(photos):
    augment = Augmentations(AUGMENTATIONS)
    before = torch.get_rng_state()
    made = []
    for step in (0, 1, 0):
        with seeded(7, "augmentations", step):
            made.append(augment(photos))
    assert torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_a_batch_change_each_in_its_own_way(photos):
    same = photos[:1].expand(8, -1, -1, -1)
    with seeded(0, "augmentations"):
        changed = Augmentations(AUGMENTATIONS)(same)
    assert len({image.sum().item() for image in changed}) > 4


def test_without_names_nothing_changes(photos):
    assert torch.equal(Augmentations(())(photos), photos)


def test_streams_of_random_numbers_are_apart():
    streams = [draw(0, "crops", 1), draw(0, "crops", 2), draw(0, "square", 1), draw(1, "crops", 1)]
    assert len({int(stream.integers(2**63)) for stream in streams}) == 4
