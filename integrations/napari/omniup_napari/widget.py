"""The widget: napari makes it from the arguments of `upsample`, and its button calls that."""

# No `from __future__ import annotations`: magicgui does not resolve this module's names in annotations that are texts.

from typing import Annotated

import napari.layers
from napari.qt.threading import create_worker

import omniup
from omniup.upsamplers import DEFAULT_METHOD
from omniup.upsamplers.signal_types import SIGNAL_TYPES
from omniup_napari.layers import LayerData, upsample_layer

METHODS = list(omniup.methods())
TYPES = ["auto", *SIGNAL_TYPES]


def upsample(
    viewer: napari.Viewer,  # type: ignore[name-defined,unused-ignore]  # mypy takes the folder for the package
    image: napari.layers.Image,
    signal: napari.layers.Layer,
    method: Annotated[str, {"choices": METHODS}] = DEFAULT_METHOD,
    signal_type: Annotated[str, {"choices": TYPES}] = "auto",
) -> None:
    """Bring a layer at low resolution to an image layer's resolution, as a new layer.

    The work runs in a thread of napari's, which shows what it raises.

    Args:
        viewer: which gets the new layer.
        image: the layer with the image at full resolution.
        signal: the layer to be upsampled: labels, a map, or features [C, h, w].
        method: of upsampling.
        signal_type: what the signal is; a layer of labels is labels.
    """

    def add(made: LayerData) -> None:
        viewer.add_layer(napari.layers.Layer.create(*made))

    worker = create_worker(
        upsample_layer, image, signal, method, signal_type, _start_thread=False, _progress={"desc": "OmniUp"}
    )
    worker.returned.connect(add)
    worker.start()
