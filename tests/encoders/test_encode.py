import subprocess
import sys

import pytest
import torch

from omniup.encoders import Encoding, Projection, encode, encoders
from omniup.encoders.preparation import check_request, nearest_cells, to_grid
from omniup.errors import InputError, MissingPackageError


def test_every_encoder_has_a_name_and_one_line():
    listed = encoders()
    assert list(listed) == ["mask2former", "projection", "resnet18_layer2", "timm:NAME", "transformers:NAME"]
    assert all(line and "\n" not in line for line in listed.values())


def test_the_list_is_a_copy():
    encoders().clear()
    assert encoders()


def test_encode_builds_the_named_encoder(image):
    encoding = encode(image, "projection", grid=(6, 8), channels=5, seed=3)
    assert isinstance(encoding, Encoding)
    assert torch.equal(encoding.features, Projection(channels=5, seed=3)(image, (6, 8)).features)


def test_encode_hands_the_rest_of_a_name_to_its_family(image):
    encoding = encode(image, "timm:test_vit", pretrained=False)
    assert encoding.encoder == "timm:test_vit"
    assert encoding.features.shape == (2, 64, 6, 8)


@pytest.mark.parametrize("name", ["", "resnet", "timm", "timm:", "timm:NAME:", ":", "projection:", "projection:x"])
def test_an_unknown_name_is_refused_with_the_list(image, name):
    with pytest.raises(InputError, match=r"^name is ") as refusal:
        encode(image, name)
    if name != "timm:NAME:":  # which is a name for timm to refuse
        assert "mask2former, projection, resnet18_layer2, timm:NAME" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "setting", "accepted"),
    [
        ("mask2former", "weights", "model, resolution, offline"),
        ("projection", "layer", "channels, stride, seed"),
        ("resnet18_layer2", "channels", "weights"),
        ("timm:test_vit", "weights", "pretrained, layer"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_list(image, name, setting, accepted):
    with pytest.raises(InputError, match=rf"^settings do not fit .*'{setting}'.*; accepted: {accepted}$"):
        encode(image, name, **{setting: 1})


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (torch.rand(3, 8, 8), r"shape \[3, 8, 8\]"),
        (torch.rand(1, 4, 8, 8), r"shape \[1, 4, 8, 8\]"),
        (torch.rand(1, 3, 0, 8), r"shape \[1, 3, 0, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 8, 8), 255.0), "from 255 to 255"),
        (torch.full((1, 3, 8, 8), -0.5), "from -0.5 to -0.5"),
        (torch.full((1, 3, 8, 8), torch.nan), "from nan to nan"),
    ],
)
def test_an_image_that_is_none_is_refused(broken, problem):
    with pytest.raises(InputError, match=rf"^image .*{problem}.*accepted: \[B, 3, H, W\], floating point in 0..1$"):
        check_request(broken, None)


@pytest.mark.parametrize("grid", [(0, 4), (4, -1), (98, 4), (4, 131), (4,), (4, 4, 4)])
def test_a_grid_beyond_the_image_is_refused(image, grid):
    with pytest.raises(InputError, match=r"^grid is .*\(1, 1\) to the image's \(97, 130\)"):
        check_request(image, grid)


@pytest.mark.parametrize(("length", "cells"), [(1, 1), (7, 1), (23, 1), (24, 2), (39, 2), (40, 3), (97, 6), (130, 8)])
def test_the_nearest_number_of_cells(length, cells):
    assert nearest_cells(length, 16) == cells


def test_a_coarser_grid_holds_means_of_cells():
    features = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert torch.equal(to_grid(features, (2, 3)), torch.nn.functional.avg_pool2d(features, 2))


def test_a_finer_grid_is_reached_bilinearly():
    features = torch.tensor([[[[0.0, 1.0]]]])
    assert torch.allclose(to_grid(features, (1, 4)), torch.tensor([[[[0.0, 0.25, 0.75, 1.0]]]]))


def test_each_side_goes_its_own_way():
    ramp = torch.arange(4.0).reshape(1, 1, 4, 1).expand(1, 1, 4, 2)
    assert torch.equal(to_grid(ramp, (2, 6)), torch.tensor([[0.5], [2.5]]).expand(1, 1, 2, 6))


def test_the_same_grid_changes_nothing():
    features = torch.rand(2, 3, 5, 7)
    assert torch.equal(to_grid(features, (5, 7)), features)
    assert torch.equal(to_grid(features, None), features)


def test_importing_the_room_imports_no_optional_package():
    code = "import sys, omniup.encoders; print({'timm', 'torchvision', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "package"),
    [("mask2former", "transformers"), ("timm:test_vit", "timm"), ("resnet18_layer2", "torchvision.models")],
    ids=str,
)
def test_a_missing_package_says_how_to_install_it(image, name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=r'pip install "omniup\[features\]"'):
        encode(image, name)
