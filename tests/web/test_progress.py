import threading
import time
from uuid import uuid4

import httpx
import pytest

from support.demo import SMALL, client_of, events, eventually, post_run, run

LONG = {"preset": "paper", "size": 512, "stride": 8, "iters": 100}
"""Minutes of work."""


@pytest.fixture
def start(client, photo):
    """Send a run and do not wait: `start(size=64)` gives its id and, once it is over, a list with the answer."""
    threads, ids = [], []

    def send(**config):
        answers = []
        ids.append(config.setdefault("run_id", str(uuid4())))
        threads.append(threading.Thread(target=lambda: answers.append(post_run(client, photo, **config))))
        threads[-1].start()
        return config["run_id"], answers

    yield send
    for run_id in ids:
        client.delete(f"/api/runs/{run_id}")
    for thread in threads:
        thread.join(20)


@pytest.fixture
def running(client, start):
    """A long run that has begun."""
    run_id, answers = start(**LONG)
    next(event for event in events(client, run_id) if event["stage"] == "fit")
    return run_id, answers


def health(client):
    return client.get("/api/health").json()


def idle(client):
    return eventually(lambda: health(client)["running"] + health(client)["waiting"] == 0)


def test_progress_is_told_from_the_first_stage_to_the_last(client, start):
    run_id, answers = start(size=128, iters=20)
    told = list(events(client, run_id))
    stages = [event["stage"] for event in told]
    assert stages[0] == "queued"
    assert list(dict.fromkeys(stages)) == ["queued", "features", "fit", "render", "draw", "done"]

    steps = [event for event in told if event["stage"] == "fit" and "iteration" in event]
    assert [step["iteration"] for step in steps] == list(range(1, 21))
    assert {step["iterations"] for step in steps} == {20}
    assert eventually(lambda: answers)
    assert [step["loss"] for step in steps] == answers[0].json()["losses"]
    assert min(step["seconds_left"] for step in steps) == steps[-1]["seconds_left"] == 0
    assert answers[0].json()["run_id"] == run_id


def test_progress_has_only_the_fields_of_its_stage(client, photo):
    run_id = run(client, photo, **SMALL)["run_id"]
    for event in events(client, run_id):
        expected = {"queued": {"ahead"}, "fit": {"iteration", "iterations", "loss", "seconds_left"}}
        assert event.keys() - {"stage"} in (set(), expected.get(event["stage"], set()))


def test_progress_can_be_read_again_by_many(client, photo):
    run_id = run(client, photo, **SMALL)["run_id"]
    first, second = (list(events(client, run_id)) for _ in range(2))
    assert first == second
    assert first[-1] == {"stage": "done"}


def test_a_run_without_steps_tells_its_stages(client, photo):
    run_id = run(client, photo, size=64, iters=0)["run_id"]
    told = list(events(client, run_id))
    assert told[-1] == {"stage": "done"}
    assert not any("loss" in event for event in told)


def test_progress_can_be_asked_for_before_the_run_is_sent(client, start):
    run_id, told = str(uuid4()), []
    early = threading.Thread(target=lambda: told.extend(events(client, run_id)))
    early.start()
    time.sleep(0.3)
    start(run_id=run_id, **SMALL)
    early.join(20)
    assert told[-1] == {"stage": "done"}


def test_progress_of_an_unknown_run_is_not_found(client):
    began = time.monotonic()
    assert client.get(f"/api/progress/{uuid4()}").status_code == 404
    assert time.monotonic() - began < 10
    assert client.get("/api/progress/mine").status_code == 422


def test_progress_comes_while_the_fit_goes_on(client, running):
    run_id, answers = running
    seen = []
    for event in events(client, run_id):
        seen.append(event)
        if event.get("iteration") == 3:
            break
    assert answers == []
    assert seen[-1]["seconds_left"] > 0


