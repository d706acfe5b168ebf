"""What the tests of the demo share: what is sent, and what comes back. A client is httpx's, or starlette's."""

import base64
import json
import time
from io import BytesIO

import numpy as np
import torch
from PIL import Image

SMALL = {"size": 64, "iters": 2}
"""Settings of a run that is over in no time."""


def encoded(image, format="PNG", **options):
    """The bytes of a picture's file."""
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(height, width, *, mode="RGB", seed=0):
    """A picture of noise over a step, left darker than right."""
    pixels = np.random.default_rng(seed).integers(0, 100, (height, width, len(mode)), dtype=np.uint8)
    pixels[:, width // 2 :] += 150
    return Image.fromarray(pixels[..., 0] if len(mode) == 1 else pixels)


def npy(array):
    """The bytes of an array's file."""
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def client_of(server):
    """Speaks to a server as no browser does: without cookies, proxies and caches."""
    import httpx  # which the other functions of this file do without

    limits = httpx.Limits(max_connections=None)
    return httpx.Client(base_url=server.url, timeout=120, limits=limits, trust_env=False)


def post_run(client, image, **config):
    return client.post("/api/run", files={"image": image}, data={"config": json.dumps(config)})


def run(client, image, **config):
    """What a run answers."""
    answer = post_run(client, image, **config)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


def post_upsample(client, image, signal, **config):
    return client.post("/api/upsample", files={"image": image, "signal": signal}, data={"config": json.dumps(config)})


def upsample(client, image, signal, **config):
    """What an upsampling answers."""
    answer = post_upsample(client, image, signal, **config)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


def fields(answer):
    """The fields that a refusal names."""
    assert answer.status_code == 422, (answer.status_code, answer.text[:500])
    problems = answer.json()["detail"]
    parts = {"field", "argument", "problem", "accepted", "texts"}
    assert problems and all(problem.keys() == {"loc", "msg", "type", *parts} for problem in problems)
    return {".".join(map(str, problem["loc"][1:])) for problem in problems}


def picture(url):
    """The pixels of a data URL."""
    prefix = "data:image/png;base64,"
    assert url.startswith(prefix)
    with Image.open(BytesIO(base64.b64decode(url.removeprefix(prefix), validate=True))) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB"))


def array(client, answer, name):
    """One of an answer's arrays, as a tensor."""
    file = client.get(answer["files"][name])
    assert file.status_code == 200
    return torch.from_numpy(np.load(BytesIO(file.content), allow_pickle=False))


def values(pixels):
    """Pixels [H, W, 3] as a tensor [1, 3, H, W] in 0..1."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def events(client, run_id):
    """What is told of a run, from its beginning to its end."""
    with client.stream("GET", f"/api/progress/{run_id}") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


def eventually(condition, seconds=10):
    """Whether something becomes true."""
    until = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return held
