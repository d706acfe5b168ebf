"""Upsample inside a network: `omniup.nn.Upsample`, a layer in place of `torch.nn.Upsample`.

    self.upsample = omniup.nn.Upsample(signal_type="logits")
    logits = self.upsample(image, self.head(features))

The layer is a method with its settings. Only AnyUp's network has weights, which are constants.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.jit._trace import is_tracing

from omniup.errors import InputError
from omniup.upsamplers import DEFAULT_METHOD, SIGNAL_TYPES, methods, upsampler
from omniup.upsamplers.base import uncompiled
from omniup.upsamplers.checks import (
    DEFAULT_MEMORY,
    ImageLike,
    Size,
    as_guidance,
    as_signal,
    check_choice,
    chosen_size,
    parse_memory,
)
from omniup.upsamplers.consistency import parse_consistency
from omniup.upsamplers.holes import HOLES

__all__ = ["Upsample"]


class Upsample(nn.Module):
    """Upsample signals inside a network by any method, sharp along the edges of their images.

    Results are those of `omniup.upsample`, whose masks of scattered measurements alone are averaged down first. They
    are differentiable in the signal, but for labels; in the image too with `anyup`, `guided_filter` and the
    interpolations, while any other method refuses an image that requires a gradient.

    The state dict is empty, as of `torch.nn.Upsample`, but with `anyup` and `ensemble`: the weights of AnyUp's network,
    which come without gradients and stay in evaluation mode when the network around them is trained. Autocast changes
    nothing: weights of the mix are computed in float32, and the result has the signal's dtype. `torch.nn.DataParallel`
    splits image and signal, so give both as batches of one length. `torch.compile` leaves the layer out of its graph.
    TorchScript, `torch.jit.trace` and `torch.export` are refused; `omniup.upsamplers.anyup.export_onnx` exports AnyUp.

    Args:
        method: one of `omniup.methods()`.
        signal_type: as in `omniup.upsample`. Declared, since `"auto"` looks at the values, which training changes.
        holes: as in `omniup.upsample`.
        consistency: likewise.
        memory: likewise; what autograd keeps comes on top.
        **settings: of the method: see `omniup.methods()[method].settings`.

    Raises:
        InputError: no such method, or a setting that it does not take.

    Example:
        >>> import omniup, torch
        >>> layer = omniup.nn.Upsample("joint_bilateral", sigma_r=0.1)
        >>> features = torch.rand(2, 8, 4, 6, requires_grad=True)
        >>> layer(torch.rand(2, 3, 64, 96), features).sum().backward()
        >>> features.grad.shape
        torch.Size([2, 8, 4, 6])
    """

    def __init__(
        self,
        method: str = DEFAULT_METHOD,
        *,
        signal_type: str = "features",
        holes: str = "fill",
        consistency: float | str | None = "auto",
        memory: int | str = DEFAULT_MEMORY,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.upsampler = upsampler(method, **settings)
        networks = _networks(self.upsampler)  # registered, so that they are copied to every device
        self.networks = nn.ModuleDict(networks) if networks else networks
        check_choice("signal_type", signal_type, ("auto", *SIGNAL_TYPES))
        check_choice("holes", holes, HOLES)
        parse_consistency(consistency, 0.0)
        parse_memory(memory)
        self.method = method
        self.signal_type = signal_type
        self.holes = holes
        self.consistency = consistency
        self.memory = memory
        self.settings = settings
        self.image_gradient = methods()[method].image_gradient
        self.train(self.training)

    @uncompiled
    def forward(
        self, image: ImageLike, signal: Tensor, size: Size | int | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Upsample a signal.

        Args:
            image: [B, G, H, W], floating point in 0..1 or 8-bit integers; one image may serve many signals.
            signal: [B, C, h, w].
            size: (H', W') of the result, in pixels, or its longer side; the image's own by default.
            valid: boolean [B, 1, h, w], True where a cell counts; all by default.

        Returns:
            [B, C, H', W'] in the signal's dtype, on its device.

        Raises:
            InputError: an argument cannot be accepted; the image requires a gradient, which the method does not have;
                or the layer is being exported.
        """
        if is_tracing() or torch.compiler.is_compiling():
            self._refuse("exported")
        signal = as_signal(signal)
        guidance = as_guidance(image, device=signal.device)
        if torch.is_grad_enabled() and guidance.requires_grad and not self.image_gradient:
            problem = "requires a gradient, which {method} does not have"
            able = ", ".join(name for name, method in methods().items() if method.image_gradient)
            raise InputError("image", problem, "image.detach(), or one of {methods}", method=self.method, methods=able)
        method = dataclasses.replace(cast(Any, self.upsampler), **self.networks) if self.networks else self.upsampler
        sides = chosen_size(size, (guidance.shape[2], guidance.shape[3]))
        prepared = method.prepare(guidance, (signal.shape[2], signal.shape[3]), sides, memory=self.memory)
        return prepared.render(
            signal,
            self.signal_type,
            valid=valid,
            holes=self.holes,
            consistency=self.consistency,
            memory=self.memory,
        )

    def train(self, mode: bool = True) -> Upsample:
        """Set the mode, but keep networks in evaluation mode: their weights are constants of the layer."""
        super().train(mode)
        for network in self.children():
            network.eval()
        return self

    def extra_repr(self) -> str:
        """Return what `repr` says of the settings."""
        settings = {"method": self.method, "signal_type": self.signal_type, **self.settings}
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse `torch.jit.script`, which calls this of every layer of a network."""
        self._refuse("scripted")

    def _refuse(self, how: str) -> NoReturn:
        problem = "cannot be {how}: how the work is cut depends on sizes and values"
        accepted = "plain Python and torch.compile; omniup.upsamplers.anyup.export_onnx exports AnyUp"
        raise InputError("omniup.nn.Upsample", problem, accepted, how=how)


def _networks(method: Any) -> dict[str, nn.Module]:
    """Return the networks in the fields of a method that is none itself."""
    if isinstance(method, nn.Module) or not dataclasses.is_dataclass(method):
        return {}
    values = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    return {name: value for name, value in values.items() if isinstance(value, nn.Module)}