def test_cancelling_ends_a_run_before_its_time(client, running):
    run_id, answers = running
    assert client.delete(f"/api/runs/{run_id}").status_code == 204
    assert eventually(lambda: answers, 5)
    assert answers[0].status_code == 409
    assert answers[0].json()["detail"] == "cancelled"
    told = list(events(client, run_id))
    assert told[-1] == {"stage": "cancelled"}
    assert max(event.get("iteration", 0) for event in told) < LONG["iters"]
    assert idle(client)
    assert client.delete(f"/api/runs/{run_id}").status_code == 404  # nothing of it is kept


def test_a_browser_that_goes_away_ends_its_run(server, client, photo):
    with client_of(server) as impatient:
        impatient.timeout = 1
        with pytest.raises(httpx.ReadTimeout):
            post_run(impatient, photo, **LONG)
    assert eventually(lambda: health(client)["running"] == 0, 3)


def test_a_browser_that_goes_away_frees_its_place_in_the_queue(server, client, photo, running):
    with client_of(server) as impatient:
        impatient.timeout = 0.7
        with pytest.raises(httpx.ReadTimeout):
            post_run(impatient, photo, **SMALL)
    assert eventually(lambda: health(client)["waiting"] == 0, 3)
    assert health(client)["running"] == 1


def test_a_reader_that_goes_away_does_not_end_the_run(client, start):
    run_id, answers = start(size=256, iters=60)
    next(event for event in events(client, run_id) if event["stage"] == "fit")
    assert eventually(lambda: answers)
    assert answers[0].status_code == 200


def test_a_waiting_run_knows_its_place_and_can_be_cancelled(client, start, running):
    (second, second_answers), (third, third_answers) = (
        (start(**SMALL), eventually(lambda n=n: health(client)["waiting"] == n))[0] for n in (1, 2)
    )
    assert next(events(client, second)) == {"stage": "queued", "ahead": 1}
    assert next(events(client, third)) == {"stage": "queued", "ahead": 2}

    assert client.delete(f"/api/runs/{second}").status_code == 204
    assert eventually(lambda: second_answers)
    assert second_answers[0].status_code == 409
    assert [event["stage"] for event in events(client, second)][-1] == "cancelled"
    assert health(client)["waiting"] == 1
    assert running[1] == []

    client.delete(f"/api/runs/{running[0]}")
    assert eventually(lambda: third_answers)
    assert third_answers[0].status_code == 200
    places = [event["ahead"] for event in events(client, third) if event["stage"] == "queued"]
    assert places[0] == 2
    assert places == sorted(places, reverse=True)


def test_the_server_answers_while_it_computes(client, running):
    _, answers = running
    assert client.get("/api/health").json()["running"] == 1
    assert client.get("/").status_code == 200
    assert client.get("/api/samples/coffee", params={"size": 96}).status_code == 200
    assert answers == []


def test_deleting_a_kept_run_removes_it_and_its_files(client, photo):
    answer = run(client, photo, **SMALL, return_files=True)
    run_id, urls = answer["run_id"], list(answer["files"].values())
    assert client.get(urls[0]).status_code == 200
    assert client.delete(f"/api/runs/{run_id}").status_code == 204
    assert {client.get(url).status_code for url in urls} == {404}
    assert client.post("/api/similarity", json={"run_id": run_id, "x": 0, "y": 0}).status_code == 404
    assert client.delete(f"/api/runs/{run_id}").status_code == 404


def test_an_id_is_used_once(client, photo, running):
    again = post_run(client, photo, **SMALL, run_id=running[0])
    assert again.status_code == 409
    assert running[0] in again.json()["detail"]
    assert running[1] == []
    done = run(client, photo, **SMALL)["run_id"] if not client.delete(f"/api/runs/{running[0]}").is_error else None
    assert post_run(client, photo, **SMALL, run_id=done).status_code == 409


def test_an_unknown_run_cannot_be_deleted(client):
    assert client.delete(f"/api/runs/{uuid4()}").status_code == 404
    assert client.delete("/api/runs/mine").status_code == 422
