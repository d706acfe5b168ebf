"""Masks as COCO keeps them, against its encoding written out."""

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from omniup.errors import InputError
from omniup.files import read_labels, read_signal, read_stored
from omniup.files.run_lengths import MAX_JSON
from oracles.run_lengths import compressed, runs_of

sides = st.integers(1, 40)


def coco(mask, *, text=True):
    runs = runs_of(mask)
    return {"size": list(mask.shape), "counts": compressed(runs) if text else runs}


def content(found):
    return json.dumps(found).encode()


def test_a_mask_by_pycocotools():
    """As pycocotools 2.0.11 encodes it."""
    mask = np.zeros((3, 4), bool)
    mask[1:, 1:3] = True
    assert coco(mask) == {"size": [3, 4], "counts": "42102"}
    assert coco(mask, text=False)["counts"] == [4, 2, 1, 2, 3]
    assert np.array_equal(read_stored(content({"size": [3, 4], "counts": "42102"})).numbers[0].numpy(), mask)


@given(st_numpy.arrays(bool, st.tuples(sides, sides)), st.integers(1, 80), st.booleans())
def test_every_mask_comes_back(mask, larger, text):
    mask = np.repeat(mask, larger, 0)  # for runs that take several groups of bits
    stored = read_stored(content(coco(mask, text=text)))
    assert stored.form == "run lengths" and stored.numbers.dtype == torch.bool
    assert np.array_equal(stored.numbers[0].numpy(), mask)


def test_several_masks_and_annotations():
    masks = np.random.default_rng(0).random((3, 6, 8)) > 0.5
    listed = [coco(masks[0]), coco(masks[1], text=False), {"area": 7, "segmentation": coco(masks[2])}]
    for start in (b"", b"\xef\xbb\xbf", b"\n  "):
        assert np.array_equal(read_stored(start + content(listed)).signal(keep_integers=True).numpy(), masks)
    assert read_signal(content(listed)).shape == (1, 3, 6, 8)
    assert np.array_equal(read_labels(io.BytesIO(content(listed[:1])))[0].numpy(), masks[0])


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([], "holds no masks"),
        ([{"size": [2, 2], "counts": [4]}, {"size": [2, 3], "counts": [6]}], "holds masks of several sizes"),
        ({}, "is JSON without a mask's size and counts"),
        ({"size": [2, 0], "counts": []}, "is JSON without a mask's size and counts"),
        ({"size": [2.0, 2], "counts": [4]}, "is JSON without a mask's size and counts"),
        ({"segmentation": [[1, 2, 3, 4]]}, "is JSON without a mask's size and counts"),
        ({"size": [2, 2], "counts": [5]}, "has runs of 5 values for a mask of 2 × 2"),
        ({"size": [2, 2], "counts": [3]}, "has runs of 3 values for a mask of 2 × 2"),
        ({"size": [2, 2], "counts": []}, "has runs of 0 values for a mask of 2 × 2"),
        ({"size": [2, 2], "counts": [6, -2]}, "holds counts that are neither a list of whole numbers nor a text"),
        ({"size": [2, 2], "counts": [4.0]}, "holds counts that are neither a list of whole numbers nor a text"),
        ({"size": [2, 2], "counts": None}, "holds counts that are neither a list of whole numbers nor a text"),
        ({"size": [2, 2], "counts": "6N"}, "has runs of 4 values for a mask of 2 × 2"),  # 6, -2
        ({"size": [2, 2], "counts": "P"}, "holds counts in a text that is not COCO's"),  # to be continued
        ({"size": [2, 2], "counts": "4 "}, "holds counts in a text that is not COCO's"),
        ({"size": [2, 2], "counts": "é"}, "holds counts in a text that is not COCO's"),
        ({"size": [2, 2], "counts": "P" * 9 + "0"}, "holds counts in a text that is not COCO's"),
        ({"size": [2, 2], "counts": ""}, "has runs of 0 values for a mask of 2 × 2"),
        ({"size": [2**17, 2**17], "counts": [2**34]}, "declares 17179869184 bytes, more than the limit"),
    ],
)
def test_what_is_no_mask(found, problem):
    with pytest.raises(InputError, match=f"^signal {problem}"):
        read_stored(content(found))


def test_the_sizes_are_checked_first():
    def refuse(shape, form):
        raise InputError("signal", "is {form} of {shape}", form=form, shape=shape)

    with pytest.raises(InputError, match=r"is run lengths of \(2, 30, 40\)"):
        read_stored(content([{"size": [30, 40], "counts": "broken"}] * 2), check_shape=refuse)
    with pytest.raises(InputError, match="cannot be read"):
        read_stored(b'{"size": [2, ')
    with pytest.raises(InputError, match="is no archive of arrays"):
        read_stored(b"{}", name="a")
    with pytest.raises(InputError, match="bytes of JSON, more than the limit"):
        read_stored(b"[" + b" " * MAX_JSON)
