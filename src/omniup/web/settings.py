"""Define the settings of whoever starts the server, as opposed to those of a request (`schemas`)."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch

from omniup.restoration.restorer import SMALL

DeviceName = Literal["cpu", "cuda", "mps"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the server.

    Attributes:
        hosts: the names by which the server may be called; empty for any. Others are refused, or a page elsewhere
            could reach a server on this machine by a name of its own that leads here.
        frame_ancestors: origins of other sites whose pages may show this one in a frame.
        device: what `auto` means; None for the fastest there is.
        threads: that a fit on the CPU may use; None for as many as torch would.
        queue: requests that may wait for a device.
        upload_bytes: the largest file.
        pixels: the largest image, by its header.
        values: the largest upsampled signal, in numbers: channels × height × width.
        upsampling_seconds: after which an upsampling ends without a result: what bounds its work on any machine.
        restored_pixels: the largest restored picture.
        kept_seconds: how long a run is kept.
        kept_bytes: how much all kept runs may take, in memory and on disk together; the oldest go first.
        patience: how long a request for progress waits for its run to appear, in seconds.
        mask2former: the repository of the segmentation network, or a local folder.
        offline: never fetch the weights of a network.
        restore_model: what restores pictures, as for `omniup.restoration.locate_model`; a repository of the Hugging
            Face hub must have been fetched before. A request cannot make the server fetch gigabytes.
        restore_base: sources of the published model's networks, as for `omniup.restoration.locate_model`.
    """

    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    frame_ancestors: tuple[str, ...] = ()
    device: DeviceName | None = None
    threads: int | None = None
    queue: int = 16
    upload_bytes: int = 32 * 2**20
    pixels: int = 2**25
    values: int = 2**27
    upsampling_seconds: float = 300
    restored_pixels: int = 2**22
    kept_seconds: float = 1800
    kept_bytes: int = 2**30
    patience: float = 5
    mask2former: str = "facebook/mask2former-swin-tiny-ade-semantic"
    offline: bool = False
    restore_model: str = SMALL
    restore_base: tuple[str, ...] = ()

    @property
    def devices(self) -> list[DeviceName]:
        """Devices to compute on, the default first."""
        there: dict[DeviceName, bool] = {
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
            "cpu": True,
        }
        found = [name for name, available in there.items() if available]
        return sorted(found, key=lambda name: name != self.device)  # stable: the default first
