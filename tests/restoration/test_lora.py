"""Adapters in files with the published names, which are read all or not at all."""

import copy
import os

import pytest
import torch
from safetensors.torch import save_file

from omniup import InputError
from omniup.restoration.lora import add_lora, load_lora, lora_tensors, merge_lora

RANK = 4


@pytest.fixture
def unet(enhancer):
    return copy.deepcopy(enhancer.networks.unet)


@pytest.fixture
def tensors(unet):
    """An adapter that changes something, by the names that the authors' file has."""
    adapted = copy.deepcopy(unet)
    add_lora(adapted, RANK)
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in lora_tensors(adapted).items()
    }


def _predict(unet):
    generator = torch.Generator().manual_seed(1)
    latent, text = torch.randn(1, 8, 12, 10, generator=generator), torch.randn(1, 5, 32, generator=generator)
    with torch.no_grad():
        return unet(latent, 200, encoder_hidden_states=text).sample


def test_names_are_the_published_ones(tensors):
    assert "down_blocks.1.attentions.0.proj_in.lora_A.default.weight" in tensors
    adapted = {name.partition(".lora_")[0] for name in tensors}
    for layer in (
        "conv_out",
        "mid_block.resnets.0.conv1",
        "up_blocks.0.resnets.0.conv_shortcut",
        "down_blocks.0.downsamplers.0.conv",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
    ):
        assert layer in adapted
    assert not any(layer.startswith(("conv_in", "time_embedding")) for layer in adapted)


def test_a_new_adapter_changes_nothing(unet):
    before = _predict(unet)
    add_lora(unet, RANK)
    torch.testing.assert_close(_predict(unet), before)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_is_read_and_merged(unet, tensors, tmp_path, suffix):
    path, before = tmp_path / f"lora{suffix}", _predict(unet)
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    weight = unet.mid_block.resnets[0].conv1.weight.clone()  # [out, in, 3, 3]
    add_lora(unet, RANK)
    load_lora(unet, path)
    adapted = _predict(unet)
    assert (adapted - before).abs().max() > 0.01
    merge_lora(unet)
    assert not lora_tensors(unet)
    torch.testing.assert_close(_predict(unet), adapted, rtol=1e-4, atol=1e-4)
    down = tensors["mid_block.resnets.0.conv1.lora_A.default.weight"]  # [rank, in, 3, 3]
    up = tensors["mid_block.resnets.0.conv1.lora_B.default.weight"]  # [out, rank, 1, 1]
    product = torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)  # alpha is the rank, so nothing scales it
    torch.testing.assert_close(unet.mid_block.resnets[0].conv1.weight, weight + product)


def test_what_does_not_fit_is_named_and_nothing_is_changed(unet, tensors, tmp_path):
    add_lora(unet, RANK)
    before = {name: tensor.clone() for name, tensor in lora_tensors(unet).items()}
    name = "conv_out.lora_A.default.weight"
    without = {known: tensor for known, tensor in tensors.items() if known != name}
    of_rank_2 = {
        known: tensor[:2].clone() if ".lora_A." in known else tensor[:, :2].clone() for known, tensor in tensors.items()
    }
    cases = {
        f"lacks 1 of {len(tensors)} tensors, {name}": without,
        "has 1 tensors that the model has not, surplus": tensors | {"surplus": torch.zeros(1)},
        "is of the LoRA rank 2; accepted: 4": of_rank_2,
        f"has 1 tensors of another shape, {name}, the first": tensors | {name: torch.zeros(RANK, 5, 3, 3)},
    }
    for problem, content in cases.items():
        save_file(content, tmp_path / "lora.safetensors")
        with pytest.raises(InputError, match=r"lora\.safetensors ") as refusal:
            load_lora(unet, tmp_path / "lora.safetensors")
        assert problem in str(refusal.value)
    for known, tensor in lora_tensors(unet).items():
        assert torch.equal(tensor, before[known])


class _Code:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_no_pickle_is_executed(unet, tensors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add_lora(unet, RANK)
    torch.save(tensors | {"conv_out.lora_A.default.weight": _Code()}, "lora.pth")
    with pytest.raises(InputError, match=r"^lora.pth cannot be read \(Weights only load failed\)"):
        load_lora(unet, "lora.pth")
    assert not (tmp_path / "executed").exists()
    (tmp_path / "lora.pth").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"^lora\.pth cannot be read"):
        load_lora(unet, "lora.pth")
    torch.save([1, 2], "lora.pth")
    with pytest.raises(InputError, match=r"lora\.pth holds a list; accepted: "):
        load_lora(unet, "lora.pth")
    with pytest.raises(InputError, match="No such file"):
        load_lora(unet, "missing.pth")
