import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from omniup.errors import InputError
from omniup.visualize import class_colours, label_picture, outlined


def label_map(rows):
    return torch.tensor(rows)[None, None]


def test_colours_are_the_same_however_many_there_are():
    many = class_colours(200)
    assert many.shape == (200, 3)
    assert many.dtype == np.uint8
    for classes in (1, 2, 17, 150):
        assert_array_equal(class_colours(classes), many[:classes])
    assert class_colours(0).shape == (0, 3)


def test_the_colours_of_a_usual_number_of_classes_differ_plainly():
    colours = class_colours(20).astype(int)
    apart = abs(colours[:, None] - colours[None]).sum(2) + 1000 * np.eye(20, dtype=int)
    assert apart.min() > 20
    neighbours = abs(np.diff(class_colours(150).astype(int), axis=0)).sum(1)
    assert neighbours.min() > 100


def test_colours_are_all_different():
    assert len(np.unique(class_colours(150), axis=0)) == 150


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(0, 1000))
def test_every_pixel_has_the_colour_of_its_class(height, width, classes, seed):
    labels = torch.randint(classes, (1, 1, height, width), generator=torch.Generator().manual_seed(seed))
    colours = class_colours(classes)
    picture = label_picture(labels, colours)
    assert (picture.mode, picture.size) == ("RGB", (width, height))
    assert_array_equal(np.asarray(picture), colours[labels[0, 0].numpy()])


def test_given_colours_are_kept():
    colours = np.array([[1, 2, 3], [250, 251, 252]], dtype=np.uint8)
    assert_array_equal(np.asarray(label_picture(label_map([[1, 0]]), colours)), colours[[[1, 0]]])


@pytest.mark.parametrize(("rows", "said"), [([[0, 3]], "from 0 to 3; accepted: 0 to 2"), ([[-1, 0]], "from -1 to 0")])
def test_labels_without_a_colour_are_refused(rows, said):
    with pytest.raises(InputError, match=said):
        label_picture(label_map(rows), class_colours(3))


@pytest.mark.parametrize("shape", [(4, 4), (1, 2, 4, 4), (2, 1, 4, 4)])
def test_other_shapes_are_refused(shape):
    labels = torch.zeros(shape, dtype=torch.int64)
    with pytest.raises(InputError, match="labels"):
        label_picture(labels, class_colours(1))
    with pytest.raises(InputError, match="labels"):
        outlined(torch.zeros(1, 3, 4, 4), labels)


def halves(size=12, at=6):
    labels = torch.zeros(1, 1, size, size, dtype=torch.int64)
    labels[..., at:] = 1
    return labels


def test_a_line_of_white_and_dark_is_drawn_along_the_border():
    pixels = np.asarray(outlined(torch.full((1, 3, 12, 12), 0.5), halves()))
    row = pixels[5, :, 0].tolist()
    changed = [x for x, value in enumerate(row) if value != 128]
    assert changed == [5, 6]  # one on either side of the border
    assert sorted(row[x] for x in changed) == [32, 255]
    assert (pixels == pixels[:1]).all()


def test_one_class_has_no_borders():
    image = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    pixels = np.asarray(outlined(image, torch.full((1, 1, 9, 7), 3)))
    assert_array_equal(pixels, (255 * image[0]).round().byte().permute(1, 2, 0).numpy())


def test_what_the_classes_are_called_does_not_matter():
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    first = np.asarray(outlined(image, halves()))
    for low, high in ((0, 149), (3, 7), (5, 10**6)):
        assert_array_equal(np.asarray(outlined(image, torch.where(halves() > 0, high, low))), first)


@given(st.integers(2, 16), st.integers(2, 16), st.integers(0, 1000))
def test_pixels_away_from_every_border_stay(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (1, 1, height, width), generator=generator)
    image = torch.rand(1, 3, height, width, generator=generator)
    kept = (255 * image[0]).round().byte().permute(1, 2, 0).numpy()
    around = torch.nn.functional.pad(labels.float(), (1, 1, 1, 1), mode="replicate")
    least = -torch.nn.functional.max_pool2d(-around, 3, 1)
    inside = (torch.nn.functional.max_pool2d(around, 3, 1) == least)[0, 0].numpy()
    assert_array_equal(np.asarray(outlined(image, labels))[inside], kept[inside])


def test_the_photograph_is_left_as_it_was():
    image = torch.rand(1, 3, 12, 12)
    before = image.clone()
    outlined(image, halves())
    assert image.equal(before)


def test_sizes_that_differ_are_refused():
    with pytest.raises(InputError, match="accepted: equal sizes"):
        outlined(torch.zeros(1, 3, 8, 9), torch.zeros(1, 1, 9, 8, dtype=torch.int64))
