import itertools
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
    assert all(line.startswith("degradation") for line in message.splitlines())
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
        ("sharpness: 1", "sharpness is no field; accepted: sharpening, first, second, stage2_scale, last, pool_"),
        (
            "second: {noise: {sgima: [1, 2]}}",
            "second.noise.sgima is no field; accepted: gaussian, sigma, poisso",
        ),
        ("first: {blur: {size: [7, 20]}}", "first.blur.size.1 is 20; accepted: odd numbers"),
        ("first: {blur: {size: [21, 7]}}", "first.blur.size is 21 to 7; accepted: an ascending range"),
        ("first: {blur: {size: [7, 201]}}", "first.blur.size.1 is 201; accepted: less than or equal to 101"),
        ("first: {blur: {sigma: [0, 3]}}", "first.blur.sigma.0 is 0; accepted: greater than or equal to 0.01"),
        ("first: {blur: {sigma: [1, 2, 3]}}", "first.blur.sigma has 3 entries; accepted: at most 2"),
        ("first: {blur: {probability: 1.5}}", "first.blur.probability is 1.5; accepted: less than or equal to 1"),
        ("first: {blur: {probability: yes}}", "first.blur.probability is True; accepted: a valid number"),
        ("first: {blur: {probability: '0.5'}}", "first.blur.probability is '0.5'; accepted: a valid number"),
        ("first: {blur: {kinds: {isotropic: 0.5}}}", "has probabilities that add up to 1.05"),
        ("first: {resize: {up: 0.5}}", "of what excludes each other, up, down, keep; accepted: a sum of 1"),
        ("first: {resize: {factor: [1.1, 1.5]}}", "first.resize.factor is 1.1 to 1.5; accepted: a range around 1"),
        ("first: {resize: {modes: []}}", "first.resize.modes has 0 entries; accepted: at least 1"),
        (
            "first: {resize: {modes: [lanczos]}}",
            "first.resize.modes.0 is 'lanczos'; accepted: 'area', 'bilinear' or 'bicubic'",
        ),
        ("first: {quality: [0, 95]}", "first.quality.0 is 0; accepted: greater than or equal to 1"),
        ("first: {quality: [30.5, 95]}", "first.quality.0 is 30.5; accepted: a valid integer"),
        ("second: {noise: {sigma: [1, .inf]}}", "second.noise.sigma.1 is inf; accepted: a finite number"),
        ("second: {noise: {sigma: [1, .nan]}}", "second.noise.sigma.1 is nan; accepted: a finite number"),
        ("stage2_scale: 0", "stage2_scale is 0; accepted: greater than or equal to 1"),
        ("pool_size: 0", "pool_size is 0; accepted: greater than or equal to 1"),
        ("[1, 2]", "holds no fields; accepted: YAML with the fields sharpening, first, "),
        ("first: {blur", "cannot be read"),
        ("!!python/object/apply:os.system [true]", "cannot be read"),
        ("x" * 2**21, "is larger than"),
    ],
)
def test_refusals_name_the_field(text, said):
    assert said in refusal(text)


def test_several_mistakes_are_told_at_once():
    message = refusal("{pool_size: -1, stage2_scale: x}")
    assert "degradation: pool_size is -1" in message and "degradation: stage2_scale is 'x'" in message


def test_not_all_of_very_many():
    message = refusal("{" + ", ".join(f"field{number}: 1" for number in range(99)) + "}")
    assert message.count("field") == 1 + 8
    assert refusal(f"first: {{resize: {{modes: [{'a, ' * 99}]}}}}").count("\n") == 8 - 1


def test_what_is_quoted_is_bounded():
    aliases = "".join(f"  - &{name} [{f'*{before}, ' * 9}]\n" for before, name in itertools.pairwise("abcdefghijkl"))
    assert len(refusal(f"first:\n  - &a [x]\n{aliases}")) < 2**17  # written out, it would be a terabyte


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        Degradation.read(tmp_path / "none.yaml")


def test_the_published_width_is_what_opencv_makes_of_zero():
    sharpening = Degradation().sharpening
    assert sharpening.sigma == pytest.approx(0.3 * ((sharpening.size - 1) / 2 - 1) + 0.8)
    assert Degradation().first.blur.cutoff == (math.pi / 3, math.pi)
