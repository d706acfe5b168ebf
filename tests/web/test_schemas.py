import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from omniup.upsamplers import UpsampleAnything
from omniup.web.schemas import MAX_WORK, RunConfig, SimilarityRequest, UpsampleConfig

WHOLE = {
    "size": (64, 1024),
    "stride": (4, 64),
    "iters": (0, 100),
    "radius": (1, 8),
    "channels": (1, 128),
    "seg_resolution": (64, 512),
}
REAL = {"sigma": (1.0, 64.0), "sigma_r": (0.01, 1.0)}
CHOICES = {
    "preset": ("spec", "paper"),
    "shape": ("square", "keep"),
    "extractor": ("projection", "resnet18_layer2"),
    "device": ("auto", "cpu", "cuda", "mps"),
}


def refused(model=RunConfig, **settings):
    """The fields that are named in refusing settings."""
    with pytest.raises(ValidationError) as error:
        model.model_validate_json(json.dumps(settings))
    return {".".join(map(str, each["loc"])) for each in error.value.errors()}


def accepted(**settings):
    return RunConfig.model_validate_json(json.dumps(settings))


def test_defaults_are_the_specification_s():
    config = RunConfig()
    method = config.method
    assert (config.size, config.stride, config.shape) == (256, 16, "square")
    assert (method.iterations, method.radius, method.lr) == (50, 2, 1e-3)
    assert (method.sigma, method.sigma_r, method.cells) == (16, 0.12, 25)
    assert (config.extractor, config.channels, config.device) == ("projection", 32, "auto")
    assert not config.segmentation
    assert not config.return_files


def test_presets_decide_what_is_not_given():
    paper = RunConfig(preset="paper").method
    assert paper == UpsampleAnything.preset("paper")
    assert (paper.window, paper.radius) == ("disc", 8)
    changed = RunConfig(preset="paper", iters=7, radius=3, lr=0.5, sigma=5, sigma_r=0.3).method
    assert (changed.iterations, changed.radius, changed.lr) == (7, 3, 0.5)
    assert (changed.sigma, changed.sigma_r, changed.window) == (5, 0.3, "disc")
    assert RunConfig(iters=0).method.iterations == 0


def test_fake_is_the_projection():
    assert RunConfig(extractor="fake").extractor == "projection"


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_whole_numbers_within_the_bounds_are_accepted(name, data):
    value = data.draw(st.integers(*WHOLE[name]))
    assert getattr(accepted(iters=0, **{name: value}) if name != "iters" else accepted(iters=value), name) == value


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_whole_numbers_beyond_the_bounds_are_refused(name, data):
    low, high = WHOLE[name]
    value = data.draw(st.integers(max_value=low - 1) | st.integers(min_value=high + 1))
    assert refused(**{name: value}) == {name}


@given(st.sampled_from(sorted(WHOLE)), st.floats(1, 100).filter(lambda value: not value.is_integer()))
def test_parts_of_whole_numbers_are_refused(name, value):
    assert refused(**{name: value}) == {name}


@given(st.sampled_from(sorted(REAL)), st.data())
def test_numbers_within_the_bounds_are_accepted(name, data):
    value = data.draw(st.floats(*REAL[name]))
    assert getattr(accepted(**{name: value}), name) == value
    low, high = REAL[name]
    beyond = data.draw(st.floats(max_value=low, exclude_max=True) | st.floats(min_value=high, exclude_min=True))
    assert refused(**{name: beyond}) == {name}


@given(st.floats(0, 1, exclude_min=True), st.floats(max_value=0) | st.floats(min_value=1, exclude_min=True))
def test_step_sizes_are_above_0_and_at_most_1(inside, outside):
    assert accepted(lr=inside).lr == inside
    assert refused(lr=outside) == {"lr"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("name", ["lr", "sigma", "sigma_r", "size", "iters", "channels"])
def test_what_is_not_finite_is_refused(name, value):
    assert refused(**{name: value}) == {name}


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_only_the_choices_are_accepted(name):
    for value in CHOICES[name]:
        assert getattr(accepted(**{name: value}), name) == value
    for value in ("", "Spec", CHOICES[name][0] + " ", 0, True, [], {}, None):
        assert refused(**{name: value}) == {name}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(max_size=12).filter(lambda name: name not in RunConfig.model_fields), json_values)
def test_unknown_fields_are_refused(name, value):
    assert refused(**{name: value}) == {name}
    assert refused(UpsampleConfig, **{"x" + name: value}) == {"x" + name}


@given(st.dictionaries(st.sampled_from(sorted(RunConfig.model_fields)), json_values, max_size=4))
def test_whatever_is_sent_is_a_method_or_a_refusal(settings):
    try:
        config = accepted(**settings)
    except ValidationError as error:
        named = {each["loc"][0] for each in error.errors() if each["loc"]}
        assert named <= settings.keys()
    else:
        assert config.method.cells >= 1


@given(st.sampled_from(["spec", "paper"]), st.integers(64, 1024), st.integers(0, 100), st.none() | st.integers(1, 8))
def test_the_work_of_a_fit_is_bounded(preset, size, iters, radius):
    changes = {"preset": preset, "size": size, "iters": iters, "radius": radius}
    method = RunConfig(**(changes | {"size": 64})).method
    if size**2 * method.cells * iters <= MAX_WORK:
        assert accepted(**changes).method == method
    else:
        assert refused(**changes) == {""}


def test_a_refusal_of_work_says_what_is_accepted():
    with pytest.raises(ValidationError, match="accepted: a smaller size, radius or iters"):
        RunConfig(size=1024, iters=100, radius=8)


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        RunConfig().size = 4


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("value", [-1, 4096, 2**70, 0.5, "a", None, [], math.nan], ids=str)
def test_points_are_pixels(name, value):
    point = {"run_id": "00000000-0000-4000-8000-000000000000", "x": 0, "y": 0}
    SimilarityRequest.model_validate(point | {name: 4095})
    assert refused(SimilarityRequest, **point | {name: value}) == {name}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"method": "m" * 41}, "method"),
        ({"method": None}, "method"),
        ({"settings": []}, "settings"),
        ({"settings": {"s" * 41: 1}}, f"settings.{'s' * 41}.[key]"),
        ({"settings": {str(index): 0 for index in range(31)}}, "settings"),
        ({"labels": "maybe"}, "labels"),
        ({"name": "n" * 201}, "name"),
        ({"run_id": "mine"}, "run_id"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_upsampling_settings_are_bounded(settings, field):
    assert refused(UpsampleConfig, **settings) == {field}
