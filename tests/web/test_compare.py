"""Methods beside each other on one photograph: what the page shows first."""

import json

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

import omniup
from omniup.evaluation import reconstruction_metrics
from support.demo import encoded, events, fields, noise, picture, run, values

FITS = [{"method": "upsample_anything", "settings": {"preset": name, "iterations": 8}} for name in ("spec", "paper")]


def post(client, image, **config):
    return client.post("/api/compare", files={"image": image}, data={"config": json.dumps(config)})


def compare(client, image, **config):
    answer = post(client, image, **config)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


@pytest.fixture(scope="module")
def first(client, photo):
    return compare(client, photo, size=160, shape="keep")


def test_our_own_method_and_interpolation_come_first(first):
    assert [each["method"] for each in first["results"]] == ["pyramid_bilateral", "bilinear", "bicubic"]
    assert (first["H"], first["W"], first["grid"]) == (112, 160, [7, 10])
    assert picture(first["original"]).shape == (112, 160, 3)
    ours, *plain = (each["psnr"]["means"] for each in first["results"])
    assert all(ours > each + 5 for each in plain)


def test_pictures_and_scores_are_the_librarys(first):
    image = values(picture(first["original"]))
    means, samples = adaptive_avg_pool2d(image, (7, 10)), interpolate(image, (7, 10), mode="bilinear")
    for each in first["results"]:
        for signal, cells, kind in (("means", means, "measurement"), ("samples", samples, "values")):
            made = omniup.upsample(image, cells, method=each["method"], signal_type=kind, consistency=0)
            psnr = reconstruction_metrics(made, image)["psnr_recon"]
            assert each["psnr"][signal] == pytest.approx(psnr, abs=0.01), (each["method"], signal)
            if signal == each["shown"]:
                shown = values(picture(each["image"]))
                torch.testing.assert_close(shown, made.clamp(0, 1), atol=0.003, rtol=0)
        assert each["shown"] == "means"
        assert each["iterations"] == 0


def test_a_fit_is_shown_with_the_samples_that_it_was_fitted_to(client, photo):
    spec, paper = compare(client, photo, size=160, methods=FITS)["results"]
    assert spec["shown"] == paper["shown"] == "samples"
    assert (spec["iterations"], paper["iterations"]) == (8, 8)
    of_a_run = run(client, photo, size=160, iters=8)["metrics"]["psnr_recon"]
    assert spec["psnr"]["samples"] == pytest.approx(of_a_run, abs=0.01)
    assert paper["psnr"]["samples"] > spec["psnr"]["samples"] > spec["psnr"]["means"]


def test_a_fit_tells_its_steps(client, photo):
    answer = compare(client, photo, size=96, methods=FITS[:1])
    steps = [event["iteration"] for event in events(client, answer["run_id"]) if event["stage"] == "fit"]
    assert steps == sorted(steps) and len(steps) == 8


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ({"method": "magic"}, "config.methods.1"),
        ({"method": "joint_bilateral", "settings": {"radius": -1}}, "config.methods.1.settings.radius"),
        ({"method": "anyup", "settings": {"weights": "/etc/passwd"}}, "config.methods.1.settings.weights"),
        ({"method": "bilinear", "sigma": 1}, "config.methods.1.sigma"),
    ],
)
def test_methods_that_cannot_be_had_are_named(client, photo, method, field):
    assert fields(post(client, photo, methods=[{"method": "bilinear"}, method])) == {field}


def test_what_would_take_too_long_is_refused(client):
    long = {"method": "upsample_anything", "settings": {"radius": 16, "iterations": 100_000}}
    assert fields(post(client, encoded(noise(64, 64)), methods=[long])) == {"config"}
