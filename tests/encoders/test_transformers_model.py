import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from omniup.encoders import TransformersModel, encode
from omniup.encoders.preparation import normalise
from omniup.errors import InputError
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD
from support.transformers_models import MODELS, save_model, small_model

FAMILIES = {  # name: channels and own grid of a 97×130 image, channels of the first and the last layer together
    "vit": (32, (6, 8), 64),
    "dinov2": (32, (7, 9), 64),
    "registers": (32, (7, 9), 64),
    "deit": (32, (6, 8), 64),
    "clip": (32, (3, 4), 64),
    "siglip": (32, (6, 8), 64),
    "swin": (64, (3, 4), 80),
    "convnext": (64, (3, 4), 72),
    "resnet": (64, (3, 4), 72),
    "segformer": (32, (3, 4), 40),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each model, which is saved once."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = save_model(name, tmp_path_factory.mktemp("transformers") / name)
        return made[name]

    return folder


def tokens(name, image):
    """The last hidden state of the model itself, for images of a size that it takes."""
    with torch.no_grad():
        return small_model(name).base_model(normalise(image, IMAGENET_MEAN, IMAGENET_STD)).last_hidden_state


@pytest.mark.parametrize(("name", "expected"), FAMILIES.items(), ids=FAMILIES)
def test_the_grid_of_each_family_at_odd_sizes(name, expected, image, folders):
    channels, grid, both = expected
    encoding = TransformersModel(folders(name))(image)
    assert encoding.features.shape == (2, channels, *grid)
    assert encoding.features.isfinite().all()
    assert (encoding.encoder, encoding.weights) == (f"transformers:{folders(name)}", f"read from {folders(name)}")
    assert TransformersModel(folders(name), layer=[0, -1])(image).features.shape[:2] == (2, both)


@pytest.mark.parametrize(("name", "extra"), [("vit", 1), ("dinov2", 1), ("registers", 5), ("deit", 2)])
def test_tokens_of_class_and_registers_are_dropped(name, extra, folders):
    image = torch.rand(1, 3, 224, 224)
    patch = small_model(name).config.patch_size
    expected = tokens(name, image)[:, extra:].mT.unflatten(2, (224 // patch, 224 // patch))
    torch.testing.assert_close(TransformersModel(folders(name))(image).features, expected, atol=1e-4, rtol=0)


def test_a_stage_has_its_own_grid(folders):
    image = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        output = small_model("swin")(normalise(image, IMAGENET_MEAN, IMAGENET_STD), output_hidden_states=True)
    features = TransformersModel(folders("swin"), layer=1)(image).features
    torch.testing.assert_close(features, output.reshaped_hidden_states[2], atol=1e-4, rtol=0)


def test_normalisation_is_the_folder_s(folders, tmp_path, image):
    folder = save_model("dinov2", tmp_path / "own")
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "own" / "preprocessor_config.json").write_text(json.dumps(half))
    scaled = (image - 0.5) / 0.5 * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    inside = 0.25 * scaled + 0.4  # of 0..1, for the folder that has none
    assert 0 <= inside.min() <= inside.max() <= 1
    here = TransformersModel(folder)(((inside - 0.485) / 0.229 * 0.5 + 0.5).clamp(0, 1)).features
    assert not torch.allclose(here, TransformersModel(folders("dinov2"))(image).features)


def test_a_layer_that_is_not_there_is_refused(folders):
    with pytest.raises(InputError, match=r"^layer is 3; accepted: -3 to 2, the layers of .*dinov2$"):
        TransformersModel(folders("dinov2"), layer=3)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("bert", "is no vision model"), ("mae", "gives 5 tokens of an image with 16 patches")],
)
def test_what_gives_no_features_of_patches_is_refused(name, problem, folders):
    with pytest.raises(InputError, match=problem) as refusal:
        TransformersModel(folders(name))(torch.rand(1, 3, 64, 64))
    assert "\n" not in str(refusal.value)


def test_weights_that_are_missing_are_refused(tmp_path):
    folder = tmp_path / "part"
    save_model("dinov2", folder)
    state = load_file(folder / "model.safetensors")
    del state["embeddings.patch_embeddings.projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"^model has weights in .* that lack.*patch_embeddings.projection.weight$"):
        TransformersModel(str(folder))


def test_a_repository_that_cannot_be_had_is_refused(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"^model is facebook/dinov2-small, of which config.json is not in"):
        encode(torch.rand(1, 3, 32, 32), "transformers:facebook/dinov2-small", offline=True)


def test_every_family_is_tested():
    assert FAMILIES.keys() == MODELS.keys() - {"mae", "bert"}


def test_a_network_of_one_size_gets_the_image_at_that_size(folders):
    """As in a release that does not resample the positions of this one."""
    encoder = TransformersModel(folders("vit"))
    encoder._options = {}
    assert encoder(torch.rand(1, 3, 97, 130)).features.shape == (1, 32, 14, 14)
    assert encoder(torch.rand(1, 3, 224, 224)).features.shape == (1, 32, 14, 14)
