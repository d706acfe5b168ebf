"""Every source lists its pictures in one order, and what lists and archives from anybody name stays below its root."""

import csv
import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omniup.errors import InputError
from omniup.files import read_image
from omniup.jobs.addresses import check_key, fetch
from omniup.jobs.configuration import FolderSource, GlobSource, ListSource, WebdatasetSource
from omniup.jobs.sources import list_items

OUT = Path("/nowhere")
KEYS = [f"{'more/' if number % 4 == 3 else ''}{number:02d}" for number in range(20)]


def listed(source, path, **fields):
    return list_items(source(kind=KINDS[source], path=str(path), **fields), OUT)


KINDS = {FolderSource: "folder", GlobSource: "glob", ListSource: "list", WebdatasetSource: "webdataset"}


def pixels(item):
    return read_image(fetch(item.image, {}))


def write_list(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_tar(path, members, **kind):
    with tarfile.open(path, "w", **kind) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def upload(folder):
    """Put the pictures into fsspec's file system in memory."""
    remote = fsspec.filesystem("memory")
    remote.rm("/", recursive=True) if remote.ls("/") else None
    for path in folder.rglob("*.png"):
        remote.pipe(f"/bucket/{path.relative_to(folder).as_posix()}", path.read_bytes())


def test_folders_and_patterns_here_and_far(folder):
    upload(folder / "photos")
    here = listed(FolderSource, "photos")
    assert sorted(item.key for item in here) == sorted(KEYS)
    for source, path in [
        (GlobSource, "photos/**/*.png"),
        (FolderSource, "memory://bucket"),
        (GlobSource, "memory://bucket/**/*.png"),
    ]:
        found = {item.key: item for item in listed(source, path)}
        assert found.keys() == set(KEYS), path
        assert (pixels(found["more/03"]) == read_image("photos/more/03.png")).all()
    assert len(listed(FolderSource, "photos", below=False)) == 15
    assert len(listed(FolderSource, "memory://bucket", below=False)) == 15
    assert len(listed(GlobSource, "photos/*.png")) == 15


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_lists(folder, suffix):
    rows = [{"image": f"photos/{key}.png", "id": f"n{n}", "points": "[[1, 2]]"} for n, key in enumerate(KEYS)]
    items = listed(ListSource, write_list(folder / f"list.{suffix}", rows))
    assert [item.key for item in items] == [f"photos/{key}" for key in KEYS]  # in the list's order
    assert items[3].columns["points"] == "[[1, 2]]"
    assert (pixels(items[3]) == read_image("photos/more/03.png")).all()
    items = listed(ListSource, folder / f"list.{suffix}", key="id")
    assert [item.key for item in items] == [f"n{n}" for n in range(20)]
    far = write_list(folder / f"far.{suffix}", [{"image": "memory://bucket/00.png"}])
    upload(folder / "photos")
    (item,) = listed(ListSource, far, root="memory://bucket")
    assert item.key == "00" and (pixels(item) == read_image("photos/00.png")).all()


def test_archives(folder):
    members = {f"a/{key}.png": (folder / f"photos/{key}.png").read_bytes() for key in ("00", "01")}
    members["a/00.depth.png"] = members["a/01.png"]
    members["a/00.json"], members["a/.hidden.png"] = b"{}", b""
    write_tar(folder / "one.tar", members)
    write_tar(folder / "two.tar", {"b.png": members["a/00.png"]})
    items = listed(WebdatasetSource, "*.tar")
    assert [item.key for item in items] == ["a/00", "a/01", "b"]
    assert (pixels(items[1]) == read_image("photos/01.png")).all()
    depth = items[0].fill("{depth.png}")
    assert fetch(depth, {}).read() == members["a/01.png"]
    fsspec.filesystem("memory").pipe("/far.tar", (folder / "one.tar").read_bytes())
    (item, _) = listed(WebdatasetSource, "memory://far.tar")
    assert (pixels(item) == read_image("photos/00.png")).all()
    assert [item.key for item in listed(WebdatasetSource, "one.tar", image="png")] == ["a/00", "a/01"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "../secret.png"}, "leads out of"),
        ({"image": "photos/../../secret.png"}, "leads out of"),
        ({"image": "/etc/passwd"}, "leads out of .*; accepted: paths below it; `root` names another"),
        ({"image": "http://169.254.169.254/latest"}, "leads out of"),
        ({"image": "memory://bucket/00.png"}, "leads out of"),
        ({"image": ""}, "has no text in the column 'image'; accepted: the columns image"),
        ({"other": "x"}, "has no text in the column 'image'"),
        ({"image": "photos/.hidden.png"}, "cannot be the name of results"),
        ({"image": "_job/x.png"}, "cannot be the name of results"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_hostile_rows_are_refused_with_their_numbers(folder, suffix, row, said):
    rows = [{next(iter(row)): "photos/00.png"}, row] if "image" in row else [row]
    path = write_list(folder / f"list.{suffix}", rows)
    with pytest.raises(InputError, match=rf"list.{suffix}, row {len(rows)}:? .*{said}"):
        listed(ListSource, path)


@pytest.mark.parametrize(
    "key", ["", "../x", "a/../b", "/x", "a//b", "a\\b", "a\nb", ".x", "a/.omniup-1", "_job/manifest", "x" * 201, "a/"]
)
def test_names_of_results_stay_below_the_output(folder, key):
    with pytest.raises(InputError, match="cannot be the name of results; accepted: relative paths whose parts"):
        check_key(key)
    if "\n" not in key and key:
        with pytest.raises(InputError, match=r"row 1: .* cannot be the name of results"):
            listed(ListSource, write_list(folder / "l.jsonl", [{"image": "photos/00.png", "id": key}]), key="id")


def test_two_of_one_name_are_refused(folder):
    (folder / "photos/00.jpg").write_bytes((folder / "photos/00.png").read_bytes())
    with pytest.raises(InputError, match=r"00.png would be named 00, and so would .*00.jpg; accepted: different"):
        listed(FolderSource, "photos")
    with pytest.raises(InputError, match=r"photos/00.png would be named photos/00"):
        listed(ListSource, write_list(folder / "l.csv", [{"image": "photos/00.png"}] * 2))


def test_damaged_lists(folder):
    for name, content, said in [
        ("a.csv", b"image\nphotos/00.png,1\n", "another number of columns than its header in line 2"),
        ("b.csv", b"image\n\xff\xfe\n", "cannot be read"),
        ("c.jsonl", b'{"image": ', "cannot be read"),
        ("d.jsonl", b"[1]\n", "has no object in line 1"),
        ("e.jsonl", b'{"image": "' + b"x" * 2**20 + b'"}', "has more than 1048576 bytes in line 1"),
        ("f.parquet", b"PAR1 and no more", "cannot be read"),
        ("g.txt", b"photos/00.png", "has the suffix '.txt'; accepted: .parquet, .csv, .jsonl"),
        ("h.csv", b"image\n", "holds no pictures"),
        ("i.csv", b"", "is empty"),
    ]:
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=said):
            listed(ListSource, folder / name)
    with pytest.raises(InputError, match="is no folder"):
        listed(FolderSource, "a.csv")
    with pytest.raises(InputError, match="holds no pictures"):
        listed(GlobSource, "nothing/*")


