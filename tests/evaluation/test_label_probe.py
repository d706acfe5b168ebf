import dataclasses

import pytest
import torch

import omniup
from omniup.encoders import encode_image
from omniup.errors import InputError
from omniup.evaluation.label_probe import LabelProbe, at_size
from omniup.files import write_tensors


def picture(seed, size=(48, 64)):
    """Rectangles of red, green and blue with noise, and their label map with the numbers 2, 5 and 9."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.full((1, 1, *size), 2)
    for label in (5, 9):
        top, left = (int(torch.randint(side // 2, (1,), generator=generator)) for side in size)
        labels[..., top : top + 20, left : left + 24] = label
    image = torch.stack([(labels[0, 0] == label).float() for label in (2, 5, 9)])[None]
    return (0.2 + 0.6 * image + 0.1 * torch.rand(image.shape, generator=generator)).clamp(0, 1), labels


@pytest.fixture(scope="module")
def encoder():
    return omniup.encoder("projection", channels=8, stride=4)


@pytest.fixture(scope="module")
def probe(encoder):
    pairs = [picture(seed) for seed in range(4)]
    return LabelProbe.fit((encode_image(image, encoder), labels) for image, labels in pairs)


def test_it_labels_pictures_that_it_has_not_seen(probe, encoder):
    image, labels = picture(9)
    assert probe.labels == (2, 5, 9)
    found = probe.predict(encode_image(image, encoder))
    assert found.shape == labels.shape and found.dtype == torch.int64
    assert (found == labels).float().mean() > 0.97


def test_probabilities_sum_to_one_at_any_size(probe, encoder):
    image, _ = picture(9)
    probabilities = probe.probabilities(encode_image(image, encoder, size=96), method="bilinear")
    assert probabilities.shape == (1, 3, 72, 96)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1, 72, 96))


def test_ignored_labels_count_for_nothing(encoder):
    image, labels = picture(1)
    covered = labels.clone()
    covered[..., :16, :] = 255
    encoded = encode_image(image, encoder)
    first = LabelProbe.fit([(encoded, covered)], ignore=[255])
    assert 255 not in first.labels
    below = torch.where(covered == 255, -1, covered)
    torch.testing.assert_close(first.linear.weight, LabelProbe.fit([(encoded, below)]).linear.weight)


def test_the_border_of_a_padded_image_counts_for_nothing(probe):
    image, labels = picture(2)
    encoded = encode_image(image, omniup.encoder("projection", channels=8, stride=20), sides="pad")
    assert encoded.region == (0, 0, 60, 80)
    made = LabelProbe.fit([(encoded, labels)])
    assert made.predict(encoded).shape == labels.shape
    wrong = dataclasses.replace(encoded, region=(0, 0, 48, 64))
    assert not torch.allclose(made.linear.weight, LabelProbe.fit([(wrong, labels)]).linear.weight)


def test_a_part_of_the_cells_is_enough(probe, encoder):
    pairs = [picture(seed) for seed in range(4)]
    few = LabelProbe.fit([(encode_image(image, encoder), labels) for image, labels in pairs], per_image=48)
    image, labels = picture(9)
    assert (few.predict(encode_image(image, encoder)) == labels).float().mean() > 0.95
    assert not torch.equal(few.linear.weight, probe.linear.weight)


def test_a_file_keeps_all_of_it(probe, encoder, tmp_path):
    probe.save(tmp_path / "probe.safetensors", {"of": "rectangles"})
    loaded, metadata = LabelProbe.load(tmp_path / "probe.safetensors")
    assert (loaded.labels, metadata) == (probe.labels, {"of": "rectangles"})
    encoded = encode_image(picture(9)[0], encoder)
    assert torch.equal(loaded.predict(encoded), probe.predict(encoded))


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.ones(3, 4)},
        {"weight": torch.ones(3, 4), "bias": torch.ones(2), "labels": torch.arange(3)},
        {"weight": torch.ones(3), "bias": torch.ones(3), "labels": torch.arange(3)},
        {"weight": torch.ones(3, 4), "bias": torch.ones(3), "labels": torch.tensor(3)},
    ],
)
def test_files_that_hold_no_probe_are_refused(tensors, tmp_path):
    write_tensors(tmp_path / "file.safetensors", tensors, {})
    with pytest.raises(InputError, match=r"holds no probe; accepted: a file that `omniup probe fit` wrote"):
        LabelProbe.load(tmp_path / "file.safetensors")


def test_features_of_another_network_are_refused(probe):
    encoded = encode_image(picture(0)[0], omniup.encoder("projection", channels=5))
    with pytest.raises(InputError, match=r"^image has 5 channels of features; accepted: the 8 that the probe was"):
        probe.predict(encoded)


def test_one_label_is_nothing_to_learn(encoder):
    image, labels = picture(0)
    with pytest.raises(InputError, match=r"^labels has the labels \[2\]; accepted: at least two that count"):
        LabelProbe.fit([(encode_image(image, encoder), labels * 0 + 2)])


def test_label_maps_are_resized_without_mixing():
    labels = torch.tensor([[[[0, 200], [7, 200]]]])
    assert at_size(labels, (2, 2)) is labels
    assert torch.equal(at_size(labels, (4, 6)), labels.repeat_interleave(2, 2).repeat_interleave(3, 3))
