"""What a file holds is recognised, undeclared, and proposed."""

import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from omniup import InputError
from omniup.upsamplers.recognition import recognise
from omniup.upsamplers.signal_files import read_signal_file
from support.demo import encoded, npy

SIZE, GRID = (64, 96), (16, 24)
RANDOM = np.random.default_rng(0)
DEPTH = RANDOM.random(GRID, np.float32) * 8 + 1
LABELS = RANDOM.integers(0, 5, GRID)


def recognised(content, signal_type="auto", invalid=()):
    def read(declared, holes):
        return read_signal_file(BytesIO(content), SIZE, signal_type=declared, invalid=holes)

    return recognise(read, signal_type, invalid)


def with_holes(value):
    depth = DEPTH.copy()
    depth[:4, :5] = value
    return depth


@pytest.mark.parametrize(
    ("array", "signal_type"),
    [
        (DEPTH, "measurement"),
        ((1000 * DEPTH).astype(np.uint16), "measurement"),
        (LABELS, "labels"),
        (LABELS.astype(np.float32), "labels"),
        (LABELS > 2, "labels"),
        (RANDOM.random((1, 1 + 16 * 24, 64), np.float32), "features"),
        (np.stack([DEPTH, 10 - DEPTH]) / 10, "probabilities"),
    ],
)
def test_the_type_that_is_proposed(array, signal_type):
    found = recognised(npy(array))
    assert found.signal_type == found.file.types[0] == signal_type
    assert found.invalid == () and found.file.holes == 0
    assert found.file.grid == GRID


def test_a_picture_of_a_few_colours_is_labels():
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    assert recognised(encoded(Image.fromarray(colours[LABELS % 3]))).signal_type == "labels"


@pytest.mark.parametrize("value", [0, -9999, 65535])
def test_numbers_that_stand_apart_are_proposed_for_holes(value):
    found = recognised(npy(with_holes(value)))
    assert (found.signal_type, found.invalid, found.file.holes) == ("measurement", (value,), 20)


def test_what_is_no_number_is_proposed_for_holes():
    found = recognised(npy(with_holes(math.nan)))
    assert math.isnan(found.invalid[0]) and found.file.holes == 20


@pytest.mark.parametrize(
    "array",
    [
        np.where(DEPTH > 4, DEPTH / 10, 0).astype(np.float32),  # a soft mask
        np.where(DEPTH > 4, DEPTH - 4, 0).astype(np.float32),  # a measurement that goes down to 0
        np.where(np.arange(24) == 3, 0, DEPTH)[:1].repeat(2, 0).astype(np.float32)[:, :4],  # too few
    ],
)
def test_zeros_that_are_values_are_none(array):
    assert recognised(npy(array)).invalid == ()


def test_what_is_declared_or_given_stays():
    found = recognised(npy(with_holes(0)), "values", [0])
    assert (found.signal_type, found.invalid, found.file.holes) == ("values", (), 20)


def test_what_cannot_be_read_is_refused_for_the_first_reason():
    with pytest.raises(InputError, match="16, 24, 16"):
        recognised(npy(RANDOM.random((16, 24, 16), np.float32)))


def test_label_maps_in_floating_point_are_read_where_all_numbers_are_whole():
    content = npy(LABELS.astype(np.float32))
    read = read_signal_file(BytesIO(content), SIZE, signal_type="labels")
    np.testing.assert_array_equal(read.values[0, 0].numpy(), LABELS)
    with pytest.raises(InputError, match="float32"):
        read_signal_file(BytesIO(npy((LABELS + 0.5).astype(np.float32))), SIZE, signal_type="labels")
