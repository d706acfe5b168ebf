"""Named tensors come back as they were, or the file is refused in one line."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from omniup.errors import InputError
from omniup.files import read_tensors, write_tensors


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool]
)
def test_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.arange(6).reshape(1, 2, 3).to(dtype), "scalar": torch.tensor(1).to(dtype)}
    metadata = {"version": "1", "said": "σ ≥ 0\nand more"}
    write_tensors(tmp_path / "t.safetensors", tensors, metadata)
    read, said = read_tensors(str(tmp_path / "t.safetensors"))
    assert said == metadata
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == dtype and torch.equal(read[name], tensor)


def test_views_gradients_and_shared_memory(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(1, 6, 2, 2)
    tensors = {
        "slice": whole[:, 1:3],
        "transposed": whole.mT,
        "expanded": torch.ones(1).expand(3),
        "same": whole,
        "again": whole,
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    write_tensors(tmp_path / "t.safetensors", tensors, {})
    read, said = read_tensors(tmp_path / "t.safetensors")
    assert said == {}
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor) and not read[name].requires_grad


def test_a_file_without_metadata(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(save({"a": torch.ones(2)}))
    read, said = read_tensors(tmp_path / "t.safetensors")
    assert said == {} and torch.equal(read["a"], torch.ones(2))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": torch.ones(2)}, {})
    with pytest.raises(TypeError):
        write_tensors(path, {"a": torch.zeros(2)}, {"count": 3})  # type: ignore[dict-item]
    assert torch.equal(read_tensors(path)[0]["a"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.safetensors"]
    with pytest.raises(InputError, match=r"is in the folder .*, which does not exist"):
        write_tensors(tmp_path / "no" / "t.safetensors", {}, {})


def _refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path} ") and message.endswith("; accepted: a safetensors file")
    return message.removeprefix(f"{path} ").partition(";")[0]


def test_refused_files(tmp_path: Path) -> None:
    data = save({"a": torch.ones(100)})
    length = struct.unpack("<Q", data[:8])[0]
    path = tmp_path / "t.safetensors"
    assert _refusal(path) == "cannot be read (No such file or directory)"
    assert _refusal(tmp_path) == "cannot be read (Is a directory)"
    path.write_bytes(b"")
    assert _refusal(path) == "is empty"
    for damaged in (
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"hello",
        bytes(100),
        data[:7],
        data[: 8 + length // 2],
        data[:-1],
        data + b"x",
        struct.pack("<Q", 2**60) + data[8:],
        struct.pack("<Q", length - 1) + data[8:],
        data.replace(b"[0,400]", b"[0,401]"),
        data.replace(b"[100]", b"[999]"),
        data.replace(b"F32", b"F64"),
        data.replace(b"F32", b"XYZ"),
    ):
        path.write_bytes(damaged)
        assert _refusal(path).startswith("cannot be read (")


def test_equal_tensors_are_equal_in_bytes(tmp_path: Path) -> None:
    code = """
import sys, torch
from omniup.files import write_tensors
tensors = {"a": torch.zeros(2, dtype=torch.int64), "b": torch.ones(3)}
names = reversed([f"name {index}" for index in range(20)])
write_tensors(sys.argv[1], tensors, {name: "σ" for name in names})
"""
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    names = [f"name {index}" for index in range(20)]
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int64)}
    write_tensors(ours, tensors, dict.fromkeys(names, "σ"))
    subprocess.run([sys.executable, "-c", code, theirs], check=True)
    assert read_tensors(theirs)[1]["name 7"] == "σ"
    assert ours.read_bytes() == theirs.read_bytes()
