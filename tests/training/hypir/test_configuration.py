from pathlib import Path

import pytest
import yaml

from omniup.errors import InputError
from omniup.restoration.degradation import Degradation
from omniup.training.hypir import Configuration, read_configuration
from support.training import at

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def tiny():
    """The smallest example, as a dictionary."""
    return yaml.safe_load((EXAMPLES / "hypir_tiny.yaml").read_text())


def test_the_defaults_are_the_authors():
    wanted = Configuration(data={"images": ["sample:coffee"]})
    assert (wanted.data.image_size, wanted.data.keep) == (512, (0.7, 1.0))
    assert (wanted.losses.mse, wanted.losses.perceptual, wanted.losses.adversarial) == (1, 5, 0.5)
    assert (wanted.optimiser.learning_rate, wanted.optimiser.discriminator_rate, wanted.optimiser.clip) == (
        1e-5,
        1e-5,
        1,
    )
    assert wanted.optimiser.betas == (0.9, 0.999)
    assert (wanted.generator.train, wanted.generator.vae, wanted.generator.ema) == ("lora", "frozen", 0.999)
    assert (wanted.discriminator.width, wanted.discriminator.target) == (512, 0.8)
    assert (wanted.steps, wanted.precision, wanted.gradients_every) == (30_000, "auto", 100)
    assert (wanted.checkpoints.every, wanted.checkpoints.keep) == (500, 2)
    assert wanted.degradation == Degradation()


def test_the_example_is_accepted(photo_folder):
    example = EXAMPLES / "hypir_tiny.yaml"
    read_configuration(example, at(example, photo_folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 0}, "batch is 0; accepted: greater than or equal to 1"),
        ({"generator.rank": 4}, "generator.rank is no field; accepted: model, train, vae, weights, lora_rank"),
        ({"generator.train": "none"}, "generator.train is 'none'; accepted: 'lora' or 'all'"),
        ({"generator": {"train": "all", "lora_rank": 4}}, "lora_rank is 4, of an adapter; accepted: nothing where"),
        ({"generator.weights": "no.pth"}, "generator.weights is /"),
        ({"generator.ema": 1}, "generator.ema is 1; accepted: less than 1"),
        ({"data": {}}, "data has neither images nor a list; accepted: at least one of the two"),
        ({"data.list": "no.csv"}, "data.list is /"),
        ({"data.keep": [1, 0.5]}, "data.keep is 1 to 0.5; accepted: an ascending range"),
        ({"data.flip": 2}, "data.flip is 2; accepted: less than or equal to 1"),
        (
            {"degradation.sharpness": 1},
            "degradation.sharpness is no field; accepted: sharpening, first, second, ",
        ),
        ({"degradation.first": {"quality": [0, 95]}}, "degradation.first.quality.0 is 0; accepted: greater than or"),
        ({"degradation": "no.yaml"}, "degradation is /"),
        ({"degradation.pool_size": 1}, "degradation.pool_size is 1; accepted: sizes from the batch on, 2"),
        ({"discriminator.weights": "no.pth"}, "discriminator.weights is 'no.pth'; accepted: published, random, or"),
        (
            {"losses": {"mse": 0, "perceptual": 0, "adversarial": 0}},
            "losses has the weights 0 for mse, perceptual and adversarial",
        ),
        ({"losses.lpips": "no.pth"}, "losses.lpips is 'no.pth'; accepted: published, random, or a file that is"),
        ({"optimiser.clip": 0}, "optimiser.clip is 0; accepted: greater than 0"),
        ({"precision": "fp32"}, "precision is 'fp32'; accepted: 'auto', 'no', 'bf16' or 'fp16'"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(changes, said, tiny, write):
    path = write(tiny)
    with pytest.raises(InputError) as refused:
        read_configuration(path, changes)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")


def test_the_degradation_may_have_a_file_of_its_own(tiny, write):
    write("pool_size: 7\nstage2_scale: 2.0\n", "bad.yaml")
    wanted = read_configuration(write(tiny | {"degradation": "bad.yaml"}))
    assert (wanted.degradation.pool_size, wanted.degradation.stage2_scale) == (7, 2.0)
    write("pool: 7", "bad.yaml")
    with pytest.raises(InputError, match=r"degradation: .*bad.yaml: pool is no field; accepted: "):
        read_configuration(write(tiny | {"degradation": "bad.yaml"}))
