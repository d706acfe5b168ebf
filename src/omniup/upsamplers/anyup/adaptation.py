"""Adapt AnyUp to one image by a few gradient steps without labels, at learned step sizes (MAML and Meta-SGD).

Finn, Abbeel and Levine (arXiv 1703.03400); Li, Zhou, Chen and Li (arXiv 1707.09835). The task that is learned from (the
support set) is the image itself at half its resolution: image and features are averaged over 2×2, the network upsamples
the features again, and what was there is the target. Only what comes after the encoders changes, so these run once, on
a quarter of the pixels, and a step computes no more than maps of the features' grid.

What changes are a few numbers, all zero at the start: what is added to the scales of norms, a logarithm of each head's
temperature, and terms of low rank of the projections to queries and keys. They are added to the network's own tensors,
so an adapted network is one like any other.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from omniup.errors import InputError
from omniup.mixing import DEFAULT_MEMORY, cell_means
from omniup.upsamplers.anyup.distance import distance
from omniup.upsamplers.anyup.fixed_scales import FixedScales
from omniup.upsamplers.anyup.network import HEADS, WIDTH, Network
from omniup.upsamplers.anyup.scales import Scales
from omniup.upsamplers.base import check_image
from omniup.upsamplers.checks import ImageLike, as_guidance, as_signal, check_finite
from omniup.upsamplers.consistency import add_lacking

if TYPE_CHECKING:
    from omniup.upsamplers.anyup.upsampler import AnyUp

RANK = 4

#: Shapes of the changes: of the norms before the projections to queries and keys, of the heads' temperatures, of the
#: projections' terms of low rank, and of the scales and shifts of the norms that join the two parts of the keys.
SHAPES = {"norms": (2, WIDTH), "temperature": (HEADS,), "low_rank": (2, WIDTH, RANK), "joining": (4, 2, WIDTH)}

#: Step size of all of them before any meta-training. Three such steps from the published weights lower the distance to
#: what HOG gives for an image twice as large by a tenth; at a tenth of the size they change next to nothing.
STEP_SIZE = 5.0


def halve(maps: Tensor) -> Tensor:
    """Average maps [B, C, H, W] over 2×2, or cells of nearly that size where a side is odd: [B, C, ⌈H/2⌉, ⌈W/2⌉]."""
    return cell_means(maps, (-(-maps.shape[2] // 2), -(-maps.shape[3] // 2)))


@dataclasses.dataclass(frozen=True, eq=False)
class Support:
    """An image and its features at half their resolution, encoded as far as no adapted number has a part in it.

    Attributes:
        query_maps: [1, D, h, w], that queries are projected from.
        image_part: [1, D, h/2, w/2], of the keys.
        features_part: likewise.
        reduced: [1, C, h/2, w/2], the features to be upsampled.
        features: [1, C, h, w], the target.
    """

    query_maps: Tensor
    image_part: Tensor
    features_part: Tensor
    reduced: Tensor
    features: Tensor

    @classmethod
    def batch(cls, network: Network, image: Tensor, features: Tensor) -> Iterator[Support]:
        """Encode normalised images [B, 3, H, W] at half their resolution already, each for itself."""
        reduced = halve(features)
        encoded = network.encode(image)
        image_part = network.image_part(encoded, (reduced.shape[2], reduced.shape[3]))
        maps = (
            network.query_maps(encoded, (features.shape[2], features.shape[3])),
            image_part,
            network.describe(reduced, image_part, (encoded.shape[2], encoded.shape[3])),
        )
        for parts in zip(*(each.split(1) for each in (*maps, reduced, features)), strict=True):
            yield cls(*parts)


class Adaptation(nn.Module):
    """Steps of gradient descent on a `Support`, and what is learned of them: trained along with the network.

    Attributes:
        step_sizes: one for each number that changes, by the names of the changes.
        directions: [2, RANK, D], the directions of the maps that the terms of low rank read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step_sizes = nn.ParameterDict(
            {name: nn.Parameter(torch.full(shape, STEP_SIZE)) for name, shape in SHAPES.items()}
        )
        self.directions = nn.Parameter(torch.zeros(2, RANK, WIDTH))

    @classmethod
    @torch.no_grad()
    def of(cls, network: Network) -> Adaptation:
        """Make the adaptation of a network that has none: default step sizes, and the directions it reads most."""
        adaptation = cls().to(network.rope.freqs)
        projections = network.cross_decode.cross_attn.attention.in_proj_weight.chunk(3)[:2]
        for directions, projection in zip(adaptation.directions, projections, strict=True):
            directions.copy_(torch.linalg.svd(projection).Vh[:RANK])
        return adaptation

    def forward(
        self, network: Network, support: Support, loss: SupportLoss, steps: int, *, second_order: bool = False
    ) -> dict[str, Tensor]:
        """Take steps from the network as it is.

        Args:
            network: what is adapted; it does not change.
            support: what is learned from.
            loss: of an adapted network.
            steps: how many.
            second_order: whether the result is differentiable through the gradients too (MAML), or takes them for
                constants (first-order MAML).

        Returns:
            The adapted tensors by their names in the network; differentiable in its parameters and in these.
        """
        changes = {name: sizes.new_zeros(sizes.shape, requires_grad=True) for name, sizes in self.step_sizes.items()}
        for _ in range(steps):
            at = changes if second_order else {name: c.detach().requires_grad_() for name, c in changes.items()}
            adapted = {f"network.{name}": tensor for name, tensor in self.tensors(network, at).items()}
            value = functional_call(loss, adapted, (support,))
            gradients = torch.autograd.grad(value, list(at.values()), create_graph=second_order)
            changes = {
                name: change - self.step_sizes[name] * gradient
                for (name, change), gradient in zip(changes.items(), gradients, strict=True)
            }
        return self.tensors(network, changes)

    def tensors(self, network: Network, changes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add changes to the network's tensors: those that they concern, by their names in the network."""
        decoder, attention = "cross_decode.cross_attn", network.cross_decode.cross_attn
        weights = attention.attention.in_proj_weight.chunk(3)  # of query, key and value, [D, D] each
        biases = attention.attention.in_proj_bias.chunk(3)
        low_rank = changes["low_rank"] @ self.directions  # [2, D, D]
        temperature = changes["temperature"].exp().repeat_interleave(WIDTH // HEADS)  # [D], of the queries' rows
        query = temperature.unsqueeze(1) * (weights[0] + low_rank[0])
        found = {
            f"{decoder}.norm_q.weight": attention.norm_q.weight + changes["norms"][0],
            f"{decoder}.norm_k.weight": attention.norm_k.weight + changes["norms"][1],
            f"{decoder}.attention.in_proj_weight": torch.cat([query, weights[1] + low_rank[1], weights[2]]),
            f"{decoder}.attention.in_proj_bias": torch.cat([temperature * biases[0], *biases[1:]]),
        }
        norms = [name for name, layer in network.aggregation.named_modules() if isinstance(layer, nn.GroupNorm)]
        for name, (scale, shift) in zip(norms, changes["joining"], strict=True):
            norm = network.aggregation.get_submodule(name)
            found[f"aggregation.{name}.weight"] = norm.weight + scale
            found[f"aggregation.{name}.bias"] = norm.bias + shift
        return found


class SupportLoss(nn.Module):
    """Loss of a network on a `Support`: how far its features, upsampled again, are from what was there.

    Args:
        network: the network, whose adapted tensors `functional_call` replaces.
        window_ratio: of its windows.
        memory: bytes of the attention's scratch space; None for attention that is differentiable twice, without bound.
        consistency: steps that results are given before they are compared.
    """

    def __init__(self, network: Network, window_ratio: float, memory: int | None, consistency: float = 0) -> None:
        super().__init__()
        self.network, self.window_ratio, self.memory = network, window_ratio, memory
        self.consistency = consistency

    def forward(self, support: Support) -> Tensor:
        """Compute the loss, a scalar."""
        result = self._upsample(support)  # [1, C, h, w]
        if self.consistency:
            result = add_lacking(result, support.reduced, self.consistency, self.memory or DEFAULT_MEMORY)
        return distance(result, support.features)

    def _upsample(self, support: Support) -> Tensor:
        query = self.network.cross_decode.cross_attn.queries(support.query_maps)
        key = self.network.join(support.image_part, support.features_part)
        size, grid = (query.shape[2], query.shape[3]), (key.shape[2], key.shape[3])
        if self.memory is None:
            fixed = FixedScales(self.network, size, grid, self.window_ratio, query)
            return fixed(self.network, query, key, support.reduced)
        scales = Scales.of(self.network, size, grid, self.window_ratio)
        cells = scales.cells(key, support.reduced, scales.slopes(support.reduced))
        return scales.mix(query, cells, memory=self.memory)


def adapt(anyup: AnyUp, image: ImageLike, features: Tensor, steps: int, memory: int, consistency: float = 0) -> AnyUp:
    """Do what `AnyUp.adapt` says."""
    features = check_finite(as_signal(features)).detach().to(anyup.rope.freqs.dtype)
    grid = features.shape[2], features.shape[3]
    guidance, _ = check_image(as_guidance(image, device=features.device), grid, None)
    for name, batch in (("image", guidance), ("features", features)):
        if len(batch) != 1:
            accepted = "one image: each has an adapted network of its own"
            raise InputError(name, "has {count} images", accepted, count=len(batch))
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(guidance.device.type, enabled=False):
        if features.is_inference():  # such tensors take no part in autograd
            features, guidance = features.clone(), guidance.clone()
        (normalised,) = anyup.normalise(halve(guidance))
        reduced = halve(features)
        encoded = anyup.encode_strips(normalised, (reduced.shape[2], reduced.shape[3]), grid, memory)
        with torch.no_grad():
            features_part = encoded.describe(reduced)
        support = Support(encoded.query_maps(0, grid[0]), encoded.image_part, features_part, reduced, features)
        adaptation = anyup.adaptation or Adaptation.of(anyup)
        loss = SupportLoss(anyup, anyup.window_ratio, memory, consistency)
        adapted = adaptation(anyup, support, loss, steps)
    # The same objects, so that the two networks have all that does not change in common.
    same = {id(tensor): tensor for tensor in chain(anyup.parameters(), anyup.buffers())}
    copied = copy.deepcopy(anyup, same)
    for name, tensor in adapted.items():
        layer, _, attribute = name.rpartition(".")
        setattr(copied.get_submodule(layer), attribute, nn.Parameter(tensor.detach(), requires_grad=False))
    return copied
