"""`GaussianKernels.save` and `load`."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from omniup import GaussianKernels, InputError, UpsampleAnything
from omniup.upsamplers.gaussian_kernels import VERSION, History
from support.kernels import PAPER, SPEC, cast, equal, random_kernels, random_signal, smooth_image


@pytest.fixture
def fitted():
    """Kernels of an image of 8-bit pixels."""
    image = (smooth_image((24, 32), batch=2) * 255).round().to(torch.uint8)
    return UpsampleAnything.preset("paper", iterations=3).fit(image, (3, 4))


@pytest.fixture
def file(tmp_path, fitted):
    fitted.save(tmp_path / "kernels.safetensors")
    return tmp_path / "kernels.safetensors"


def contents(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118, no mapping


def test_what_is_saved_is_loaded_to_the_last_bit(fitted, file):
    loaded = GaussianKernels.load(file)
    assert equal(loaded, fitted)
    assert loaded.history == fitted.history
    assert (loaded.grid, loaded.size) == ((3, 4), (24, 32))
    signal = random_signal((3, 4), batch=2, dtype=torch.float32)
    assert torch.equal(loaded.render(signal), fitted.render(signal))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("window", [SPEC, PAPER], ids=["spec", "paper"])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_guidance_of_any_values_and_channels_is_loaded_to_the_last_bit(tmp_path, dtype, window, channels):
    kernels = cast(random_kernels((9, 13), (2, 5), window, channels=channels, batch=2), dtype)
    kernels.save(str(tmp_path / "kernels.safetensors"))
    loaded = GaussianKernels.load(str(tmp_path / "kernels.safetensors"))
    assert equal(loaded, kernels)
    assert loaded.history == History()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_8_bit_guidance_is_saved_as_such(tmp_path, dtype):
    kernels = cast(random_kernels((100, 100), (4, 4), SPEC), dtype)
    every = torch.arange(100 * 100).remainder(256).view(1, 1, 100, 100).expand(1, 3, -1, -1)
    kernels = dataclasses.replace(kernels, guidance=every.to(torch.uint8).to(dtype) / 255)
    path = tmp_path / "kernels.safetensors"
    kernels.save(path)
    assert contents(path)[0]["guidance"].dtype == torch.uint8
    assert path.stat().st_size < 3 * 100 * 100 + 4000
    assert equal(GaussianKernels.load(path), kernels)


def test_views_and_expanded_maps_are_saved(tmp_path):
    kernels = random_kernels((9, 13), (2, 5), SPEC)
    theta = torch.zeros(1).double().expand(1, 1, 2, 5)
    same = dataclasses.replace(kernels, sigma_y=kernels.sigma_x, theta=theta, guidance=kernels.guidance.flip(3))
    same.save(tmp_path / "kernels.safetensors")
    assert equal(GaussianKernels.load(tmp_path / "kernels.safetensors"), same)


def test_a_file_tells_its_format_version_and_grid(file):
    _, metadata = contents(file)
    assert metadata["format"] == "omniup.GaussianKernels"
    assert metadata["version"] == str(VERSION)
    assert json.loads(metadata["grid"]) == [3, 4]
    assert json.loads(metadata["size"]) == [24, 32]


def test_an_output_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, fitted):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError) as refusal:
        fitted.save(tmp_path / "file" / "kernels.safetensors")
    assert "\n" not in str(refusal.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError):
        fitted.save(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def refused(path, pattern=None):
    with pytest.raises(InputError, match=pattern) as refusal:
        GaussianKernels.load(path)
    message = str(refusal.value)
    assert "\n" not in message
    assert path.name in message


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 7, b"PK\x03\x04 something else", b"\xff" * 100, b"\x89PNG\r\n\x1a\n" * 10],
    ids=["empty", "zeros", "zip", "ones", "png"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "other.safetensors").write_bytes(content)
    refused(tmp_path / "other.safetensors")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, part):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))])
    refused(file)


def test_a_file_with_flipped_bytes_loads_or_is_refused(file):
    whole = file.read_bytes()
    for place in range(0, min(len(whole), 1500), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            GaussianKernels.load(file)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    refused(path, "holds no Gaussian kernels")
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    refused(path, "holds no Gaussian kernels")


def test_files_of_earlier_versions_are_read(file, fitted):
    tensors, metadata = contents(file)
    assert "colour_space" not in metadata
    for earlier in ({"version": "1"}, {"version": "2", "colour_space": "given"}):
        save_file(tensors, file, metadata | earlier)
        assert equal(GaussianKernels.load(file), fitted)


@pytest.mark.parametrize("space", ["hsv", "", "oklab"])
def test_colour_spaces_of_a_preset_that_is_gone_are_refused(tmp_path, space):
    file = tmp_path / "kernels.safetensors"
    random_kernels((9, 13), (2, 5), SPEC, channels=4).save(file)
    tensors, metadata = contents(file)
    save_file(tensors, file, metadata | {"colour_space": space})
    refused(file, f"has the colour space '{space}'; accepted: given$")


@pytest.mark.parametrize("version", ["3", "0", "1.5", "", "latest"])
def test_another_version_is_refused(file, version):
    tensors, metadata = contents(file)
    save_file(tensors, file, metadata | {"version": version})
    refused(file, f"has version '{version}'; accepted: versions up to 2$")


def without(name):
    return lambda tensors, metadata: (
        {key: tensor for key, tensor in tensors.items() if key != name},
        {key: text for key, text in metadata.items() if key != name},
    )


def with_tensor(name, change):
    return lambda tensors, metadata: (tensors | {name: change(tensors[name]).contiguous()}, metadata)


def with_text(name, text):
    return lambda tensors, metadata: (tensors, metadata | {name: text})


def with_value(value):
    def change(tensor):
        changed = tensor.clone()
        changed.view(-1)[3] = value
        return changed

    return change


MAPS = ("sigma_x", "sigma_y", "theta", "sigma_r")


@pytest.mark.parametrize(
    "tamper",
    [
        *(
            pytest.param(without(name), id=f"no {name}")
            for name in (*MAPS, "guidance", "cell_guidance", "window", "history", "grid", "size")
        ),
        *(pytest.param(with_tensor(name, with_value(0)), id=f"{name} 0") for name in MAPS if name != "theta"),
        pytest.param(with_tensor("sigma_x", torch.neg), id="sigma_x negative"),
        pytest.param(with_tensor("theta", with_value(float("nan"))), id="theta NaN"),
        pytest.param(with_tensor("sigma_r", with_value(float("inf"))), id="sigma_r infinite"),
        pytest.param(with_tensor("cell_guidance", with_value(float("nan"))), id="cell_guidance NaN"),
        pytest.param(with_tensor("sigma_x", lambda map_: map_[:, :, :2]), id="sigma_x of another grid"),
        pytest.param(with_tensor("sigma_x", lambda map_: map_[:1]), id="sigma_x of another batch"),
        pytest.param(with_tensor("sigma_x", lambda map_: map_.long()), id="sigma_x of whole numbers"),
        pytest.param(with_tensor("sigma_x", lambda map_: map_.flatten()), id="sigma_x flat"),
        pytest.param(with_tensor("guidance", lambda map_: map_[:, :2]), id="guidance of other channels"),
        pytest.param(with_tensor("guidance", lambda map_: map_[:, :, 1:]), id="guidance of another size"),
        pytest.param(with_tensor("guidance", lambda map_: map_.int()), id="guidance of whole numbers"),
        pytest.param(with_tensor("guidance", lambda map_: map_.sum().float()), id="guidance a number"),
        pytest.param(with_text("grid", "[3, 5]"), id="another grid"),
        pytest.param(with_text("grid", "12"), id="a grid of one side"),
        pytest.param(with_text("size", "[24]"), id="a size of one side"),
        pytest.param(with_text("size", "here"), id="a size that is no JSON"),
        pytest.param(with_text("window", "{}{}"), id="a window that is no JSON"),
        pytest.param(with_text("window", "[1, 2]"), id="a window that is a list"),
        pytest.param(with_text("window", '{"shape": "triangle"}'), id="a window of no shape"),
        pytest.param(with_text("window", '{"shape": "disc", "radius": 99}'), id="a window too large"),
        pytest.param(with_text("window", '{"shape": "disc", "radius": "8"}'), id="a radius that is a text"),
        pytest.param(with_text("window", '{"shape": "disc", "radius": 8, "sigmas": "2"}'), id="sigmas that are a text"),
        pytest.param(with_text("window", '{"colour": 1}'), id="a window with something else"),
        pytest.param(with_text("history", "null"), id="no history in the history"),
        pytest.param(with_text("history", '{"losses": "many"}'), id="losses that are a text"),
        pytest.param(with_text("history", "[" * 100_000), id="JSON without end"),
        pytest.param(with_tensor("guidance", lambda map_: map_.float() * 7), id="guidance outside 0..1"),
    ],
)
def test_a_tampered_file_is_refused(file, tamper):
    tensors, metadata = tamper(*contents(file))
    save_file(tensors, file, metadata)
    refused(file, "is damaged")
