"""The napari plugin: what it does with layers, on stand-ins of napari's layers, worker and viewer; and its manifest."""

import importlib
import importlib.util
import inspect
import subprocess
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import omniup
from omniup import InputError
from support.documents import ROOT

FOLDER = ROOT / "integrations" / "napari"
MANIFEST = FOLDER / "omniup_napari" / "napari.yaml"


class Layer(SimpleNamespace):
    """What the plugin knows of a layer, and how it makes one."""

    @classmethod
    def create(cls, data, attributes, kind):
        return cls(data=data, kind=kind, **attributes)


def image_layer(data, **changes):
    attributes = {"name": "photo", "scale": (0.5, 0.5), "translate": (3.0, 4.0), "contrast_limits": (0, 255)}
    return Layer(**{"data": data, "rgb": data.ndim == 3, **attributes, **changes})


def low_layer(data, **changes):
    last = {"scale": (8.0,) * data.ndim, "translate": (0.0,) * data.ndim}
    return Layer(**{"data": data, "name": "low", "rgb": False, **last, **changes})


@pytest.fixture
def plugin(monkeypatch):
    """The package, loaded with stand-ins for what it takes of napari."""
    started = []

    class Signal:
        def __init__(self):
            self.functions = []

        def connect(self, function):
            self.functions.append(function)

    class Worker:
        def __init__(self, function, arguments):
            self.returned, self.run = Signal(), lambda: function(*arguments)

        def start(self):
            started.append(self)
            made = self.run()
            for function in self.returned.functions:
                function(made)

    def create_worker(function, *arguments, _start_thread, _progress):
        assert _start_thread is False  # else the work could end before its result is awaited
        return Worker(function, arguments)

    modules = {name: types.ModuleType(name) for name in ("napari", "napari.layers", "napari.qt", "napari.qt.threading")}
    modules["napari"].layers, modules["napari"].Viewer = modules["napari.layers"], SimpleNamespace
    modules["napari.layers"].Layer = modules["napari.layers"].Image = Layer
    modules["napari.qt.threading"].create_worker = create_worker
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(
        layers=importlib.import_module("omniup_napari.layers"),
        widget=importlib.import_module("omniup_napari.widget"),
        started=started,
    )
    for name in [each for each in sys.modules if each.partition(".")[0] == "omniup_napari"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def photo():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_features_come_to_the_image_s_pixels_and_place(plugin, photo):
    features = np.random.default_rng(1).normal(size=(5, 6, 8)).astype(np.float32)
    array, attributes, kind = plugin.layers.upsample_layer(
        image_layer(photo), low_layer(features), "pyramid_bilateral", "auto"
    )
    assert kind == "image"
    assert attributes == {
        **{"name": "low (pyramid_bilateral)", "rgb": False},
        **{"scale": (1.0, 0.5, 0.5), "translate": (0.0, 3.0, 4.0)},
    }
    expected = omniup.upsample(
        torch.from_numpy(photo).movedim(-1, 0)[None].float() / 255, torch.from_numpy(features)[None]
    )
    np.testing.assert_allclose(array, expected[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.int64])
def test_labels_stay_labels(plugin, photo, dtype):
    labels = np.repeat(np.repeat(np.array([[0, 7], [9, 200]], dtype), 3, 0), 4, 1)
    array, attributes, kind = plugin.layers.upsample_layer(
        image_layer(photo), low_layer(labels, selected_label=1), "bilinear", "features"
    )
    assert kind == "labels"
    assert "rgb" not in attributes
    assert array.shape == (48, 64)
    assert array.dtype.kind in "ui"
    assert set(np.unique(array)) == {0, 7, 9, 200}
    assert array[0, 0] == 0
    assert array[-1, -1] == 200


def test_a_map_and_colours(plugin, photo):
    depth = np.linspace(1, 2, 48, dtype=np.float32).reshape(6, 8)
    array, attributes, _ = plugin.layers.upsample_layer(image_layer(photo), low_layer(depth), "bilinear", "measurement")
    assert array.shape == (48, 64)
    assert attributes["scale"] == (0.5, 0.5)
    small = np.random.default_rng(2).random((6, 8, 3), np.float32)
    array, attributes, _ = plugin.layers.upsample_layer(
        image_layer(photo), low_layer(small, rgb=True), "bilinear", "measurement"
    )
    assert array.shape == (48, 64, 3)
    assert attributes["rgb"]
    assert attributes["scale"] == (0.5, 0.5)


def test_guidance_lies_between_the_contrast_limits(plugin):
    grey = np.array([[100, 200], [300, 1000]], np.uint16)
    guidance = plugin.layers.guidance_of(image_layer(grey, contrast_limits=(100, 300)))
    torch.testing.assert_close(guidance, torch.tensor([[[[0.0, 0.5], [1.0, 1.0]]]]))
    rgba = np.full((2, 2, 4), 0.25, np.float32)
    assert plugin.layers.guidance_of(image_layer(rgba)).tolist() == [[[[0.25] * 2] * 2] * 3]


def test_what_it_cannot_take_is_named(plugin, photo):
    with pytest.raises(InputError, match="image has the shape"):
        plugin.layers.guidance_of(image_layer(photo, rgb=False))
    with pytest.raises(InputError, match="signal has the shape"):
        plugin.layers.upsample_layer(
            image_layer(photo), low_layer(np.zeros((2, 2, 3, 3), np.float32)), "bilinear", "auto"
        )


def test_the_widget_runs_in_a_worker_and_adds_a_layer(plugin, photo):
    added = []
    viewer = SimpleNamespace(add_layer=added.append)
    depth = np.ones((6, 8), np.float32)
    assert plugin.widget.upsample(viewer, image_layer(photo), low_layer(depth), "bilinear", "measurement") is None
    assert len(plugin.started) == 1
    (layer,) = added
    assert (layer.kind, layer.name, layer.data.shape) == ("image", "low (bilinear)", (48, 64))


def test_its_menus_offer_every_method_and_type(plugin):
    hints = inspect.get_annotations(plugin.widget.upsample)
    assert not any(isinstance(hint, str) for hint in hints.values())  # magicgui 0.10 refuses names of the module there
    assert hints["method"].__metadata__ == ({"choices": list(omniup.methods())},)
    defaults = {name: each.default for name, each in inspect.signature(plugin.widget.upsample).parameters.items()}
    assert defaults["method"] in hints["method"].__metadata__[0]["choices"]
    assert defaults["signal_type"] in hints["signal_type"].__metadata__[0]["choices"]


def test_the_manifest_names_what_is_there(plugin):
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    commands = {command["id"]: command["python_name"] for command in manifest["contributions"]["commands"]}
    for name in commands.values():
        module, function = name.split(":")
        assert callable(getattr(importlib.import_module(module), function))
    assert {widget["command"] for widget in manifest["contributions"]["widgets"]} <= commands.keys()
    project = (FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    assert f'name = "{manifest["name"]}"' in project
    assert f'{manifest["name"]} = "omniup_napari:napari.yaml"' in project


@pytest.mark.skipif(importlib.util.find_spec("npe2") is None, reason="npe2, which checks manifests, is not installed")
def test_npe2_accepts_the_manifest():
    checked = subprocess.run([sys.executable, "-m", "npe2", "validate", str(MANIFEST)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
