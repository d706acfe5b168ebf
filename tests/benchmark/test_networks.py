"""Networks are weights: their files are loaded strictly, and nothing beside the data is run."""

import pytest
import torch
from torch.nn import functional as F

from omniup import InputError
from omniup.encoders.timm_backbone import load_timm
from omniup.files import read_tensors, write_tensors
from omniup.upsamplers import upsampler
from omniup_bench.catalogue import find_task
from omniup_bench.data import Folders
from omniup_bench.dense import DenseFeatures
from omniup_bench.networks import IMAGENET, feature_network, features, probabilities
from omniup_bench.quality import evaluate, total
from omniup_bench.street_network import FILE, load_street_network
from support.benchmark import small_data
from support.street_network import known_features, known_probabilities, write_street_network


def test_weights_set_by_hand_give_what_is_known(folders):
    network, image = load_street_network(folders.models), torch.rand(2, 3, 48, 64)
    assert network.features(image).shape == (2, 192, 3, 4)
    torch.testing.assert_close(network.features(image), known_features(image), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network(image), known_probabilities(image), atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(probabilities(image[:1], 16, folders.models), network(image[:1]))


def test_the_real_network_is_as_large_as_is_said(shared):
    network = load_street_network(shared / "models")
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(2.9e6, rel=0.02)
    assert not network.training


@pytest.mark.parametrize("change", ["a tensor is missing", "one too many", "another shape"])
def test_other_weights_are_refused(change, tmp_path):
    write_street_network(tmp_path / "models")
    state, _ = read_tensors(tmp_path / "models" / FILE)
    if change == "a tensor is missing":
        del state["head.bias"]
    elif change == "one too many":
        state["head.scale"] = torch.ones(1)
    else:
        state["head.weight"] = state["head.weight"][:10].clone()
    write_tensors(tmp_path / "models" / FILE, state, {})
    with pytest.raises(InputError, match=rf"{FILE} does not fit the network; accepted: the weights of the street-"):
        load_street_network(tmp_path / "models")


def test_a_missing_network_is_refused(tmp_path):
    with pytest.raises(InputError, match=rf"^models is .*, which has no {FILE}; accepted: "):
        load_street_network(tmp_path)
    with pytest.raises(InputError, match=r"^models is .*, which has no resnet18\.safetensors; accepted: "):
        feature_network("timm:resnet18", tmp_path)
    with pytest.raises(InputError, match=r"^encoder is 'code\.py'; accepted: street_scenes and timm:NAME$"):
        feature_network("code.py", tmp_path)


def test_no_python_beside_the_data_is_run(tmp_path):
    """Neither where code of the network once was looked for, nor anywhere else."""
    folders = Folders.of(small_data(tmp_path, images=1))
    for place in (folders.models, folders.data, folders.data / "camvid", folders.data / "camvid" / "val", tmp_path):
        (place / "street_scenes.py").write_text("raise SystemExit('this file was run')")
        (place / "__init__.py").write_text("raise SystemExit('this file was run')")
    for name in ("probabilities", "dense-moved", "masks", "depth"):
        task = find_task(name)
        sample = next(task.samples(folders, 16))
        assert torch.isfinite(sample.signal).all()


def test_features_of_an_encoder_of_timm(tmp_path):
    pytest.importorskip("timm")
    data = small_data(tmp_path, images=1)
    model, _ = load_timm("test_resnet", False)
    write_tensors(tmp_path / "models" / "test_resnet.safetensors", model.state_dict(), {})
    folders = Folders.of(data)
    task = find_task("dense-moved+timm:test_resnet")
    assert isinstance(task, DenseFeatures)
    sample = next(task.samples(folders, 16))
    assert sample.signal.shape[2:] == (4, 6)
    assert sample.size == (16, 24)
    (found,) = evaluate(task, upsampler("bilinear"), folders, 16)
    assert 0 < task.scores(total([found[1]]))["cosine"] < 100


@pytest.mark.parametrize("factor", [4, 8, 16, 32])
def test_features_are_those_of_the_layer_whose_stride_is_the_factor(factor, tmp_path):
    pytest.importorskip("timm")
    model, _ = load_timm("test_resnet", False)
    write_tensors(tmp_path / "test_resnet.safetensors", model.state_dict(), {})
    image = torch.rand(1, 3, 64, 96)
    found = features("timm:test_resnet", image, factor, tmp_path)
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    x = (image - mean) / std
    for layer in (torch.nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool), model.layer1):
        x = layer(x)
    stages = {4: x, 8: model.layer2(x)}
    stages[16] = model.layer3(stages[8])
    stages[32] = model.layer4(stages[16])
    torch.testing.assert_close(found, stages[factor])


def test_an_encoder_without_a_layer_of_this_stride_sees_the_image_resized(tmp_path):
    pytest.importorskip("timm")
    model, _ = load_timm("test_vit", False)
    write_tensors(tmp_path / "test_vit.safetensors", model.state_dict(), {})
    image = torch.rand(1, 3, 64, 96)
    doubled = F.interpolate(image, (128, 192), mode="bilinear", antialias=True).clamp(0, 1)
    expected = feature_network("timm:test_vit", tmp_path)(doubled)
    torch.testing.assert_close(features("timm:test_vit", image, 8, tmp_path), expected)
    with pytest.raises(InputError, match=r"^encoder is 'timm:test_vit', which has no layer of stride 8; accepted: enc"):
        feature_network("timm:test_vit", tmp_path, stride=8)


def test_the_imagenet_encoder_has_layers_of_all_strides_of_the_probe(shared):
    pytest.importorskip("timm")
    task = find_task(f"probe-labels-lr+{IMAGENET}")
    for factor, channels in zip(task.factors, (40, 112, 320), strict=True):
        (sample,) = task.samples(Folders.of(shared / "data"), factor, 1)
        assert sample.signal.shape == (1, channels, 352 // factor, 480 // factor)


def test_weights_of_another_encoder_are_refused(tmp_path):
    pytest.importorskip("timm")
    model, _ = load_timm("test_resnet", False)
    write_tensors(tmp_path / "test_vit.safetensors", model.state_dict(), {})
    with pytest.raises(InputError, match=r"test_vit\.safetensors, which does not fit test_vit"):
        feature_network("timm:test_vit", tmp_path)
