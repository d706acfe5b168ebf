import json

import numpy as np
import torch

from omniup import GaussianKernels, UpsampleAnything
from omniup.files import read_image, read_signal


def test_fit(omniup, photo):
    arguments = ("--preset", "spec", "--iters", 3, "--set", "lr=0.01")
    assert omniup("fit", photo, "--grid", "3x4", "-o", "kernels.safetensors", *arguments).status == 0
    kernels = GaussianKernels.load("kernels.safetensors")
    expected = UpsampleAnything.preset("spec", iterations=3, lr=0.01).fit(read_image(photo), (3, 4))
    assert torch.equal(kernels.sigma_x, expected.sigma_x)
    assert kernels.history.losses == expected.history.losses


def test_stride(omniup, photo):
    outcome = omniup("fit", photo, "--stride", 10, "--iters", 0, "-o", "kernels.safetensors", "--json")
    facts = json.loads(outcome.stdout)
    assert facts["grid"] == [5, 6]  # the nearest to 4.8 and 6.4
    assert facts["losses"] == []
    assert outcome.stderr.startswith("kernels.safetensors: 5 x 6 kernels for 48 x 64 pixels (read ")


def test_reports(omniup, photo):
    outcome = omniup("fit", photo, "--stride", 16, "--iters", 2, "-o", "kernels.safetensors", "--json")
    facts = json.loads(outcome.stdout)
    assert facts.pop("seconds").keys() == {"read", "fit", "write"}
    first, last = facts.pop("losses")
    assert facts == {
        "output": "kernels.safetensors",
        "grid": [3, 4],
        "size": [48, 64],
        "iterations": 2,
        "device": "cpu",
    }
    assert f"3 x 4 kernels for 48 x 64 pixels, loss {first:.4f} to {last:.4f} in 2 steps" in outcome.stderr


def test_render(omniup, photo, features):
    omniup("fit", photo, "--stride", 16, "--iters", 2, "-o", "kernels.safetensors")
    outcome = omniup("render", "kernels.safetensors", features, "-o", "out.npy", "--confidence", "trust.npy", "--json")
    assert json.loads(outcome.stdout)["seconds"].keys() == {"read", "render", "write", "confidence"}
    kernels = GaussianKernels.load("kernels.safetensors")
    assert torch.equal(torch.from_numpy(np.load("out.npy")), kernels.render(read_signal(features)))
    assert torch.equal(torch.from_numpy(np.load("trust.npy")), kernels.confidence(read_signal(features)))


def test_several_signals_of_one_image(omniup, photo, folder, features):
    np.save("batch.npy", np.random.default_rng(0).standard_normal((2, 3, 3, 4)).astype(np.float32))
    omniup("fit", photo, "--stride", 16, "--iters", 1, "-o", "kernels.safetensors")
    batch = (folder / "batch.npy").read_bytes()
    assert omniup("render", "kernels.safetensors", "-", "-o", "out.npy", stdin=batch).status == 0
    assert np.load("out.npy").shape == (2, 3, 48, 64)
