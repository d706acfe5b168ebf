import math
from pathlib import Path

import pytest
import yaml

from omniup import InputError
from omniup.restoration.degradation import Degradation

EXAMPLE = Path(__file__).parents[3] / "examples" / "degradation.yaml"


def refusal(text):
    with pytest.raises(InputError) as refused:
        Degradation.read(text.encode())
    message = str(refused.value)
    assert message.startswith("degradation: ") and "\n" not in message
    assert message.endswith("as in examples/degradation.yaml")
    return message


def test_the_example_names_every_number():
    assert Degradation.read(EXAMPLE) == Degradation()

    def names(value):
        return {name: names(item) for name, item in value.items()} if isinstance(value, dict) else None

    assert names(yaml.safe_load(EXAMPLE.read_text())) == names(Degradation().model_dump())


def test_what_is_left_out_keeps_its_value():
    changed = Degradation.read(b"second:\n  blur: {probability: 0.5}\n  noise: {sigma: [2, 3]}\n")
    assert changed.second.blur.probability == 0.5
    assert changed.second.blur.sigma == (0.2, 1.5)  # of the second stage, not of the first
    assert changed.second.noise.sigma == (2.0, 3.0)
    assert changed.second.noise.poisson == (0.05, 2.5)
    assert changed.first == Degradation().first
    assert Degradation.read(b"# nothing") == Degradation()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sharpness: 1", "sharpness: there is no such field"),
        ("second: {noise: {sgima: [1, 2]}}", "second.noise.sgima: there is no such field"),
        ("first: {blur: {size: [7, 20]}}", "first.blur.size.1: 20 is not odd"),
        ("first: {blur: {size: [21, 7]}}", "first.blur.size: 21 to 7 does not ascend"),
        ("first: {blur: {size: [7, 201]}}", "first.blur.size.1: Input should be less than or equal to 101"),
        ("first: {blur: {sigma: [0, 3]}}", "first.blur.sigma.0: Input should be greater than or equal to 0.01"),
        ("first: {blur: {sigma: [1, 2, 3]}}", "first.blur.sigma: Tuple should have at most 2 items"),
        ("first: {blur: {probability: 1.5}}", "first.blur.probability: Input should be less than or equal to 1"),
        ("first: {blur: {probability: yes}}", "first.blur.probability: Input should be a valid number"),
        ("first: {blur: {probability: '0.5'}}", "first.blur.probability: Input should be a valid number"),
        ("first: {blur: {kinds: {isotropic: 0.5}}}", "add up to 1, and not to 1.05"),
        ("first: {resize: {up: 0.5}}", "first.resize: up, down, keep exclude each other"),
        ("first: {resize: {factor: [1.1, 1.5]}}", "first.resize.factor: 1.1 to 1.5 does not hold 1"),
        ("first: {resize: {modes: []}}", "first.resize.modes: Tuple should have at least 1 item"),
        (
            "first: {resize: {modes: [lanczos]}}",
            "first.resize.modes.0: Input should be 'area', 'bilinear' or 'bicubic'",
        ),
        ("first: {quality: [0, 95]}", "first.quality.0: Input should be greater than or equal to 1"),
        ("first: {quality: [30.5, 95]}", "first.quality.0: Input should be a valid integer"),
        ("second: {noise: {sigma: [1, .inf]}}", "second.noise.sigma.1: Input should be a finite number"),
        ("second: {noise: {sigma: [1, .nan]}}", "second.noise.sigma.1: Input should be a finite number"),
        ("stage2_scale: 0", "stage2_scale: Input should be greater than or equal to 1"),
        ("pool_size: 0", "pool_size: Input should be greater than or equal to 1"),
        ("[1, 2]", "the file: Input should be a valid dictionary"),
        ("first: {blur", "cannot be read"),
        ("!!python/object/apply:os.system [true]", "cannot be read"),
        ("x" * 2**21, "is larger than"),
    ],
)
def test_refusals_name_the_field(text, said):
    assert said in refusal(text)


def test_several_mistakes_are_told_at_once():
    message = refusal("{pool_size: -1, stage3: {}}")
    assert "pool_size: " in message and "stage3: " in message


def test_not_all_of_very_many():
    message = refusal("{" + ", ".join(f"stage{number}: 1" for number in range(99)) + "}")
    assert message.count("there is no such field") == 8


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        Degradation.read(tmp_path / "none.yaml")


def test_the_published_width_is_what_opencv_makes_of_zero():
    sharpening = Degradation().sharpening
    assert sharpening.sigma == pytest.approx(0.3 * ((sharpening.size - 1) / 2 - 1) + 0.8)
    assert Degradation().first.blur.cutoff == (math.pi / 3, math.pi)
