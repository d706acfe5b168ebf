"""Every sink holds what it was given, as other libraries read it, in the same bytes every time."""

import io
import tarfile

import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import zarr
from safetensors.numpy import load_file

from omniup.jobs import sinks
from omniup.jobs.configuration import Output
from omniup.jobs.sinks import Part, cut_into_parts, place_of, prepare_sink, writing
from omniup.jobs.sources import Item
from support.dangers import contents

ARRAYS = {
    "a.b/c": {"map": np.arange(24, dtype=np.float16).reshape(2, 3, 4), "map.scales": np.ones(2, np.float32)},
    "d%": {"map": np.arange(30, dtype=np.float16).reshape(2, 3, 5), "map.scales": np.zeros(2, np.float32)},
    "e": {"map": np.ones((1, 1, 1), np.float16), "map.scales": np.full(2, 7, np.float32)},
}


def write(kind, folder):
    output = Output(kind=kind, path=folder, part=2)
    prepare_sink(output)
    for part in cut_into_parts([Item(key, "x") for key in ARRAYS], output):
        with writing(part, output) as put:
            for item in part.items:
                put(item.key, ARRAYS[item.key])


def npz(folder):
    for path in folder.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            yield path.relative_to(folder).with_suffix("").as_posix(), dict(file)


def safetensors(folder):
    for path in folder.rglob("*.safetensors"):
        yield path.relative_to(folder).with_suffix("").as_posix(), load_file(path)


def groups(folder):
    store = zarr.open_group(str(folder / "results.zarr"), mode="r")
    for key in ARRAYS:
        yield key, {name: np.asarray(store[key][name]) for name in ("map", "map.scales")}


def parquet(folder):
    assert sorted(path.name for path in folder.glob("*.parquet")) == ["part-000000.parquet", "part-000001.parquet"]
    for row in pyarrow.dataset.dataset(folder).to_table().to_pylist():  # which skips the folder of the job
        yield row["key"], {n: np.array(row[n]).reshape(row[f"{n}.shape"]) for n in ("map", "map.scales")}


def webdataset(folder):
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                assert (info.mtime, info.uid, info.uname) == (0, 0, "")
                stem, _, suffix = info.name.rpartition("/")[2].partition(".")
                key = info.name.rpartition("/")[0] + "/" + stem if "/" in info.name else stem
                array = np.load(io.BytesIO(tar.extractfile(info).read()), allow_pickle=False)
                found.setdefault(key.replace("%2E", ".").replace("%25", "%"), {})[suffix.removesuffix(".npy")] = array
    return found.items()


READERS = {"npz": npz, "safetensors": safetensors, "zarr": groups, "parquet": parquet, "webdataset": webdataset}


@pytest.mark.parametrize("kind", READERS)
def test_what_goes_in_comes_out_in_the_same_bytes(kind, tmp_path):
    write(kind, tmp_path / "one")
    found = dict(READERS[kind](tmp_path / "one"))
    assert found.keys() == ARRAYS.keys()
    for key, arrays in ARRAYS.items():
        for name, array in arrays.items():
            assert np.array_equal(found[key][name], array) and found[key][name].shape == array.shape, (key, name)
    write(kind, tmp_path / "two")
    write(kind, tmp_path / "two")  # once more, over what is there
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_parquet_keeps_types_and_cuts_row_groups_by_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "ROW_GROUP", 50)
    write("parquet", tmp_path)
    file = pq.ParquetFile(tmp_path / "part-000000.parquet")
    assert file.num_row_groups == 2
    assert str(file.schema_arrow.field("map").type) == "large_list<element: halffloat>"
    assert [str(file.schema_arrow.field(name).type) for name in ("key", "map.shape")] == [
        "string",
        "list<element: int32>",
    ]


@pytest.mark.parametrize("kind", READERS)
def test_a_part_that_fails_leaves_nothing(kind, tmp_path):
    output = Output(kind=kind, path=tmp_path, part=2)
    prepare_sink(output)
    before = contents(tmp_path)
    part = Part(0, (Item("a", "x"), Item("b", "x")))
    with pytest.raises(KeyboardInterrupt), writing(part, output) as put:
        if output.pictures_a_part == 2:  # elsewhere a picture is whole when it is put
            put("a", ARRAYS["e"])
        raise KeyboardInterrupt
    assert contents(tmp_path) == before
    assert not place_of(part, output).exists()