def test_a_parquet_bomb_is_refused_before_it_is_unpacked(folder):
    column = pa.DictionaryArray.from_arrays(np.zeros(2000, np.int32), ["short", "x" * 2**21])
    pq.write_table(pa.table({"image": column}), "bomb.parquet", compression="zstd")
    assert Path("bomb.parquet").stat().st_size < 2**16
    with pytest.raises(InputError, match="has rows of more than 1048576 bytes"):
        listed(ListSource, folder / "bomb.parquet")


def test_hostile_archives(folder):
    picture = (folder / "photos/00.png").read_bytes()
    write_tar(folder / "up.tar", {"../up.png": picture})
    with pytest.raises(InputError, match=r"'../up' cannot be the name of results"):
        listed(WebdatasetSource, "up.tar")
    with tarfile.open("link.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(InputError, match="holds no pictures"):  # links are nothing
        listed(WebdatasetSource, "link.tar")
    whole = write_tar(folder / "cut.tar", {"a.png": picture}).read_bytes()
    (folder / "cut.tar").write_bytes(whole[: 512 + len(picture) // 2])
    with pytest.raises(InputError, match=r"cut.tar (ends within a.png|cannot be read)"):
        listed(WebdatasetSource, "cut.tar")
    write_tar(folder / "text.tar", {"a.txt": b"x"})
    with pytest.raises(InputError, match="has the sample a without a picture"):
        listed(WebdatasetSource, "text.tar")
    with tarfile.open("packed.tar", "w:gz"):
        pass
    with pytest.raises(InputError, match="accepted: a tar archive without compression"):
        listed(WebdatasetSource, "packed.tar")


def test_patterns_fill_in_what_is_known_and_nothing_leads_elsewhere(folder):
    rows = [{"image": "photos/00.png", "mask": "masks/a.png", "up": "../x", "far": "/etc/x", "n": 3, "at": "[[1, 2]]"}]
    (item,) = listed(ListSource, write_list(folder / "l.jsonl", rows))
    assert item.fill("{mask}") == f"{folder}/masks/a.png"
    assert item.fill("/depth/{key}-{n}.npy") == "/depth/photos/00-3.npy"
    assert item.fill("{at}", is_text=True) == "[[1, 2]]"
    for pattern in ("{up}", "{far}", "/depth/{up}", "/depth/{far}", "{up}/x", "/x/{nothing}"):
        with pytest.raises(InputError, match=r"leads out of|leads elsewhere|names 'nothing'; accepted: key, image"):
            item.fill(pattern)


def test_large_files_far_away_are_refused(folder, monkeypatch):
    fsspec.filesystem("memory").pipe("/large.png", b"x" * 100)
    with pytest.raises(InputError, match=r"memory://large.png has 100 bytes; accepted: a file of at most 99 bytes"):
        fetch("memory://large.png", {}, most=99)
    with pytest.raises(InputError, match=r"nosuch://x cannot be read .*; accepted: a local path, or an address"):
        fetch("nosuch://x", {})
