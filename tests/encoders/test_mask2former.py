import json
import pickle
import shutil
import socket
import time

import huggingface_hub
import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

from omniup.encoders import Mask2Former, encode, encoders
from omniup.encoders import mask2former as room
from omniup.encoders.preparation import normalise
from omniup.errors import InputError
from omniup.files import hub as hub_room
from support.mask2former import CLASSES, small_network

REPOSITORY = "facebook/mask2former-swin-tiny-ade-semantic"


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("mask2former")
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return Mask2Former(folder, resolution=128)


@pytest.fixture
def copy(folder, tmp_path):
    """The folder, to be changed."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty cache of the Hugging Face hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def unreachable(hub, monkeypatch):
    """No network, as the hub's own switch has it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return hub


def change(path, **settings):
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(held | settings))


def keep_in_cache(hub, folder, *names):
    """Put files where the hub's cache keeps a repository's."""
    commit = "0" * 40
    repository = hub / f"models--{REPOSITORY.replace('/', '--')}"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for name in names:
        shutil.copy(folder / name, repository / "snapshots" / commit)


def refusal(*arguments, **settings):
    with pytest.raises(InputError) as refused:
        Mask2Former(*arguments, **settings)
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_probabilities_sum_to_one(encoder, image):
    encoding = encoder(image)
    assert encoding.features.shape == (2, 5, 24, 32)  # a quarter of 96×128
    assert encoding.features.dtype == torch.float32
    assert encoding.features.min() >= 0
    assert torch.allclose(encoding.features.sum(dim=1), torch.ones(2, 24, 32), atol=1e-6)
    assert encoding.features.amax(dim=1).std() > 0.01  # and are not the same everywhere


def test_probabilities_are_the_scores_of_the_paper_over_their_sum(network, encoder, image):
    pixels = F.interpolate(image, size=(96, 128), mode="bilinear", antialias=True)
    pixels = normalise(pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        output = network(pixels)
    classes = output.class_queries_logits.softmax(dim=-1)  # [B, Q, K + 1]
    masks = output.masks_queries_logits.sigmoid()  # [B, Q, h, w]
    scores = torch.zeros(2, 5, 24, 32)
    for query in range(6):
        for label in range(5):
            scores[:, label] += classes[:, query, label, None, None] * masks[:, query]
    assert torch.allclose(encoder(image).features, scores / scores.sum(dim=1, keepdim=True), atol=1e-5)


def test_a_cell_that_no_query_claims_gets_the_classes_of_the_one_that_denies_it_least():
    classes = torch.tensor([[[3.0, 0, 0], [0, 2, 0]]])  # [1, 2, 3], the last is "nothing"
    masks = torch.tensor([-300.0, -310])[None, :, None, None]  # sigmoids of 0 in float32
    probabilities = room._class_probabilities(classes, masks)
    assert torch.allclose(probabilities[0, :, 0, 0], torch.tensor([3.0, 0]).softmax(dim=0), atol=1e-4)
    nothing = torch.tensor([[[3.0, 0, 500], [0, 2, 500]]])
    assert torch.allclose(room._class_probabilities(nothing, masks).sum(dim=1), torch.ones(1, 1, 1))


def test_a_query_that_stands_for_nothing_has_no_say():
    classes = torch.tensor([[[3.0, 0, -3], [0, 9, 40]]])
    masks = torch.tensor([-2.0, 5])[None, :, None, None]
    probabilities = room._class_probabilities(classes, masks)
    assert torch.allclose(probabilities[0, :, 0, 0], torch.tensor([3.0, 0]).softmax(dim=0), atol=1e-4)


def test_images_of_a_batch_do_not_influence_each_other(encoder, image):
    together = encoder(image).features
    for index in range(2):
        assert torch.allclose(encoder(image[index : index + 1]).features[0], together[index], atol=1e-5)
    assert torch.allclose(encoder(image.flip(0)).features, together.flip(0), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "resolution", "grid"),
    [
        ((97, 130), 128, (24, 32)),
        ((130, 97), 128, (32, 24)),
        ((64, 64), 32, (8, 8)),
        ((64, 64), 47, (8, 8)),
        ((64, 64), 49, (16, 16)),
        ((500, 333), 96, (24, 16)),
        ((1, 300), 64, (8, 16)),
        ((3, 2), 64, (16, 8)),  # 42.7 pixels are nearer to 32 than to 64
    ],
)
def test_both_sides_are_the_nearest_multiples_of_the_stride(folder, size, resolution, grid):
    encoding = Mask2Former(folder, resolution=resolution)(torch.rand(1, 3, *size))
    assert encoding.features.shape == (1, 5, *grid)
    assert encoding.features.isfinite().all()


