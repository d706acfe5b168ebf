"""`omniup batch` says what it did, lists what is broken, and goes on."""

import json

import pytest
import yaml

from support.jobs import draw, small_job


@pytest.fixture
def job(folder):
    draw(folder / "photos", 5)
    (folder / "job.yaml").write_text(yaml.safe_dump(small_job()))
    return "job.yaml"


def test_a_job_is_done_and_then_skipped(omniup, job, folder):
    first = omniup("batch", job)
    assert first.status == 0 and first.stdout == b""
    assert f"{folder}/out: 5 done, 0 skipped, 0 broken (batch " in first.stderr
    facts = json.loads(omniup("batch", job, "--json", "-q").stdout)
    assert (facts["done"], facts["skipped"], facts["broken"], facts["engine"]) == (0, 5, {}, "local")


def test_shards_and_changes(omniup, job):
    for shard, done in (("1/2", 3), ("2/2", 2)):
        assert f"{done} done, 0 skipped" in omniup("batch", job, "--shard", shard).stderr
    said = omniup("batch", job, "--set", "output.path=other", "--set", "size=12").stderr
    assert "other: 5 done" in said


def test_broken_pictures_are_listed_at_the_end_with_the_exit_status(omniup, job, folder):
    (folder / "photos/01.png").write_bytes(b"x")
    outcome = omniup("batch", job)
    lines = outcome.stderr.splitlines()
    assert outcome.status == 2
    assert "4 done, 0 skipped, 1 broken" in lines[0]
    assert lines[1].startswith("01: ") and "is not in a format that is read here" in lines[1]
    assert lines[2] == "omniup: 1 of 5 pictures are broken: those above"
    for number in range(30):
        (folder / f"photos/x{number}.png").write_bytes(b"x")
    lines = omniup("batch", job, "--set", "output.path=many").stderr.splitlines()
    assert len(lines) == 22
    assert lines[-1] == (
        "omniup: 31 of 35 pictures are broken: those above, and 11 more, which _job/manifest.jsonl lists"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["nothing.yaml"],
            "nothing.yaml cannot be read (No such file or directory); accepted: YAML with the fields source",
        ),
        (["job.yaml", "--engine", "spark"], "--engine is 'spark'; accepted: local, ray"),
        (["job.yaml", "--workers", "2"], "workers is 2, and the engine is local, one process; accepted: engine ray"),
        (["job.yaml", "--shard", "x"], "shard is 'x'; accepted: i/n with i from 1 to n"),
        (
            ["job.yaml", "--set", "sizes=1"],
            "job.yaml: sizes is no field; accepted: source, signals, keep, output, size",
        ),
        (["job.yaml", "--set", "source.path=nowhere"], "nowhere is no folder; accepted: a folder of pictures"),
        (["job.yaml", "--set", "method=best"], "method is 'best'; accepted: anyup, bicubic, bilinear"),
        (["job.yaml", "--set", 'settings={"radius": 1}'], "radius is no setting of bilinear; accepted: none"),
    ],
)
def test_refusals(refusal, job, folder, arguments, said):
    assert said in refusal("batch", *arguments)
