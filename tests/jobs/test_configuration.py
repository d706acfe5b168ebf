"""A job's file is refused with a line for each field, which says what is accepted."""

import pytest
import yaml

from omniup.errors import InputError
from omniup.jobs.configuration import read_job


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source.kind": "foldr"}, r"source is of the kind 'foldr'; accepted: 'folder', 'glob', 'list', 'webdataset'"),
        ({"source.depth": 1}, "source.depth is no field; accepted: path, storage, kind, below"),
        ({"sorce": 1}, "sorce is no field; accepted: source, signals, keep"),
        ({"keep.map.of": "nothing"}, "keep.map.of is 'nothing'; accepted: colours"),
        ({"keep.map.kind": "maps"}, "keep.map is of the kind 'maps'; accepted: 'map', 'components'"),
        ({"keep.map.dtype": "int4"}, "keep.map.dtype is 'int4'; accepted: 'float32', 'float16', 'int8'"),
        ({"keep": {}}, "keep has 0 entries; accepted: at least 1"),
        ({"keep": {"../map": {"kind": "map", "of": "colours"}}}, "is called '../map'; accepted: letters, digits"),
        (
            {"keep.at": {"kind": "points", "of": "colours", "points": [[1]]}},
            r"keep.at.points is \[\[1\]\]; accepted: pairs",
        ),
        ({"keep.l": {"kind": "labels", "of": "colours", "probe": "no"}}, "keep.l.probe is .*/no, which does not exist"),
        (
            {"keep.p": {"kind": "components", "of": "colours", "count": 0}},
            "keep.p.count is 0; accepted: greater than or",
        ),
        ({"size": 0}, r"size is 0; accepted: the longer side, or \[height, width\], in pixels from 1 to 65536"),
        ({"size": [1, 2, 3]}, r"size is \[1, 2, 3\]; accepted: the longer side"),
        ({"size": True}, "size is True"),
        ({"threads": 0}, "threads is 0; accepted: greater than or equal to 1"),
        ({"memory": "much"}, "memory is 'much'; accepted: bytes, or texts"),
        ({"output.part": 0}, "output.part is 0"),
        (
            {"output.kind": "csv"},
            "output.kind is 'csv'; accepted: 'npz', 'safetensors', 'zarr', 'parquet' or 'webdataset'",
        ),
        ({"signals.colours.resolution": 2**17}, "signals.colours.resolution is 131072; accepted: less than or equal"),
        (
            {"signals.depth": {"kind": "stored", "file": "x", "signal_type": "dpth"}},
            "signal_type is 'dpth'; accepted: auto",
        ),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_fields_are_checked(folder, job, changes, said):
    with pytest.raises(InputError, match=said):
        read_job(job(), changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "source is missing"),
        ("[1]", "holds no fields"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
        ("a: &a [1, 1]\nb: {<<: {c: 1}}", "merge keys, <<, are not read here"),
        ("source: " + "[" * 1500, "cannot be read"),
        ("x" * 70000, "is larger than 65536 bytes"),
    ],
)
def test_hostile_files_are_refused(folder, text, said):
    (folder / "job.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_job("job.yaml")


def test_paths_begin_beside_the_file_and_columns_at_the_list(folder, job):
    (folder / "jobs").mkdir()
    keep = {"map": {"kind": "map", "of": "depth"}}
    signals = {"depth": {"kind": "stored", "file": "depth/{key}.npy"}, "own": {"kind": "stored", "file": "{file}"}}
    (folder / "jobs/job.yaml").write_text(yaml.safe_dump(job(signals=signals, keep=keep)))
    read = read_job("jobs/job.yaml")
    assert read.source.path == f"{folder}/jobs/photos" and read.output.path == folder / "jobs/out"
    assert read.signals["depth"].file == f"{folder}/jobs/depth/{{key}}.npy" and read.signals["own"].file == "{file}"
    assert read_job(job(source={"kind": "glob", "path": "s3://bucket/*.png"})).source.path == "s3://bucket/*.png"
