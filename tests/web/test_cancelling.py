"""Upsamplings that nobody waits for any more, or that take too long, end between two tiles."""

import json
import threading
import time

import httpx
import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from omniup.mixing import Attention, Windows
from omniup.mixing.interruption import interruptible
from omniup.web import Settings, create_app
from support.demo import client_of, encoded, eventually, fields, noise, npy, post_upsample

LONG = {"method": "joint_bilateral", "settings": {"radius": 16}, "signal_type": "features"}
"""Takes a minute or so at 1024 × 1024 pixels."""


@pytest.fixture(scope="module")
def files():
    signal = np.random.default_rng(0).random((64, 128, 128), dtype=np.float32)
    return {"image": encoded(noise(1024, 1024)), "signal": npy(signal)}


def test_an_upsampling_ends_when_its_client_has_gone(server, files):
    with client_of(server) as client:
        assert eventually(lambda: client.get("/api/health").json()["running"] == 0)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/upsample", files=files, data={"config": json.dumps(LONG)}, timeout=2)
        assert eventually(lambda: client.get("/api/health").json()["running"] == 0, seconds=5)


def test_an_upsampling_can_be_cancelled(server, files):
    answers, run_id = [], "7d5e6e0c-1111-4c4c-8f8f-000000000001"
    with client_of(server) as client:
        config = json.dumps({**LONG, "run_id": run_id})
        post = threading.Thread(
            target=lambda: answers.append(client.post("/api/upsample", files=files, data={"config": config}))
        )
        post.start()
        assert eventually(lambda: client.get("/api/health").json()["running"] == 1)
        time.sleep(1)
        assert client.delete(f"/api/runs/{run_id}").status_code == 204
        post.join(10)
    assert answers[0].status_code == 409


def test_an_upsampling_that_takes_too_long_is_refused(files):
    with TestClient(create_app(Settings(hosts=(), offline=True, upsampling_seconds=0.2))) as client:
        began = time.monotonic()
        shorter = {**LONG, "settings": {"radius": 4}}
        answer = post_upsample(client, files["image"], files["signal"], **shorter)
        assert time.monotonic() - began < 30
        assert fields(answer) == {"config"}
        assert "longer than 0.2 s" in answer.text, "and not at the door"
        small = post_upsample(client, encoded(noise(20, 30)), npy([[1.0]]), method="nearest")
        assert small.status_code == 200


def test_what_certainly_takes_too_long_is_refused_at_the_door(files, monkeypatch):
    monkeypatch.setattr("omniup.web.service.upsample", None)  # nothing is begun
    often = {"radius": 16, "back_projections": 100, "sigma_r_candidates": 16}
    with TestClient(create_app(Settings(hosts=(), offline=True, upsampling_seconds=1))) as client:
        answer = post_upsample(client, files["image"], npy(np.ones((128, 128))), settings=often)
        assert fields(answer) == {"config"}
        assert "pairs of pixel and cell, which takes too long here" in answer.text


def test_a_check_is_called_between_tiles_and_only_within():
    calls = []
    windows = Windows.square(size=(256, 256), grid=(16, 16), radius=2)
    attention = Attention(torch.zeros(1, 3, 16, 16), windows, memory=2**20)
    query, value = torch.zeros(1, 3, 256, 256), torch.ones(1, 2, 16, 16)
    with interruptible(lambda: calls.append(None)):
        attention.mix(query, value)
    assert len(calls) > 10
    before = len(calls)
    attention.mix(query, value)
    assert len(calls) == before