def test_what_is_bright_in_the_image_shows_at_its_place(encoder):
    dark = torch.zeros(1, 3, 96, 128)
    bright = dark.clone()
    bright[..., 64:, :32] = 1
    masks = [encoder._model(pixel_values=image).masks_queries_logits for image in (dark, bright)]
    change = (masks[1] - masks[0]).norm(dim=1)  # [1, 24, 32]
    assert divmod(int(F.adaptive_avg_pool2d(change, (3, 4)).argmax()), 4) == (2, 0)


@pytest.mark.parametrize("grid", [(6, 8), (7, 5), (40, 90), (1, 1), (97, 130)])
def test_a_grid_keeps_the_sums(encoder, image, grid):
    features = encoder(image, grid).features
    assert features.shape == (2, 5, *grid)
    assert torch.allclose(features.sum(dim=1), torch.ones(2, *grid), atol=1e-5)


def test_a_coarser_grid_holds_means(encoder, image):
    own = encoder(image).features
    assert torch.allclose(encoder(image, (6, 8)).features, F.avg_pool2d(own, 4), atol=1e-6)


def test_half_precision_images_are_computed_in_float32(encoder, image):
    features = encoder(image.half()).features
    assert features.dtype == torch.float32
    assert torch.equal(features, encoder(image.half().float()).features)


def test_it_says_what_it_is(encoder, folder, image):
    encoding = encoder(image.requires_grad_())
    assert encoder.classes == CLASSES
    assert (encoding.encoder, encoding.weights) == ("mask2former", f"read from {folder}")
    assert not encoding.features.requires_grad


def test_classes_are_in_the_order_of_their_indices(copy):
    change(copy / "config.json", id2label={str(index): CLASSES[index] for index in (3, 0, 4, 1, 2)})
    assert Mask2Former(copy).classes == CLASSES


def test_it_is_registered_once(folder, image):
    assert list(encoders()).count("mask2former") == 1
    encoding = encode(image, "mask2former", model=str(folder), resolution=64, grid=(3, 4))
    assert encoding.features.shape == (2, 5, 3, 4)


def test_the_normalisation_is_the_folder_s(copy, encoder, image):
    change(copy / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.5, 1])
    other = Mask2Former(copy, resolution=128)
    assert not torch.allclose(other(image).features, encoder(image).features, atol=1e-3)
    exactly = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        output = encoder._model((exactly - 0.5) / torch.tensor([0.25, 0.5, 1])[:, None, None])
    expected = room._class_probabilities(output.class_queries_logits, output.masks_queries_logits)
    assert torch.allclose(other(exactly).features, expected, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_std": [0, 1, 1]},
        {"image_mean": [0.5]},
        {"image_mean": "half"},
        {"image_mean": 3 * [float("nan")]},
        {"image_std": 3 * [10**400]},
        {"image_std": None},
    ],
    ids=str,
)
def test_a_normalisation_that_is_none_is_refused(copy, wrong):
    change(copy / "preprocessor_config.json", **wrong)
    assert "accepted: three numbers each" in refusal(copy)


@pytest.mark.usefixtures("random_state")
def test_nothing_is_written_to_the_terminal_and_the_random_state_plays_no_part(folder, capfd):
    active = transformers.utils.logging.is_progress_bar_enabled()
    Mask2Former(folder)
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled() == active


def test_weights_of_half_precision_are_computed_in_float32(copy, folder, encoder, image):
    halves = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(halves, copy / "model.safetensors")
    change(copy / "config.json", dtype="float16")
    features = Mask2Former(copy, resolution=128)(image).features
    assert features.dtype == torch.float32
    assert torch.allclose(features, encoder(image).features, atol=0.02)


def test_published_weights_are_found_in_the_hub_s_cache(unreachable, folder, encoder, image):
    keep_in_cache(unreachable, folder, "config.json", "model.safetensors")
    cached = Mask2Former(resolution=128)
    assert cached.weights == f"Hugging Face {REPOSITORY}"
    assert torch.equal(cached(image).features, encoder(image).features)
    assert Mask2Former(offline=True).classes == CLASSES


def test_a_repository_is_fetched_without_its_pickles(hub, folder, monkeypatch):
    asked = []

    def snapshot_download(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "model_info", lambda repository, timeout: asked.append((repository, timeout)))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert Mask2Former().weights == f"Hugging Face {REPOSITORY}"
    files = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert asked == [(REPOSITORY, hub_room._TIMEOUT), (REPOSITORY, files)]


@pytest.mark.parametrize("kept", [(), ("config.json",), ("model.safetensors",)], ids=str)
def test_a_repository_that_is_not_wholly_in_the_cache_is_refused_offline(hub, folder, kept):
    keep_in_cache(hub, folder, *kept)
    said = refusal(offline=True)
    missing = "model.safetensors" if "config.json" in kept else "config.json"
    assert said.startswith(f"model is {REPOSITORY}, of which {missing} is not in ")
    assert ", and `offline` forbids to fetch it; accepted: a repository, once " in said
    assert f"`hf download {REPOSITORY} {missing}" in said
    assert "or a folder with config.json and model.safetensors" in said


