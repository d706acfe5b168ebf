"""The base model from other sources than the original, which is gone, and checked by what came first."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("diffusers")

from omniup import InputError  # noqa: E402
from omniup.cli import main  # noqa: E402
from omniup.files.checksums import check_unchanged  # noqa: E402
from omniup.files.hub import record_path  # noqa: E402
from omniup.files.licences import LICENCES, note_licence  # noqa: E402
from omniup.restoration import Enhancer, load_networks, locate  # noqa: E402
from omniup.restoration.base_model import MIRROR, PUBLISHED, SOURCES  # noqa: E402
from omniup.restoration.lora import add_lora, lora_tensors  # noqa: E402
from support.forks import Fork  # noqa: E402
from support.hub import the_endpoint  # noqa: E402

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, and empty caches."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    with the_endpoint(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture
def repository(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "repository")


def _change(folder):
    tensors = load_file(folder / WEIGHTS)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / WEIGHTS, {"format": "pt"})


def refusal(**settings):
    with pytest.raises(InputError) as refused:
        load_networks(locate(**settings))
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_the_sources_are_those_that_the_threads_name():
    assert SOURCES[:2] == (PUBLISHED, MIRROR)
    assert SOURCES[2].startswith("https://modelscope.cn/models/stabilityai/stable-diffusion-2-1-base/")


def test_sources_are_tried_in_order(hub, repository):
    hub.repositories[MIRROR] = repository
    files = locate(base=[PUBLISHED, MIRROR])
    assert f"models--{MIRROR.replace('/', '--')}" in str(files.folder)
    asked = [path for path in hub.requests if path.startswith("/api/models/")]
    assert asked[0] == f"/api/models/{PUBLISHED}"
    assert asked[1] == f"/api/models/{MIRROR}"
    assert load_networks(files).files.name == PUBLISHED
    count = len(hub.requests)
    assert locate(base=[PUBLISHED, MIRROR], offline=True).folder == files.folder
    assert locate(base=[PUBLISHED, MIRROR]).folder == files.folder  # what is on this machine comes first
    assert len(hub.requests) == count


def test_a_url_that_the_files_lie_below(hub, repository, tmp_path):
    hub.repositories["other/model"] = repository
    url = f"{hub.url}/other/model/resolve/master"
    assert "of which unet/config.json is not in" in refusal(base=[url], offline=True)
    assert hub.requests == []
    files = locate(base=[PUBLISHED, url])
    assert tmp_path / "torch" in files.folder.parents
    assert (files.folder / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()
    load_networks(files)
    assert set(json.loads(files.record.read_text())) >= {WEIGHTS, "hypir.json", "vae/config.json"}
    count = len(hub.requests)
    assert locate(base=[url]).folder == files.folder
    assert len(hub.requests) == count
    assert not list(files.folder.rglob("*.part"))


def test_a_download_that_is_cut_short_is_not_kept(hub, repository, monkeypatch):
    hub.repositories["other/model"] = repository
    whole = hub.answer

    def cut(path):
        status, headers, content = whole(path)
        return status, headers | {"Content-Length": str(len(content))}, content[:-1]

    monkeypatch.setattr(hub, "answer", cut)
    said = refusal(base=[f"{hub.url}/other/model/resolve/master"])
    assert "is to be had from none of its sources" in said
    assert re.search(r"hypir.json gives \d+ bytes of \d+", said)


def test_a_folder_is_a_source(hub, repository):
    files = locate(base=[str(repository)])
    assert (files.folder, files.record) == (repository, None)
    assert hub.requests == []


def test_a_refusal_says_what_has_happened_and_names_the_others(hub):
    said = refusal(base=[PUBLISHED, MIRROR])
    assert said.startswith("model is to be had from none of its sources: ")
    for source in (PUBLISHED, MIRROR):
        assert f"{source}, of which unet/config.json is not in" in said
    assert said.count(f"{hub.url} does not give it (") == 2
    assert "the original was removed from its hub in November 2025" in said
    assert f"`hf download {MIRROR} unet/config.json" in said
    assert f"ModelScope's {PUBLISHED}" in said


def test_sources_belong_to_the_published_model():
    assert "base is given, and the model is tiny; accepted: sources of" in refusal(model="tiny", base=[MIRROR])


@pytest.mark.parametrize("is_url", [False, True])
def test_weights_that_change_after_the_first_download_are_refused(hub, repository, is_url):
    name = "other/model" if is_url else MIRROR
    source = f"{hub.url}/other/model/resolve/master" if is_url else MIRROR
    hub.repositories[name] = repository
    files = locate(base=[source])
    load_networks(files)
    record = files.record.read_bytes()
    before = json.loads(record)[WEIGHTS]["sha256"]
    for path in files.folder.iterdir():  # the record stays when files are fetched again
        if path.is_dir():
            shutil.rmtree(path)
    if not is_url:
        shutil.rmtree(files.folder)
        (files.folder.parents[1] / "refs" / "main").unlink()
    _change(repository)
    said = refusal(base=[source])
    assert f"{WEIGHTS} has the SHA-256 " in said
    assert f"and had {before} when it was first fetched" in said
    assert f"to accept the other one, {files.record} is to be deleted" in said
    assert files.record.read_bytes() == record
    files.record.unlink()
    load_networks(locate(base=[source]))
    assert json.loads(files.record.read_text())[WEIGHTS]["sha256"] != before


def test_the_published_adapter_is_in_a_record_too(hub, repository, tmp_path):
    """A folder of the user's has none; of the networks nothing is downloaded here, of the adapter its file."""
    (repository / "hypir.json").write_text('{"patch": 128, "lora_rank": 4}')
    networks = load_networks(locate("tiny"))
    add_lora(networks.unet, 4)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    tensors = lora_tensors(networks.unet)
    torch.save(tensors, adapter / "HYPIR_sd2.pth")
    hub.repositories["lxq007/HYPIR"] = adapter
    files = locate(base=[str(repository)])
    load_networks(files)
    assert files.record is None
    assert files.lora_record == tmp_path / "cache/models--lxq007--HYPIR/omniup-sha256.json"
    before = json.loads(files.lora_record.read_text())["HYPIR_sd2.pth"]["sha256"]
    shutil.rmtree(files.lora.parent)
    (files.lora_record.parent / "refs" / "main").unlink()
    torch.save({name: tensor + 1 for name, tensor in tensors.items()}, adapter / "HYPIR_sd2.pth")
    said = refusal(base=[str(repository)])
    assert "HYPIR_sd2.pth has the SHA-256 " in said and f"and had {before} when it was first fetched" in said
    own = shutil.copy(adapter / "HYPIR_sd2.pth", repository / "HYPIR_sd2.pth")
    assert locate(base=[str(repository)]).lora_record is None
    assert locate(base=[str(repository)], weights=own).lora_record is None


