"""Mix the pairs of many batches in a pool, so that a batch holds images that were degraded apart.

The images of one batch share its sizes. Training takes its batches from a pool of many, so that they differ in this too
(Real-ESRGAN, arXiv 2107.10833, training details).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from omniup.errors import InputError


class PairPool:
    """A pool of `size` pairs, as bytes, on the device of the first batch.

    Args:
        size: of the pool, in pairs.
        generator: on the CPU; decides which pairs leave. Its state belongs to the pool's.
    """

    def __init__(self, size: int, generator: torch.Generator) -> None:
        self.size, self.generator = size, generator
        self._pairs: Tensor | None = None  # [size, 2, 3, H, W] uint8, of which the first len(self._prompts) are there
        self._prompts: list[str] = []

    def __len__(self) -> int:
        return len(self._prompts)

    def exchange(self, lq: Tensor, target: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor, list[str]]:
        """Put a batch in and take another out.

        While there is room the batch is kept and given back as it is. From then on as many pairs as it has, any of
        the pool with equal odds, leave and make room for it.

        Args:
            lq: [B, 3, H, W] of 256 levels in 0..1, H × W as in the first batch.
            target: likewise.
            prompts: B texts, which stay with their pairs.

        Returns:
            lq and target [B, 3, H, W] and their B prompts.

        Raises:
            InputError: the batch is larger than the pool, its images are of another size than those before, or there
                are not as many prompts.
        """
        if len(prompts) != len(lq):
            raise InputError(
                "prompts", "are {count}", "one for each of {images} images", count=len(prompts), images=len(lq)
            )
        batch = torch.stack([lq, target], dim=1).mul_(255).round_().byte()  # [B, 2, 3, H, W]
        if len(batch) > self.size:
            raise InputError(
                "pool_size", "is {value}", "sizes from that of a batch on, {least}", value=self.size, least=len(batch)
            )
        if self._pairs is None:
            self._pairs = batch.new_empty(self.size, *batch.shape[1:])
        if batch.shape[1:] != self._pairs.shape[1:]:
            (height, width), (rows, columns) = batch.shape[-2:], self._pairs.shape[-2:]
            raise InputError(
                "images",
                "have {height} x {width} pixels",
                "those of the batches before, {rows} x {columns}",
                height=height,
                width=width,
                rows=rows,
                columns=columns,
            )
        if len(self) + len(batch) <= self.size:
            self._pairs[len(self) : len(self) + len(batch)] = batch
            self._prompts += prompts
            return lq, target, list(prompts)

        # The published pool is shuffled as a whole and its first pairs leave: the same odds, for more copying.
        places = torch.randperm(len(self), generator=self.generator)[: len(batch)].tolist()
        leaving = torch.stack([self._pairs[place] for place in places]).to(lq).div_(255)  # [B, 2, 3, H, W]
        left = [self._prompts[place] for place in places]
        for place, pair, prompt in zip(places, batch, prompts, strict=True):
            self._pairs[place], self._prompts[place] = pair, prompt
        return leaving[:, 0], leaving[:, 1], left

    def state_dict(self) -> dict[str, Any]:
        """Return the state, to continue exactly: tensors on the CPU and texts."""
        pairs = torch.empty(0, dtype=torch.uint8) if self._pairs is None else self._pairs[: len(self)].cpu()
        return {"pairs": pairs, "prompts": list(self._prompts), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: there are more pairs than this pool holds.
        """
        pairs, prompts = state["pairs"], state["prompts"]
        if len(prompts) > self.size:
            raise InputError(
                "pool_size",
                "is {value}",
                "sizes from {least} on, which were saved",
                value=self.size,
                least=len(prompts),
            )
        self._pairs, self._prompts = None, list(prompts)
        if prompts:
            self._pairs = pairs.new_empty(self.size, *pairs.shape[1:], device=device)
            self._pairs[: len(prompts)] = pairs.to(device)
        self.generator.set_state(state["generator"])
