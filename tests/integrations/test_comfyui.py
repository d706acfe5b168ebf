"""The nodes of ComfyUI, loaded and called as ComfyUI does, without it: by their mappings, inputs and functions."""

import importlib.util
import inspect
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import omniup
from support.documents import text

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"

#: Types of sockets that ComfyUI knows, and ours.
SOCKETS = {"IMAGE", "MASK", "CLIP_VISION_OUTPUT", "OMNIUP_FEATURES"}
#: Types of inputs that are shown as widgets; a list of names is a menu.
WIDGETS = {"STRING": str, "INT": int, "FLOAT": float, "BOOLEAN": bool}


@pytest.fixture(scope="module")
def package():
    """The folder, loaded as ComfyUI loads one in `custom_nodes`: by its path, under a name of its own."""
    name = "custom_nodes_omniup"
    place = importlib.util.spec_from_file_location(
        name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    module = importlib.util.module_from_spec(place)
    sys.modules[name] = module
    place.loader.exec_module(module)
    yield module
    for loaded in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[loaded]


@pytest.fixture(scope="module")
def call(package):
    """Call a node as ComfyUI does: the function that it names, all inputs by name, widgets at their defaults."""

    def run(name, **inputs):
        node = package.NODE_CLASS_MAPPINGS[name]
        declared = node.INPUT_TYPES()["required"]
        defaults = {key: default(*each) for key, each in declared.items() if key not in inputs}
        outputs = getattr(node(), node.FUNCTION)(**defaults, **inputs)
        assert isinstance(outputs, tuple)
        assert len(outputs) == len(node.RETURN_TYPES)
        return outputs[0]

    return run


def default(kind, options=None):
    """What a widget holds until it is changed."""
    options = options or {}
    return options.get("default", kind[0]) if isinstance(kind, list) else options["default"]


def is_image(image):
    assert image.dtype == torch.float32
    assert image.device.type == "cpu"
    assert image.ndim == 4
    assert 0 <= image.min() <= image.max() <= 1
    return True


NODES = [
    *("OmniUpUpsampleMask", "OmniUpUpsampleDepth", "OmniUpDenseFeatures"),
    *("OmniUpUpsampleCLIPVision", "OmniUpFeaturesPicture", "OmniUpRestore", "OmniUpRedraw"),
]


def test_all_nodes_have_names_to_show_which_the_guide_lists(package):
    assert list(package.NODE_CLASS_MAPPINGS) == list(package.NODE_DISPLAY_NAME_MAPPINGS) == NODES
    listed = re.findall(r"^\| ([\w ]+ \(OmniUp\)) \|", text("docs/tools.md"), re.MULTILINE)
    assert listed == list(package.NODE_DISPLAY_NAME_MAPPINGS.values())


@pytest.mark.parametrize("name", NODES)
def test_a_node_declares_what_comfyui_asks(package, name):
    node = package.NODE_CLASS_MAPPINGS[name]
    assert (node.CATEGORY, type(node.DESCRIPTION)) == ("OmniUp", str)
    assert set(node.RETURN_TYPES) <= SOCKETS
    declared = node.INPUT_TYPES()
    assert set(declared) == {"required"}
    for kind, *options in declared["required"].values():
        if isinstance(kind, list):
            assert default(kind, *options) in kind
        elif kind in WIDGETS:
            assert isinstance(default(kind, *options), WIDGETS[kind])
        else:
            assert kind in SOCKETS
    taken = inspect.signature(getattr(node, node.FUNCTION)).parameters
    assert list(taken) == ["self", *declared["required"]]


@pytest.mark.parametrize(("images", "masks"), [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_masks_follow_the_edges_of_the_image(call, images, masks):
    image = torch.zeros(images, 64, 96, 4)  # with alpha
    image[:, :, 40:, :3] = 1  # an edge within a cell
    low = F.avg_pool2d(image[..., 0], 16)[:1].expand(masks, -1, -1)
    mask = call("OmniUpUpsampleMask", image=image, mask=low)
    assert mask.shape == (3 if 3 in (images, masks) else 1, 64, 96)
    assert 0 <= mask.min() <= mask.max() <= 1
    assert (mask.round() == image[:, :, :, 0]).float().mean() > 0.99


@pytest.mark.parametrize(("images", "maps"), [(1, 1), (1, 2), (2, 1)])
def test_depth_is_a_grey_image_whose_holes_are_filled(call, images, maps):
    depth = torch.full((maps, 8, 12, 3), 0.5)
    depth[:, 2:4, 3:5] = 0
    image = torch.rand(images, 64, 96, 3)
    full = call("OmniUpUpsampleDepth", image=image, depth=depth, zeros_are_holes=True)
    assert full.shape == (max(images, maps), 64, 96, 3)
    assert is_image(full)
    torch.testing.assert_close(full, torch.full_like(full, 0.5))
    assert call("OmniUpUpsampleDepth", image=image, depth=depth).min() < 0.1


def test_features_and_their_picture(call):
    image = torch.rand(2, 48, 64, 3)
    features = call("OmniUpDenseFeatures", image=image, encoder="projection")
    assert features.shape == (2, 32, 48, 64)
    torch.testing.assert_close(features, omniup.features(image.movedim(-1, 1), "projection", resolution=518))
    picture = call("OmniUpFeaturesPicture", features=features)
    assert picture.shape == (2, 48, 64, 3)
    assert is_image(picture)


@pytest.mark.parametrize("class_tokens", [0, 1])
def test_tokens_of_clip_vision_lose_those_of_classes(call, class_tokens):
    image, patches = torch.rand(1, 64, 64, 3), torch.rand(1, 16, 5)
    tokens = torch.cat([torch.full((1, class_tokens, 5), 1e6), patches], 1)
    features = call("OmniUpUpsampleCLIPVision", image=image, clip_vision_output={"last_hidden_state": tokens})
    grid = patches.mT.reshape(1, 5, 4, 4)
    expected = omniup.upsample(image.movedim(-1, 1), grid, signal_type="features")
    torch.testing.assert_close(features, expected)


def test_restoring(call):
    image = torch.rand(2, 24, 32, 3, generator=torch.Generator().manual_seed(0))
    restored = call("OmniUpRestore", image=image, scale=1.5)
    assert restored.shape == (2, 36, 48, 3)
    assert is_image(restored)
    torch.testing.assert_close(call("OmniUpRestore", image=image, strength=0.0), image)


@pytest.mark.slow
def test_redrawing_keeps_the_networks_and_can_be_cancelled(call, package, monkeypatch):
    pytest.importorskip("diffusers")
    image = torch.rand(2, 24, 32, 3)
    load = sys.modules[package.__name__ + ".nodes"].load_model
    load.cache_clear()
    restored = call("OmniUpRedraw", image=image, model="tiny")
    assert restored.shape == (2, 48, 64, 3)
    assert is_image(restored)
    assert torch.equal(restored, call("OmniUpRedraw", image=image, model="tiny"))
    assert load.cache_info().hits == 1

    class CancelledError(Exception):
        pass

    def cancel():
        raise CancelledError

    management = types.ModuleType("comfy.model_management")
    management.get_torch_device = lambda: torch.device("cpu")
    management.throw_exception_if_processing_interrupted = cancel
    monkeypatch.setitem(sys.modules, "comfy", types.ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    with pytest.raises(CancelledError):
        call("OmniUpRedraw", image=image, model="tiny")


def test_what_cannot_be_accepted_is_said_in_one_line(call):
    with pytest.raises(omniup.InputError, match=r"^signal "):
        call("OmniUpUpsampleMask", image=torch.rand(3, 32, 32, 3), mask=torch.rand(2, 4, 4))
