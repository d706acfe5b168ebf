"""Where networks come from: the package, a folder, the hub's cache; and how what is missing is told."""

import json
import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("diffusers")

from omniup import InputError  # noqa: E402
from omniup.restoration import Recipe, load_networks, locate  # noqa: E402
from omniup.restoration.lora import add_lora, lora_tensors  # noqa: E402

BASE, MIRROR = "stabilityai/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base"


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the Hugging Face hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def load(*arguments, **settings):
    return load_networks(locate(*arguments, **settings))


def refusal(*arguments, **settings):
    with pytest.raises(InputError) as refused:
        load(*arguments, **settings)
    said = str(refused.value)
    assert "\n" not in said
    return said


def keep_in_cache(cache, repository, folder):
    """Put a folder's files where the hub's cache keeps a repository's."""
    kept = cache / f"models--{repository.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("commit")
    shutil.copytree(folder, kept / "snapshots" / "commit")


def test_the_tiny_model_is_the_same_every_time(enhancer):
    before = torch.get_rng_state()
    again = load("tiny")
    assert torch.equal(torch.get_rng_state(), before)
    assert not again.files.have_weights
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(again, part).state_dict(), getattr(enhancer.networks, part).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_byte_has_a_token(enhancer):
    tokenizer = enhancer.networks.tokenizer
    for text in ("A cat, asleep.", "Ein Kätzchen; 一只猫 🐈"):
        tokens = tokenizer(text).input_ids
        assert tokens.count(tokenizer.unk_token_id) == 1  # the end of the text, which has the same number
        assert tokenizer.decode(tokens, skip_special_tokens=True).replace(" ", "") == text.lower().replace(" ", "")


def test_a_folder_is_read(saved, enhancer):
    networks = load(saved)
    assert networks.files.have_weights
    assert networks.recipe == Recipe(patch=128, lora_rank=None)
    weight, expected = networks.unet.conv_in.weight, enhancer.networks.unet.conv_in.weight
    assert torch.equal(weight, expected)


@pytest.mark.parametrize("name", ["HYPIR_sd2.pth", "HYPIR_sd2.safetensors"])
def test_the_adapter_in_a_folder_is_merged(folder, enhancer, name):
    (folder / "hypir.json").write_text('{"patch": 128, "lora_rank": 4}')
    unet = load("tiny").unet
    add_lora(unet, 4)
    tensors = {name: torch.full_like(tensor, 0.1) for name, tensor in lora_tensors(unet).items()}
    (torch.save if name.endswith(".pth") else save_file)(tensors, folder / name)
    merged = load(folder)
    assert merged.files.lora == folder / name
    before, after = enhancer.networks.unet.conv_out.weight, merged.unet.conv_out.weight
    torch.testing.assert_close(after, before + 4 * 0.1 * 0.1)
    of_our_own = (folder / name).rename(folder.parent / f"own_{name}")
    assert torch.equal(load(folder, weights=of_our_own).unet.conv_out.weight, after)


def test_missing_files_are_named(folder):
    (folder / "vae" / "config.json").unlink()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    said = refusal(folder)
    assert (
        f"model is the folder {folder}, which has no vae/config.json, unet/diffusion_pytorch_model.safetensors" in said
    )


def test_partial_and_wrong_weights_are_named(folder):
    for part, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        path = folder / part / f"{file}.safetensors"
        whole = load_file(path)
        lost = next(name for name in whole if name.endswith("bias"))
        for content, problem in (
            ({name: tensor for name, tensor in whole.items() if name != lost}, "lacks 1 tensors"),
            (whole | {lost: torch.zeros(99)}, "shape"),
        ):
            save_file(content, path, {"format": "pt"})
            said = refusal(folder)
            assert str(folder / part) in said
            assert problem in said
            assert lost in said
        path.write_bytes(path.read_bytes()[:5000])
        assert "cannot be read as" in refusal(folder)
        save_file(whole, path, {"format": "pt"})


class _Code:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(("part", "name"), [("unet", "diffusion_pytorch_model"), ("text_encoder", "model")])
def test_no_pickle_is_executed(folder, monkeypatch, part, name):
    monkeypatch.chdir(folder)
    (folder / part / f"{name}.safetensors").unlink()
    pickled = "pytorch_model.bin" if part == "text_encoder" else f"{name}.bin"
    torch.save({"weight": _Code()}, folder / part / pickled)
    assert "cannot be read as" in refusal(folder)
    assert not (folder / "executed").exists()


def test_networks_that_do_not_fit_together(folder):
    settings = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings | {"num_train_timesteps": 100}))
    assert f"a timestep in {folder / 'hypir.json'} beyond the scheduler's 100" in refusal(folder)
    shutil.rmtree(folder / "text_encoder")
    other = load("tiny").text_encoder.config
    other.hidden_size = 16
    type(load("tiny").text_encoder)(other).save_pretrained(folder / "text_encoder")
    assert "whose U-Net takes texts of width 32, and whose text encoder makes 16" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", " cannot be accepted (Invalid JSON"),
        ('{"patch": 1}', ": patch cannot be accepted ("),
        ('{"speed": 9}', ": speed cannot be accepted (Extra inputs"),
    ],
)
def test_recipes(folder, content, problem):
    (folder / "hypir.json").write_text(content)
    assert f"{folder / 'hypir.json'}{problem}" in refusal(folder)


def test_a_fingerprint_changes_with_the_files(folder):
    before = locate(folder).fingerprint()
    assert locate(folder).fingerprint() == before
    (folder / "hypir.json").write_text('{"patch": 64, "lora_rank": null}')
    assert locate(folder).fingerprint() != before


def test_a_whole_u_net_takes_no_adapter(saved):
    assert "takes no LoRA" in refusal(saved, weights="lora.pth")


def test_what_is_not_there_is_named_with_repository_file_and_folder(cache):
    said = refusal()
    assert said.startswith(
        f"model is {BASE}, of which unet/config.json is not in {cache}, and HF_HUB_OFFLINE forbids to fetch it"
    )
    assert f"hf download {MIRROR} unet/config.json" in said
    assert f"hf download {BASE}" not in said  # it would find nothing
    assert "the original was removed from its hub in November 2025" in said
    assert f"ModelScope's {BASE}" in said
    assert "`offline` forbids" in refusal(offline=True)
    assert "model is 'no such folder', neither a folder nor a repository" in refusal("no such folder")


def test_networks_in_the_cache_and_no_adapter(cache, folder):
    keep_in_cache(cache, BASE, folder)
    assert load().files.name == BASE
    (cache / "models--stabilityai--stable-diffusion-2-1-base/snapshots/commit/hypir.json").unlink()
    said = refusal()
    assert said.startswith(f"weights is lxq007/HYPIR, of which HYPIR_sd2.pth is not in {cache}, and HF_HUB_OFFLINE")
    assert "accepted: a LoRA file; the published one, once " in said
    assert ", or it lies in " in said


def test_a_hub_that_cannot_be_reached_is_given_up_within_seconds(cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    address = "http://127.0.0.1:9"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", address)
    began = time.monotonic()
    said = refusal(base=[BASE, MIRROR])
    assert time.monotonic() - began < 8
    assert f"{MIRROR}, of which unet/config.json is not in {cache}" in said
    assert f"{address} does not give it" in said
