"""A small network for street scenes (2.9 M parameters, trained on CamVid's train split): its architecture and weights.

Its weights are data, `street_scenes.safetensors` in the folder of models; no code is read from there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from torch import Tensor, nn

from omniup.errors import InputError
from omniup.files.weights import read_state_dict
from omniup_bench.data import CLASSES, model_file

FILE = "street_scenes.safetensors"


class Block(nn.Module):
    """A residual block of two 3 × 3 convolutions: relu(f(x) + s(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.s: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.s = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return (self.f(x) + self.s(x)).relu()


class StreetNetwork(nn.Module):
    """Segments street scenes; the modules have the names of its file of weights."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 24), (24, 32)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*layers)
        self.l1 = nn.Sequential(Block(32, 48), Block(48, 48))
        self.l2 = nn.Sequential(Block(48, 96, stride=2), Block(96, 96))
        self.l3 = nn.Sequential(
            Block(96, 192, stride=2), Block(192, 192), Block(192, 192, dilation=2), Block(192, 192, dilation=4)
        )
        self.head = nn.Conv2d(192, CLASSES, 1)

    def features(self, image: Tensor) -> Tensor:
        """Map images [B, 3, H, W] in 0..1, sides multiples of 16, to features [B, 192, H / 16, W / 16]."""
        return self.l3(self.l2(self.l1(self.stem((image - 0.45) / 0.25))))

    def forward(self, image: Tensor) -> Tensor:
        """Map the same images to class probabilities [B, 11, H / 16, W / 16]."""
        return self.head(self.features(image)).softmax(1)


@lru_cache(maxsize=1)
def load_street_network(models: Path) -> StreetNetwork:
    """Load the network's weights from a folder of models, strictly.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    path = model_file(models, FILE)
    network = StreetNetwork()
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in read_state_dict(path).items()
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # names or shapes
        raise InputError(str(path), "does not fit the network", "the weights of the street-scene network") from error
    return network.eval().requires_grad_(False)
