import pytest
import torch

from omniup.errors import InputError
from omniup.restoration import Enhancer
from omniup.restoration.lora import lora_tensors
from omniup.training.hypir.configuration import GeneratorSettings
from omniup.training.hypir.generator import Generator, TrainedWeights
from omniup.training.moving_average import MovingAverage

OWN = {"unet_settings": {"block_out_channels": [16, 32]}, "vae_settings": {"block_out_channels": [8, 16, 16]}}


def make(**fields):
    return Generator(GeneratorSettings(**({"model": "tiny"} | fields)), image_size=64, seed=0)


def disturb(generator):
    """Change what learns, as a training would."""
    with torch.no_grad():
        for weight in generator.trained_weights.values():
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return generator


def restored_alike(generator, enhancer):
    """Whether the enhancer restores what the generator does: a picture as large as a patch, in one tile."""
    side = generator.networks.recipe.patch
    image = torch.rand(1, 3, side, side)
    noise = generator.noise(1, side, torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = (generator(image * 2 - 1, noise, generator.text([""])) + 1) / 2
    result = enhancer(image, scale=1, seed=5, colour="none", tile=side)
    torch.testing.assert_close(result, expected.clamp(0, 1), atol=2e-5, rtol=0)


def test_an_adapter_learns_alone_and_is_called_as_published(tmp_path):
    generator = make()
    assert generator.is_adapter
    assert generator.trained_weights.keys() == lora_tensors(generator.unet).keys()
    assert all(not weight.requires_grad for weight in generator.vae.parameters())
    path = disturb(generator).write(tmp_path, {})
    assert path == tmp_path / "hypir.safetensors"
    restored_alike(generator, Enhancer.from_pretrained("tiny", weights=path))


def test_an_adapter_may_be_gone_on_with(tmp_path):
    first = disturb(make())
    again = make(weights=first.write(tmp_path, {}))
    assert all(torch.equal(weight, first.trained_weights[name]) for name, weight in again.trained_weights.items())


@pytest.mark.parametrize(
    "fields",
    [
        {"train": "all"},
        {"vae": "trained"},
        {"lora_rank": 3},
        {"model_t": 100, "coeff_t": 150},
        {"train": "all", "vae": "trained", **OWN},
    ],
    ids=["all", "vae", "rank", "timesteps", "own settings"],
)
def test_anything_more_leaves_a_model_of_its_own(tmp_path, fields):
    generator = disturb(make(**fields))
    path = generator.write(tmp_path, {})
    assert [place.name for place in tmp_path.iterdir()] == ["model"]
    assert generator.write(tmp_path, {}) == path  # over what is there
    enhancer = Enhancer.from_pretrained(path)
    assert enhancer.networks.recipe.lora_rank is None
    assert enhancer.networks.recipe.model_t == fields.get("model_t", 200)
    restored_alike(generator, enhancer)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"unet_settings": {"width": 3}}, "UNet2DConditionModel has no setting width; accepted: .*block_out_channels"),
        ({"vae_settings": {"norm_num_groups": 7}}, "AutoencoderKL cannot be built with"),
        ({"vae_settings": {"latent_channels": 3}}, "whose U-Net takes 8 channels, and whose VAE makes"),
        ({"model": "nowhere"}, "model is nowhere"),
    ],
)
def test_networks_that_cannot_be_are_refused(fields, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=said):
        make(**fields)


def test_sides_that_the_networks_cannot_halve_are_refused():
    with pytest.raises(InputError, match=r"data.image_size is 36; accepted: multiples of 8, for these networks"):
        make().check_side(36)


def test_checkpointing_changes_no_gradient():
    """Inner results that are computed twice are the same both times."""
    gradients = []
    image, noise = torch.rand(1, 3, 32, 32), torch.randn(1, 8, 8, 8)
    for checkpointing in (False, True):
        generator = disturb(make(gradient_checkpointing=checkpointing))
        generator(image, noise, generator.text([""])).square().mean().backward()
        gradients.append([weight.grad for weight in generator.trained_weights.values()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_moving_average_is_one():
    generator = make()
    average = MovingAverage(generator.trained_weights, decay=0.5)
    name, weight = next(iter(generator.trained_weights.items()))
    expected = weight.detach().clone()
    for step in range(1, 14):
        with torch.no_grad():
            weight += step
        decay = step / (9 + step) if step < 9 else 0.5
        expected = decay * expected + (1 - decay) * weight.detach()
        average.update(step)
    torch.testing.assert_close(average.state_dict()[name], expected)
    own = weight.detach().clone()
    with average.in_place():
        assert torch.equal(TrainedWeights(generator).state_dict()[name], average.state_dict()[name])
    assert torch.equal(weight, own)


def test_networks_at_random_weights_begin_with_nothing_in_the_way():
    generator = make(train="all", vae="trained")
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    posterior = generator.vae.encode(image).latent_dist
    assert posterior.std.max() < 0.1 * posterior.mean.std()
    assert generator.unet(posterior.mean, 200, encoder_hidden_states=generator.text([""])).sample.abs().max() == 0
    assert make().unet.conv_out.base_layer.weight.abs().max() > 0  # which an adapter must find as it is
