"""Restore a picture by one pass through a diffusion model, without sampling: HYPIR (arXiv 2507.20590).

    latent z      what the VAE encodes the enlarged picture to, a sample of its posterior
    noise ε       the noise in z that the U-Net predicts, given a fixed timestep and a prompt
    z₀            z without it, by one step of the scheduler
    result        what the VAE decodes z₀ to, in the colours of the enlarged picture

Large pictures are cut into tiles once, and each tile goes through all of it, several at a time. The authors cut them
three times, for encoder, U-Net and decoder, which computes every overlap three times over and must make it wide, since
what is blended is not yet a picture. All that belongs to a tile lies in one tensor: the pixels of every latent cell,
and the noise that its posterior is sampled with, which is drawn for the picture as a whole. So tiles agree on it, and
results do not depend on how many are computed at a time. Tiles share the statistics of the norms as well
(`shared_norms`), and are compared where they overlap (`agreement`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.restoration.agreement import Agreement, tiled_in_agreement
from omniup.restoration.base_model import PUBLISHED
from omniup.restoration.colour import COLOURS
from omniup.restoration.model_files import locate
from omniup.restoration.networks import Networks, load_networks
from omniup.restoration.one_step import encode_prompts, one_step
from omniup.restoration.plan import Plan, free_memory, plan_tiles
from omniup.restoration.shared_norms import shared_norms
from omniup.restoration.sizes import MAX_PIXELS, check_image, resize, result_size
from omniup.restoration.tiling import Progress as Progress
from omniup.restoration.tiling import offset_progress
from omniup.upsamplers import parse_memory
from omniup.upsamplers.progress import counted

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The numbers that networks can compute with; `auto` is bf16 on GPUs that have it, fp16 on others, fp32 on CPUs."""

_OVERLAP = 3 / 8  # of neighbouring tiles, in patches: see docs/restoration.md for what that leaves out
_SMALLEST, _LARGEST = 1 / 2, 2  # sides of tiles, in patches: beyond them the network sees what it was not trained on

_MAPS = 5
"""Maps of the VAE's widest layer at full resolution that exist at a time: see `bytes_per_cell`."""


def choose_precision(precision: str, device: torch.device) -> str:
    """Resolve `auto` on a device: `fp32`, `bf16` or `fp16`.

    Raises:
        InputError: there is no such precision.
    """
    if precision == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return "fp16" if device.type == "mps" else "fp32"
    if precision not in PRECISIONS:
        raise InputError("precision", "is {value!r}", "auto, {names}", value=precision, names=", ".join(PRECISIONS))
    return precision


def too_little_memory(available: float, needed: float, side: int, precision: str) -> InputError:
    """Make the refusal of a memory that the smallest tile does not fit into.

    Args:
        available: bytes.
        needed: bytes for that tile.
        side: of it, in pixels.
        precision: that it is computed in.
    """
    return InputError(
        "memory",
        "is {available:.0f} MB",
        "{needed:.0f} MB or more, for a tile of {side} × {side} pixels in {precision}",
        available=available / 2**20,
        needed=needed / 2**20,
        side=side,
        precision=precision,
    )