def test_a_record_follows_times_and_refuses_contents(tmp_path, caplog):
    path, record = tmp_path / "weights", tmp_path / "record.json"
    path.write_bytes(b"first")
    check_unchanged(tmp_path, [path], record)
    os.utime(path, (1, 1))
    check_unchanged(tmp_path, [path], record)
    assert json.loads(record.read_text())["weights"]["mtime_ns"] == 10**9
    path.write_bytes(b"other")
    with pytest.raises(InputError, match="weights has the SHA-256"):
        check_unchanged(tmp_path, [path], record)
    record.write_text("{")
    with pytest.raises(InputError, match=r"record.json cannot be read .*; accepted: a record of checksums"):
        check_unchanged(tmp_path, [path], record)
    check_unchanged(tmp_path, [path], tmp_path / "missing" / "record.json")
    assert "checksums are not kept" in caplog.text


def test_records_lie_beside_versions_and_outlive_them(tmp_path):
    assert record_path(tmp_path / "models--a--b" / "snapshots" / "c").parent == tmp_path / "models--a--b"
    assert record_path(tmp_path / "folder").parent == tmp_path / "folder"


def test_the_licence_is_stated_once_where_the_published_adapter_is_loaded(saved, tmp_path, caplog):
    folder = shutil.copytree(saved, tmp_path / "model")
    note_licence.cache_clear()
    Enhancer.from_pretrained(folder)
    assert "licence" not in caplog.text
    (folder / "hypir.json").write_text('{"patch": 128, "lora_rank": 4}')
    unet = load_networks(locate("tiny")).unet
    add_lora(unet, 4)
    save_file(lora_tensors(unet), folder / "HYPIR_sd2.safetensors")
    for _ in range(2):
        Enhancer.from_pretrained(folder)
    assert [record.getMessage() for record in caplog.records if "licence" in record.getMessage()] == [
        f"licence of HYPIR's weights: {LICENCES['HYPIR']}"
    ]
    assert LICENCES["HYPIR"].startswith("for non-commercial use only")


def test_the_command_takes_sources_from_an_endpoint(hub, repository, tmp_path):
    hub.repositories[MIRROR] = repository
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "photo.png")
    sources = ["--base", PUBLISHED, "--base", MIRROR]
    photo, out = str(tmp_path / "photo.png"), str(tmp_path / "out.png")
    command = ["restore", photo, "-o", out, "--scale", "1", "--model", "hypir", *sources]
    assert Fork(lambda: main(command), tmp_path / "said").wait() == 0, (tmp_path / "said.err").read_text()
    assert (tmp_path / "out.png").is_file()
    kept = tmp_path / "cache" / f"models--{MIRROR.replace('/', '--')}" / "omniup-sha256.json"
    assert WEIGHTS in json.loads(kept.read_text())
