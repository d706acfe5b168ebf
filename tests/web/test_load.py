import gc
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from omniup.web import Settings, create_app
from support.demo import SMALL, client_of, encoded, noise, npy, post_run, run, upsample
from support.thorough import tries

RUNS, MALFORMED = tries(16, 50), tries(64, 200)
CONFIG = {"size": 64, "iters": 5}
SAME = ("images", "metrics", "losses", "parameters", "scales")

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


def resident(process):
    """Bytes of memory that a process has."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def malformed(seed, picture):
    """A request that nobody can serve, as arguments of `client.request`."""
    rng = random.Random(seed)
    noise = rng.randbytes(rng.randrange(2000))
    path = rng.choice(["/api/run", "/api/upsample"])
    form = {"Content-Type": "multipart/form-data; boundary=a"}
    part = b'--a\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n%s\r\n'
    whole = part % (b"image", picture) + part % (b"signal", npy([[1.0]])) + b"--a--\r\n"
    kinds = [
        {"content": noise, "headers": form},
        {"content": b"--a\r\n" + noise, "headers": form},
        {"content": whole[: rng.randrange(len(picture))], "headers": form},
        {"files": {"image": noise, "signal": noise}},
        {"files": {"image": picture[: rng.randrange(len(picture) - 100)], "signal": npy([[1.0]])}},
        {"files": {"image": picture, "signal": b""}, "data": {"config": noise[:200].hex()}},
        {"files": {"image": picture, "signal": b"\x93NUMPY" + noise}, "data": {"config": "{"}},
        {
            "files": {"image": picture},
            "data": {"config": json.dumps({"size": rng.choice([0, "a", None, 1e9, [], -1])})},
        },
        {"files": {"image": picture}, "data": {"config": json.dumps({rng.choice("abc"): noise[:9].hex()})}},
        {"files": {"image": picture, "signal": npy([[1.0]])}, "data": {"config": json.dumps({"method": str(seed)})}},
        {"json": {"x": rng.choice(["a", -1, 1e99]), "y": [], "run_id": seed}},
        {"content": noise, "headers": {"Content-Type": rng.choice(["application/json", "text/plain", "", "a/b;c"])}},
        {"content": b"[" * rng.randrange(100_000), "headers": {"Content-Type": "application/json"}},
    ]
    chosen = rng.choice(kinds)
    if "json" in chosen or ("content" in chosen and chosen["headers"] is not form):
        path = rng.choice([path, "/api/similarity"])
    return {"method": "POST", "url": path, **chosen}


def wave(client, photos, picture):
    """What runs answer that come at once, and the statuses of malformed requests in between."""
    with ThreadPoolExecutor(RUNS + 8) as threads:
        runs = [threads.submit(post_run, client, photos[i % len(photos)], **CONFIG) for i in range(RUNS)]
        others = [threads.submit(lambda s: client.request(**malformed(s, picture)), seed) for seed in range(MALFORMED)]
        return [each.result() for each in runs], [each.result().status_code for each in others]


@needs_proc
@pytest.mark.slow
def test_a_crowd_is_served_rightly_and_leaves_nothing_behind(serve, photo):
    server = serve("--queue", 64)
    photos = [photo, *(encoded(noise(90, 130, seed=seed)) for seed in range(3))]
    picture = encoded(noise(40, 40))
    with client_of(server) as client:
        alone = [run(client, each, **CONFIG) for each in photos]
        for again in (False, True):
            before = resident(server.process)
            answers, refusals = wave(client, photos, picture)
            assert {answer.status_code for answer in answers} == {200}
            for index, answer in enumerate(answers):
                assert {part: answer.json()[part] for part in SAME} == {
                    part: alone[index % len(photos)][part] for part in SAME
                }
            assert len({answer.json()["run_id"] for answer in answers}) == RUNS
            assert set(refusals) <= {400, 413, 422, 503}
            grown = resident(server.process) - before
            assert not again or grown < max(30 * 2**20, before // 10)
        health = client.get("/api/health").json()
        assert (health["running"], health["waiting"]) == (0, 0)
        assert health["status"] == "ok"


def test_more_than_the_queue_holds_is_refused_and_the_rest_served_rightly(photo):
    with TestClient(create_app(Settings(hosts=(), offline=True, queue=3))) as client:
        expected = run(client, photo, **SMALL)
        with ThreadPoolExecutor(24) as threads:
            answers = [each.result() for each in [threads.submit(post_run, client, photo, **SMALL) for _ in range(24)]]
        served = [answer.json() for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert served
        assert refused
        assert {answer.status_code for answer in refused} == {503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        for answer in served:
            assert {part: answer[part] for part in SAME} == {part: expected[part] for part in SAME}


def bytes_on_disk(client):
    folder = client.app.state.service.runs._folder
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_kept_runs_stay_within_their_limit(photo):
    most = 2**20
    with TestClient(create_app(Settings(hosts=(), offline=True, kept_bytes=most))) as client:
        first, *_, last = (run(client, photo, size=96, iters=0, return_files=True) for _ in range(6))
        health = client.get("/api/health").json()
        assert 1 <= health["kept_runs"] < 6
        assert health["kept_bytes"] <= most
        assert bytes_on_disk(client) <= most
        assert client.get(first["files"]["image_lr.npy"]).status_code == 404
        for url in last["files"].values():  # even if they come to more, those of the latest can be had
            assert client.get(url).status_code == 200
        for _ in range(3):
            latest = upsample(client, photo, npy([[1.0, 2], [3, 4]]), method="nearest")
        health = client.get("/api/health").json()
        assert health["kept_runs"] == 1  # each is of about the limit
        assert client.get(latest["files"]["result.npy"]).status_code == 200


def test_runs_are_kept_for_a_while(photo):
    with TestClient(create_app(Settings(hosts=(), offline=True, kept_seconds=1000))) as client:
        answer = run(client, photo, **SMALL)
        url = answer["files"]["image_lr.npy"]
        assert client.get(url).status_code == 200
        for kept in client.app.state.service.runs._runs.values():
            kept.born -= 1001
        assert client.get(url).status_code == 404
        assert client.get("/api/health").json()["kept_runs"] == 0
        assert bytes_on_disk(client) == 0


def alive():
    """Bytes of all tensors and pictures that there are."""
    storages, pictures = {}, 0
    for each in gc.get_objects():
        if type(each) is torch.Tensor:
            storage = each.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif issubclass(type(each), Image.Image):
            pictures += each.width * each.height * len(each.getbands())
    return sum(storages.values()) + pictures


def test_what_is_counted_is_what_is_held(photo):
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        run(client, photo, **SMALL)
        gc.freeze()  # what there is already is not looked at
        for files in (False, True):
            gc.collect()
            before = alive() + bytes_on_disk(client)
            counted = client.get("/api/health").json()["kept_bytes"]
            run(client, photo, size=128, iters=0, return_files=files)
            gc.collect()
            held = alive() + bytes_on_disk(client) - before
            assert client.get("/api/health").json()["kept_bytes"] - counted >= 0.9 * held > 0
        gc.unfreeze()


def test_the_folder_is_removed_at_the_end(photo):
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        run(client, photo, **SMALL, return_files=True)
        folder = client.app.state.service.runs._folder
        assert list(folder.iterdir())
        assert gc.get_freeze_count()
    assert not folder.exists()
    assert not gc.get_freeze_count()  # nothing is kept from the collector
