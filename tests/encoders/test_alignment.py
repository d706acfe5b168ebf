"""Every encoder's cells lie where the image has what they show, measured on a photograph."""

import pytest
import torch
import torch.nn.functional as F

from omniup.encoders import encode
from omniup.files import read_image


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore:resnet18_layer2. random")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("projection", {}),
        ("resnet18_layer2", {}),
        ("timm:test_vit", {"pretrained": False, "layer": 0}),
        ("timm:test_convnext", {"pretrained": False, "layer": 1}),
        ("timm:test_resnet", {"pretrained": False, "layer": 1}),
    ],
)
def test_features_explain_the_colours_of_their_own_cells_best(name, settings, shared):
    photograph = read_image(shared / "data/photos/airplane.jpg")
    photograph = F.interpolate(photograph, size=(340, 500), mode="bilinear", antialias=True)
    features = encode(photograph, name, grid=(24, 32), **settings).features[0]  # [C, 24, 32]
    colours = F.adaptive_avg_pool2d(photograph, (24, 32))[0]  # [3, 24, 32]

    def unexplained(dy, dx):
        """What is left of the colours, moved by whole cells, after a linear fit to the features."""
        inside = features[:, 1:-1, 1:-1].flatten(1).T.double()  # [660, C]
        inside = torch.cat([inside, torch.ones(len(inside), 1)], dim=1)
        wanted = colours.roll((dy, dx), (1, 2))[:, 1:-1, 1:-1].flatten(1).T.double()  # [660, 3]
        return (inside @ torch.linalg.lstsq(inside, wanted, driver="gelsd").solution - wanted).square().sum()

    moves = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert min(moves, key=lambda move: unexplained(*move)) == (0, 0)
