import warnings

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

from omniup.encoders import ResNet18Layer2, encode
from omniup.encoders import resnet18 as room
from omniup.errors import InputError


@pytest.fixture(scope="module")
def network():
    """torchvision's ResNet-18 with random weights, running means and variances included."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = resnet18().eval()
        for name, buffer in made.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
        return made


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet18") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path


def layer2(network, image):
    """What torchvision's own forward pass computes at layer 2, with torchvision's own normalisation."""
    seen = []
    hook = network.layer2.register_forward_hook(lambda module, arguments, output: seen.append(output))
    preset = ResNet18_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        network((image - torch.tensor(preset.mean)[:, None, None]) / torch.tensor(preset.std)[:, None, None])
    hook.remove()
    return seen[0]


def test_features_are_torchvision_s(network, weights, image):
    encoding = ResNet18Layer2(weights)(image)
    assert encoding.features.shape == (2, 128, 13, 17)
    assert torch.allclose(encoding.features, layer2(network, image), atol=1e-5)
    assert (encoding.encoder, encoding.weights) == ("resnet18_layer2", f"read from {weights}")


def test_safetensors_hold_the_same(network, weights, image, tmp_path):
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    features = ResNet18Layer2(tmp_path / "resnet18.safetensors")(image).features
    assert torch.equal(features, ResNet18Layer2(str(weights))(image).features)


def test_a_grid_is_reached_by_averaging_or_bilinearly(weights, image):
    encoder = ResNet18Layer2(weights)
    own = encoder(image).features
    assert torch.allclose(encoder(image, (6, 8)).features, F.adaptive_avg_pool2d(own, (6, 8)))
    finer = F.interpolate(own, size=(26, 34), mode="bilinear", align_corners=False)
    assert torch.allclose(encoder(image, (26, 34)).features, finer, atol=1e-6)


def test_any_image_has_at_least_one_cell(weights):
    assert ResNet18Layer2(weights)(torch.rand(1, 3, 1, 1)).features.shape == (1, 128, 1, 1)


def test_half_precision_images_are_computed_in_float32(weights, image):
    encoder = ResNet18Layer2(weights)
    features = encoder(image.half()).features
    assert features.dtype == torch.float32
    assert torch.equal(features, encoder(image.half().float()).features)


def test_features_take_part_in_later_gradients(weights, image):
    features = ResNet18Layer2(weights)(image).features
    assert not features.requires_grad
    scale = torch.ones((), requires_grad=True)
    (features * scale).sum().backward()  # tensors of inference mode would refuse
    assert scale.grad is not None


def test_published_weights_come_without_a_warning(network, image, monkeypatch):
    asked = []
    monkeypatch.setattr(room, "published_state_dict", lambda url: asked.append(url) or network.state_dict())
    encoding = ResNet18Layer2()(image)
    assert asked == [ResNet18_Weights.IMAGENET1K_V1.url]
    assert encoding.weights == "torchvision IMAGENET1K_V1"
    assert torch.allclose(encoding.features, layer2(network, image), atol=1e-5)


@pytest.mark.usefixtures("offline", "random_state")
def test_without_a_network_it_falls_back_and_says_so(image):
    with pytest.warns(UserWarning, match="resnet18_layer2: random .* takes a local file") as caught:
        encoding = encode(image, "resnet18_layer2", grid=(6, 8))
    assert len(caught) == 1
    assert encoding.weights.startswith("random (seed 0): pretrained weights could not be loaded: https://")
    assert "Name or service not known" in encoding.weights
    assert encoding.features.shape == (2, 128, 6, 8)
    assert encoding.features.std() > 0


@pytest.mark.usefixtures("offline")
def test_the_fallback_is_always_the_same(image):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        first = ResNet18Layer2()(image).features
        torch.rand(5)
        assert torch.equal(ResNet18Layer2()(image).features, first)


def test_a_cached_file_that_was_cut_short_falls_back_too(offline, weights):
    offline.mkdir(parents=True)
    cached = offline / ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    cached.write_bytes(weights.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="random"):
        assert ResNet18Layer2().weights.startswith("random (seed 0)")
    assert list(offline.iterdir()) == [cached]


def test_a_missing_file_is_refused(tmp_path):
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(InputError, match=name):
            ResNet18Layer2(tmp_path / name)


def test_a_damaged_file_is_refused(weights, tmp_path):
    (tmp_path / "short.pth").write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"short.pth cannot be read"):
        ResNet18Layer2(tmp_path / "short.pth")


@pytest.mark.parametrize("content", [{}, {"model": {}, "epoch": 3}, [torch.zeros(1)], torch.zeros(1)], ids=str)
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other.pth holds .*; accepted: a state dict"):
        ResNet18Layer2(tmp_path / "other.pth")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"weight": print}, tmp_path / "code.pth")
    with pytest.raises(InputError, match=r"code.pth cannot be read"):
        ResNet18Layer2(tmp_path / "code.pth")


def test_weights_of_another_network_are_refused_in_one_line(network, tmp_path):
    state = network.state_dict()
    state["fc.extra"] = state.pop("layer1.0.conv1.weight")
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(
        InputError, match=r"^weights is .*other.pth, which does not fit ResNet-18 .*layer1.0.conv1.weight"
    ) as refusal:
        ResNet18Layer2(tmp_path / "other.pth")
    assert "\n" not in str(refusal.value)
