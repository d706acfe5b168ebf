import functools

import huggingface_hub
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from omniup.encoders import TimmBackbone
from omniup.encoders.preparation import normalise
from omniup.errors import InputError

FAMILIES = {  # name: channels and own grid of a 97×130 image
    "test_vit": (64, (6, 8)),  # patches of 16, one class token
    "test_vit3": (96, (6, 8)),  # patches of 16, one register token
    "vit_tiny_patch16_224": (192, (6, 8)),
    "vit_small_patch14_reg4_dinov2": (384, (7, 9)),  # a class token and four register tokens
    "test_resnet": (96, (3, 4)),
    "test_convnext": (64, (3, 4)),
    "test_efficientnet": (64, (3, 4)),
    "swin_tiny_patch4_window7_224": (768, (3, 4)),  # [B, h, w, C] inside
    "hiera_tiny_224": (768, (7, 7)),  # takes 224×224 only, without a final norm
    "test_vit_relpos": (96, (10, 10)),  # takes 160×160 only
    "test_maxvit": (128, (5, 5)),  # takes 160×160 only
}


@functools.cache
def random_backbone(name, layer=None):
    return TimmBackbone(name, pretrained=False, layer=layer)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Save a network with random weights, once: name -> (the network, its file)."""
    made = {}

    def make(name):
        if name not in made:
            with torch.random.fork_rng():
                torch.manual_seed(2)
                network = timm.create_model(name).eval()
            path = tmp_path_factory.mktemp("timm") / f"{name}.pth"
            torch.save(network.state_dict(), path)
            made[name] = network, path
        return made[name]

    return make


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty cache of the Hugging Face hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize(("name", "expected"), FAMILIES.items(), ids=FAMILIES)
def test_the_grid_of_each_family_at_odd_sizes(name, expected, image):
    channels, grid = expected
    encoding = random_backbone(name)(image[:1])
    assert encoding.features.shape == (1, channels, *grid)
    assert encoding.features.isfinite().all()
    assert (encoding.encoder, encoding.weights) == (f"timm:{name}", "random (seed 0)")


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "test_resnet", "test_convnext"])
def test_features_are_timm_s_own_at_the_size_it_was_trained_for(name, networks):
    network, path = networks(name)
    image = torch.rand(2, 3, 160, 160)
    features = TimmBackbone(name, pretrained=path)(image).features
    cfg = network.pretrained_cfg
    with torch.no_grad():
        expected = network.forward_features(normalise(image, cfg["mean"], cfg["std"]))
    if expected.ndim == 3:  # tokens [B, N, C], the class and register tokens first
        tokens = expected[:, network.num_prefix_tokens :]
        expected = tokens.transpose(1, 2).unflatten(2, (10, 10))
    assert torch.allclose(features, expected, atol=1e-4)


def test_channels_come_first_where_timm_keeps_them_last():
    encoder = random_backbone("swin_tiny_patch4_window7_224")
    image = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        expected = encoder._model.forward_features(normalise(image, encoder._mean, encoder._std))  # [B, h, w, C]
    assert torch.allclose(encoder(image).features, expected.movedim(3, 1), atol=1e-5)


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet"])
def test_an_image_that_moves_by_a_cell_moves_the_features_by_a_cell(name):
    encoder = random_backbone(name, layer=1)
    wide = torch.rand(1, 3, 128, 256, generator=torch.Generator().manual_seed(3))
    cell = 128 // encoder(wide[..., :128]).features.shape[2]
    here = encoder(wide[..., 32 : 32 + 192]).features
    there = encoder(wide[..., 32 + cell : 32 + cell + 192]).features
    assert torch.allclose(here[..., 9:-8], there[..., 8:-9], atol=1e-4)  # the border sees padding
    assert not torch.allclose(here[..., 8:-9], there[..., 8:-9], atol=1e-4)


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "vit_tiny_patch16_224", "test_convnext", "test_resnet"])
@pytest.mark.parametrize("place", [(0, 0), (1, 3), (4, 0), (4, 6)])
def test_what_is_bright_in_the_image_shows_at_its_place(name, place):
    encoder = random_backbone(name, layer=0)
    dark = torch.zeros(1, 3, 70, 98)  # 5 × 7 squares of 14 pixels
    bright = dark.clone()
    row, column = (14 * index for index in place)
    bright[..., row : row + 14, column : column + 14] = 1
    change = (encoder(bright).features - encoder(dark).features).norm(dim=1, keepdim=True)  # [1, 1, h, w]
    squares = F.adaptive_avg_pool2d(F.interpolate(change, size=(70, 98), mode="nearest"), (5, 7))
    assert divmod(int(squares.argmax()), 7) == place


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_the_remainder_of_the_image_is_not_lost(name):
    encoder = random_backbone(name)
    dark = torch.zeros(1, 3, 100, 100)
    bright = dark.clone()
    bright[..., 97:, 97:] = 1
    assert not torch.allclose(encoder(bright).features, encoder(dark).features, atol=1e-4)


def test_an_image_smaller_than_a_cell_becomes_one():
    assert random_backbone("test_vit")(torch.rand(1, 3, 5, 9)).features.shape == (1, 64, 1, 1)


def test_a_grid_is_reached_by_averaging_or_bilinearly(image):
    encoder = random_backbone("test_vit")
    own = encoder(image).features
    assert torch.allclose(encoder(image, (3, 4)).features, F.avg_pool2d(own, 2), atol=1e-6)
    finer = F.interpolate(own, size=(12, 20), mode="bilinear", align_corners=False)
    assert torch.allclose(encoder(image, (12, 20)).features, finer, atol=1e-6)


def test_a_layer_is_chosen_by_its_index(image):
    shapes = [random_backbone("test_resnet", layer)(image).features.shape[1:] for layer in (0, 1, -1, None)]
    assert shapes == [(32, 48, 64), (32, 24, 32), (96, 3, 4), (96, 3, 4)]


@pytest.mark.parametrize("layer", [5, -6])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(InputError, match=rf"^layer is {layer}; accepted: -5 to 4, the layers of test_resnet$"):
        TimmBackbone("test_resnet", pretrained=False, layer=layer)


@pytest.mark.usefixtures("random_state")
def test_random_weights_are_always_the_same(image):
    first = TimmBackbone("test_vit", pretrained=False)(image).features
    assert torch.equal(TimmBackbone("test_vit", pretrained=False)(image).features, first)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_checkpoint_is_loaded_by_its_path(suffix, networks, image, tmp_path):
    network, path = networks("test_resnet")
    if suffix == "safetensors":
        path = tmp_path / "network.safetensors"
        save_file(network.state_dict(), path)
    encoder = TimmBackbone("test_resnet", pretrained=path)
    assert encoder(image).weights == f"read from {path}"
    loaded = encoder._model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


def test_a_checkpoint_of_another_network_is_refused(networks):
    _, path = networks("test_resnet")
    with pytest.raises(InputError, match=r"^pretrained is .*test_resnet.pth, which does not fit test_vit ") as refusal:
        TimmBackbone("test_vit", pretrained=path)
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_without_some_weights_is_refused(networks, tmp_path):
    state = dict(networks("test_vit")[0].state_dict())
    del state["blocks.0.attn.qkv.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(InputError, match=r"blocks.0.attn.qkv.weight"):
        TimmBackbone("test_vit", pretrained=tmp_path / "part.pth")


def test_a_checkpoint_that_is_missing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.pth cannot be read \(No such file or directory\)"):
        TimmBackbone("test_vit", pretrained=tmp_path / "none.pth")


def test_published_weights_are_found_in_the_hub_s_cache(hub, networks):
    network, _ = networks("test_vit")
    commit = "0" * 40
    repository = hub / "models--timm--test_vit.r160_in1k"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    save_file(network.state_dict(), repository / "snapshots" / commit / "model.safetensors")
    encoder = TimmBackbone("test_vit")
    assert encoder.weights == "timm test_vit.r160_in1k"
    assert torch.equal(encoder._model.state_dict()["pos_embed"], network.state_dict()["pos_embed"])


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", ["test_vit", "test_resnet.r160_in1k", "test_vit_relpos"])  # the last was never trained
def test_weights_that_cannot_be_had_are_not_replaced_by_random_ones(name):
    with pytest.raises(
        InputError, match=rf"^pretrained is True, and the weights of {name} .*; accepted: a local file"
    ) as refusal:
        TimmBackbone(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "close"),
    [("vit_small_patch14_dinov", "vit_small_patch14_dinov2"), ("test_vit.r160_in1", "test_vit.r160_in1k")],
)
def test_an_unknown_name_is_refused_with_close_ones(name, close):
    with pytest.raises(
        InputError, match=rf"^name is '{name}', which timm does not have; accepted: what .* lists, such as .*{close}"
    ):
        TimmBackbone(name)


def test_a_name_like_no_other_is_refused_too():
    with pytest.raises(InputError, match="list_models"):
        TimmBackbone("/////")


def test_a_size_that_timm_does_not_take_is_refused(image):
    with pytest.raises(
        InputError, match=r"^image has 96×128 pixels as halonet26t is to see it; accepted: sizes near 256×256, which"
    ):
        TimmBackbone("halonet26t", pretrained=False)(image)