@pytest.mark.usefixtures("unreachable")
def test_the_hub_s_own_switch_counts_too():
    assert ", and HF_HUB_OFFLINE forbids to fetch it; " in refusal("some/repository")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("silent", [False, True], ids=["refusing", "silent"])
def test_a_hub_that_cannot_be_reached_is_given_up_within_seconds(silent, monkeypatch):
    monkeypatch.setattr(hub_room, "_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", address)
        if not silent:
            server.close()
        start = time.monotonic()
        said = refusal()
    assert time.monotonic() - start < 5
    assert said.startswith(f"model is {REPOSITORY}, of which config.json is not in ")
    assert f", and {address} does not give it (" in said


def test_a_folder_without_weights_is_refused(copy):
    (copy / "model.safetensors").unlink()
    assert f"model is {copy}, which has no model.safetensors" in refusal(copy)


def test_a_pickle_is_not_read(copy, folder):
    torch.save(load_file(folder / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "pickled weights are not read" in refusal(copy)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was run",)


def test_a_pickle_under_another_name_is_not_run(copy):
    for name in ("model.safetensors", "pytorch_model.bin", "adapter_model.bin"):
        (copy / name).write_bytes(pickle.dumps(Bomb()))
    assert "model.safetensors cannot be read" in refusal(copy)


def test_code_that_the_settings_name_is_not_run(copy):
    (copy / "evil.py").write_text("raise SystemExit('code of a repository was run')")
    settings = {
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
        "attn_implementation": "some/kernel",
        "backbone": "some/backbone",
        "use_pretrained_backbone": True,
    }
    change(copy / "config.json", **settings)
    assert Mask2Former(copy).classes == CLASSES


@pytest.mark.parametrize("missing", ["/nowhere/at/all", "./nowhere", "a/b/c", "-"])
def test_a_missing_folder_is_refused(missing):
    said = refusal(missing)
    assert said.startswith(f"model is '{missing}', neither a folder nor a repository; accepted: ")
    assert "a folder with config.json and model.safetensors" in said


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "cannot be read"), ("[]", "holds a list"), ("[" * 100_000, "cannot be read"), ("\udcff", "cannot be read")],
    ids=["empty", "list", "deep", "bytes"],
)
def test_settings_that_are_none_are_refused(copy, content, problem):
    (copy / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    assert f"model has the file {copy / 'config.json'}, which {problem}" in refusal(copy)


def test_a_folder_without_settings_is_refused(tmp_path):
    assert "config.json, which cannot be read (No such file or directory)" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"model_type": "maskformer"}, "maskformer on swin"),
        ({"backbone_config": {"model_type": "resnet"}}, "mask2former on resnet"),
        ({"backbone_config": None, "backbone": "microsoft/resnet-50"}, "mask2former on None"),
    ],
)
def test_another_network_is_refused(copy, settings, found):
    change(copy / "config.json", **settings)
    assert f"holds {found}; accepted: mask2former on swin" in refusal(copy)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_dim": "many"},
        {"num_attention_heads": 7},
        {"quantization_config": {"quant_method": "gptq"}},
        {"transformers_weights": "pytorch_model.bin"},
    ],
    ids=str,
)
def test_settings_that_make_no_network_are_refused(copy, settings):
    change(copy / "config.json", **settings)
    assert "which is no Mask2Former" in refusal(copy)


def test_weights_that_are_missing_are_not_replaced_by_random_ones(copy, folder):
    state = load_file(folder / "model.safetensors")
    del state["class_predictor.bias"]
    save_file(state, copy / "model.safetensors")
    assert refusal(copy).endswith("model.safetensors that lack, or hold in another shape, class_predictor.bias")


def test_weights_of_another_shape_are_refused(copy):
    change(copy / "config.json", id2label={"0": "person", "1": "everything else"})
    assert refusal(copy).endswith("in another shape, class_predictor.bias, class_predictor.weight")


@pytest.mark.parametrize("resolution", [31, 2049, 0, -64])
def test_a_resolution_out_of_range_is_refused(folder, resolution):
    assert refusal(folder, resolution) == f"resolution is {resolution}; accepted: 32 to 2048"


@pytest.mark.parametrize(("shape", "grid"), [((1, 4, 64, 64), None), ((1, 3, 64, 64), (65, 64))])
def test_an_image_or_a_grid_that_cannot_be_accepted_is_refused(encoder, shape, grid):
    with pytest.raises(InputError, match=r"^(image|grid) "):
        encoder(torch.rand(shape), grid)