class Enhancer:
    """A restorer of pictures with one set of networks.

    Args:
        networks: what to restore with. They are taken over, moved and converted.
        device: where to compute.
        precision: one of `PRECISIONS`, or `auto`. What is not a network's is computed in float32.

    Attributes:
        agreement: of the tiles of each picture of the last call.

    Raises:
        InputError: there is no such precision.

    Example:
        >>> import torch
        >>> from omniup.restoration import Enhancer
        >>> enhancer = Enhancer.from_pretrained("tiny")
        >>> enhancer(torch.rand(1, 3, 30, 40), scale=2).shape
        torch.Size([1, 3, 60, 80])
    """

    def __init__(self, networks: Networks, *, device: torch.device | str = "cpu", precision: str = "auto") -> None:
        self.device = torch.device(device)
        self.precision = choose_precision(precision, self.device)
        self.networks = networks
        networks.to(self.device, PRECISIONS[self.precision])
        self.agreement: list[Agreement] = []
        self._texts: dict[str, Tensor] = {}
        self._in_use = threading.Lock()  # the norms of the networks are changed while a picture is restored

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = PUBLISHED,
        *,
        base: Sequence[str] | None = None,
        weights: str | Path | None = None,
        offline: bool = False,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> Enhancer:
        """Load a model's networks and make an enhancer of them.

        Args:
            model: `tiny`; a folder in diffusers' layout; or a repository of the Hugging Face hub.
            base: sources of the published model's networks, tried in order: repositories of the hub, URLs that the
                files lie below, or folders. By default the original and two mirrors.
            weights: a LoRA file for the U-Net. By default the one in the folder, else the published one; none for
                `tiny`.
            offline: take files that are on this machine only, as the environment variable HF_HUB_OFFLINE does.
            device: where to compute.
            precision: one of `PRECISIONS`, or `auto`.

        Raises:
            InputError: files are missing, damaged or do not fit; says which, and how they are to be had.
            MissingPackageError: diffusers, transformers or peft is not installed.
        """
        files = locate(model, base=base, weights=weights, offline=offline)
        return cls(load_networks(files), device=device, precision=precision)

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        *,
        scale: float = 4,
        longest_side: int | None = None,
        prompt: str = "",
        seed: int = 0,
        colour: str = "wavelet",
        tile: int | None = None,
        memory: int | str | None = None,
        batch: int | None = None,
        progress: Progress | bool | None = None,
    ) -> Tensor:
        """Restore a picture.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            scale: how much larger the result is.
            longest_side: of the result, in pixels; stands in for `scale`.
            prompt: what the picture shows; what its tokenizer cannot take in, some 75 tokens, is left out.
            seed: of the noise with which the latents are sampled, which is the same for all pictures of a batch.
            colour: `wavelet`, `adain` or `none`.
            tile: the longest side that a tile may have, in pixels. By default what the memory allows, and at most
                twice the sides of the pictures that the networks were trained on.
            memory: what the tiles may take, beyond networks, picture and result: bytes, or a text such as `"4GB"`. By
                default half of what is free on the device.
            batch: how many tiles may be computed at a time, which changes nothing but how often progress is reported;
                by default as many as the memory allows, up to eight.
            progress: called with the finished tiles, and with all. True shows a bar.

        Returns:
            [B, 3, H', W'] float32 in 0..1, on the enhancer's device.

        Raises:
            InputError: an argument cannot be accepted, or the memory does not suffice for the smallest tile.
        """
        check_image(image)
        if colour not in COLOURS:
            raise InputError("colour", "is {value!r}", "{names}", value=colour, names=", ".join(COLOURS))
        size = result_size(image, scale, longest_side)
        # Not clamped: the authors' networks and colours see the overshoot of the bicubic enlargement beyond 0..1.
        enlarged = resize(image.to(self.device, torch.float32), size)  # [B, 3, H', W']
        worked_on = resize(enlarged, self._working_size(size))  # [B, 3, H″, W″]
        cells = self._cells(worked_on, seed)  # [B, 3·f² + L, h, w]
        plan = self.plan(*cells.shape[2:], tile=tile, memory=memory, pictures=len(image))
        most = plan.batch if batch is None else min(batch, plan.batch)
        with self._in_use, counted(progress, "restore") as show:
            text = self._text(prompt)  # [1, T, D]
            restored = self._restore_pictures(cells, text, plan, most, show)  # [B, 3, f·h, f·w] in -1..1
        restored = restored[:, :, : worked_on.shape[2], : worked_on.shape[3]]  # [B, 3, H″, W″]
        restored = resize((restored + 1) / 2, size)  # [B, 3, H', W'] in 0..1
        return COLOURS[colour](restored, enlarged).clamp(0, 1)

    def check(self, *, tile: int | None = None, memory: int | str | None = None) -> None:
        """Refuse settings with which no picture can be restored, before the first.

        Raises:
            InputError: the tile is too small, or the memory does not suffice for the smallest one.
        """
        side = self.networks.recipe.patch // self.networks.cell
        self.plan(side, side, tile=tile, memory=memory)

    def plan(
        self, height: int, width: int, *, tile: int | None = None, memory: int | str | None = None, pictures: int = 1
    ) -> Plan:
        """Lay out the tiles of a picture.

        Args:
            height: of the picture that the networks see, in cells of the latents.
            width: likewise.
            tile: as for a call.
            memory: as for a call.
            pictures: how many there are at a time.

        Raises:
            InputError: the tile is too small, or the memory does not suffice for the smallest one.
        """
        cell, patch = self.networks.cell, self.networks.recipe.patch
        smallest, largest, overlap = (round(patch * part / cell) for part in (_SMALLEST, _LARGEST, _OVERLAP))
        if tile is not None:
            if tile < smallest * cell:
                raise InputError("tile", "is {value}", "{least} pixels or more", value=tile, least=smallest * cell)
            largest = tile // cell
        available = free_memory(self.device) if memory is None else parse_memory(memory)
        needed = self._bytes_per_cell()
        most = available // needed
        if most < (least := min(smallest, height) * min(smallest, width)):
            raise too_little_memory(available, least * needed, smallest * cell, self.precision)
        return plan_tiles(
            height, width, overlap=overlap, smallest=smallest, largest=largest, most=most, pictures=pictures
        )

    def _restore_pictures(
        self, cells: Tensor, text: Tensor, plan: Plan, batch: int, progress: Progress | None
    ) -> Tensor:
        """Restore pictures: together where each is one tile, else one by one, since tiles share a picture's norms.

        Returns:
            [B, 3, f·h, f·w] float32 in -1..1, more or less.
        """
        self.agreement = []
        tiles, others = plan.grid[0] * plan.grid[1], len(cells) - 1
        made = []
        if tiles == 1:
            for some in cells.split(batch):  # [b, 3·f² + L, h, w]
                made.append(self._restore(some, text))
                self.agreement += [Agreement(1, (), ())] * len(some)
                if progress is not None:
                    progress(len(self.agreement), len(cells))
            return torch.cat(made)
        for index, picture in enumerate(cells.split(1)):  # [1, 3·f² + L, h, w]
            counting = offset_progress(progress, index * tiles, others * tiles)
            restored, agreement = self._restore_tiles(picture, text, plan, batch, counting)
            made.append(restored)
            self.agreement.append(agreement)
        return torch.cat(made)

    def _restore_tiles(
        self, cells: Tensor, text: Tensor, plan: Plan, batch: int, progress: Progress | None
    ) -> tuple[Tensor, Agreement]:
        """Restore a picture tile by tile, with norms that all tiles share.

        Returns:
            [1, 3, f·h, f·w] float32 in -1..1, more or less; and how well the tiles agree.
        """
        restore = tiled_in_agreement(
            lambda tiles: self._restore(tiles, text),
            size=plan.size,
            stride=plan.stride,
            scale=self.networks.cell,
            batch=batch,
            progress=progress,
        )
        sample = middle(cells, plan.size)
        with shared_norms(self.networks.vae, self.networks.unet, gather=lambda: self._restore(sample, text)):
            return restore(cells)

    def _restore(self, cells: Tensor, text: Tensor) -> Tensor:
        """Restore a batch of tiles by encoder, U-Net and decoder.

        Args:
            cells: [n, 3·f² + L, h, w], pixels in -1..1 and noise.
            text: [1, T, D].

        Returns:
            [n, 3, f·h, f·w] float32 in -1..1, more or less.
        """
        cells = cells.to(self.networks.dtype)
        channels = self.networks.latent_channels
        pixels, noise = cells[:, :-channels], cells[:, -channels:]
        return one_step(self.networks, F.pixel_shuffle(pixels, self.networks.cell), noise, text).float()

    def _cells(self, image: Tensor, seed: int) -> Tensor:
        """Arrange pixels in -1..1 and noise by the cells of the latents.

        Pictures are padded at the right and at the bottom with zeros, which are grey, to whole cells.

        Returns:
            [B, 3·f² + L, h, w] for the VAE's factor f and latents of L numbers.
        """
        cell = self.networks.cell
        down, across = (-side % cell for side in image.shape[2:])
        padded = F.pad(image * 2 - 1, (0, across, 0, down))  # [B, 3, f·h, f·w]
        pixels = F.pixel_unshuffle(padded, cell)  # [B, 3·f², h, w]
        # Drawn on the CPU, where the same seed gives the same numbers for every device.
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn((1, self.networks.latent_channels, *pixels.shape[2:]), generator=generator)
        return torch.cat([pixels, drawn.to(pixels).expand(len(pixels), -1, -1, -1)], dim=1)

    def _text(self, prompt: str) -> Tensor:
        """Encode a prompt for the U-Net: [1, T, D]; the last one is kept, as many pictures share it."""
        if prompt not in self._texts:
            self._texts = {prompt: encode_prompts(self.networks, [prompt])}
        return self._texts[prompt]

    def _working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size at which the networks see a picture: its short side is no smaller than in training."""
        shorter, patch = min(size), self.networks.recipe.patch
        if shorter >= patch:
            return size
        height, width = (max(patch, round(side * patch / shorter)) for side in size)
        if height * width > MAX_PIXELS:
            raise InputError(
                "image",
                "is too thin: its {H} × {W} pixels are worked on as {height} × {width}",
                "{most} pixels in all",
                H=size[0],
                W=size[1],
                height=height,
                width=width,
                most=MAX_PIXELS,
            )
        return height, width

    def _bytes_per_cell(self) -> int:
        """Estimate the memory that a tile takes per cell."""
        return bytes_per_cell(self.networks.vae, PRECISIONS[self.precision])


def middle(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a sample as large as a tile out of the middle of a picture [1, C, H, W]: [1, C, h, w].

    As large as a tile, since the border of a tile, where convolutions see zeros, has its part in the statistics.
    """
    top, left = ((whole - side) // 2 for whole, side in zip(cells.shape[2:], size, strict=True))
    return cells[:, :, top : top + size[0], left : left + size[1]]


def bytes_per_cell(vae: Any, dtype: torch.dtype) -> int:
    """Estimate the memory that a tile takes per cell of the latents.

    The decoder's last block is the widest by far: at full resolution it holds its input, as wide as the layer below,
    several times over: as it is, normalised, activated, and laid out for the convolution. `benchmarks/restoration.py`
    measures it.

    Args:
        vae: diffusers' AutoencoderKL.
        dtype: of the numbers that it computes with.
    """
    widths = vae.config.block_out_channels
    pixels = 4 ** (len(widths) - 1)
    return int(widths[min(1, len(widths) - 1)] * _MAPS * dtype.itemsize * pixels)
