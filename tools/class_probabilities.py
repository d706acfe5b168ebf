"""Makes src/omniup/files/class_probabilities.npz, the bundled example of class probabilities.

A small network learns eight classes from rectangles drawn by hand on one photograph, as interactive segmentation does,
and labels all of it; its probabilities, averaged over 16 × 16 pixels, are the example. The network is real, its errors
too; it knows this photograph only. Run it from the project's root; it takes ten seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from skimage.data import astronaut
from skimage.filters import gaussian
from torch import Tensor, nn
from torch.nn import functional as F

TARGET = Path("src/omniup/files/class_probabilities.npz")
CELLS = 32

#: Class by class, (x0, y0, x1, y1) in pixels of the photograph of 512 × 512.
STROKES = {
    "background": [
        (100, 5, 150, 150),
        (310, 10, 370, 230),
        (462, 10, 510, 260),
        (150, 5, 375, 12),
        (85, 130, 120, 180),
    ],
    "flag": [(5, 20, 45, 120), (5, 160, 70, 215), (3, 240, 35, 500), (55, 110, 75, 170)],
    "hair": [(195, 25, 260, 60), (160, 60, 175, 110), (278, 70, 295, 110), (180, 40, 275, 65)],
    "face": [(195, 85, 260, 175), (205, 165, 245, 185)],
    "suit": [
        *[(60, 270, 120, 450), (110, 320, 230, 340), (310, 260, 340, 330), (215, 300, 275, 500), (140, 355, 200, 415)],
        *[(130, 190, 150, 260), (180, 190, 270, 270), (275, 220, 295, 260), (30, 330, 60, 400), (110, 430, 220, 505)],
    ],
    "helmet": [(300, 400, 470, 505), (340, 365, 430, 400), (475, 390, 487, 440)],
    "shuttle": [
        *[(400, 10, 432, 150), (385, 110, 410, 240), (440, 60, 450, 230), (375, 195, 385, 215), (385, 268, 440, 280)]
    ],
    "table": [(375, 295, 500, 335), (480, 290, 508, 380)],
}


def descriptors(image: np.ndarray) -> Tensor:
    """What the network sees of each pixel: colours at four blurs, deviations at two, and where it lies: [H·W, 20]."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] / (image.shape[0] - 1)
    maps = [gaussian(image, sigma, channel_axis=-1) for sigma in (1, 3, 8, 20)]
    for sigma in (3, 8):
        mean, square = (gaussian(each, sigma, channel_axis=-1) for each in (image, image**2))
        maps.append(np.sqrt(np.maximum(square - mean**2, 0)))
    values = torch.from_numpy(np.concatenate([*maps, 1.5 * x[..., None], 1.5 * y[..., None]], -1)).float().flatten(0, 1)
    return (values - values.mean(0)) / values.std(0)


def main() -> None:
    """Train, label, average, write."""
    image = astronaut() / 255.0
    inputs = descriptors(image)
    target = torch.full(image.shape[:2], -1)
    for label, boxes in enumerate(STROKES.values()):
        for x0, y0, x1, y1 in boxes:
            target[y0:y1, x0:x1] = label
    drawn = [torch.nonzero(target.flatten() == label)[:, 0] for label in range(len(STROKES))]

    torch.manual_seed(0)
    network = nn.Sequential(
        *[nn.Linear(inputs.shape[1], 48), nn.GELU(), nn.Dropout(0.2), nn.Linear(48, 48), nn.GELU()],
        nn.Linear(48, len(STROKES)),
    )
    adam = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    for _ in range(1200):
        batch = torch.cat([pixels[torch.randint(len(pixels), (128,))] for pixels in drawn])
        loss = F.cross_entropy(network(inputs[batch]), target.flatten()[batch], label_smoothing=0.02)
        adam.zero_grad()
        loss.backward()
        adam.step()

    with torch.no_grad():
        probabilities = network.eval()(inputs).softmax(-1).T.reshape(1, len(STROKES), *image.shape[:2])
    cells = F.adaptive_avg_pool2d(probabilities, CELLS)  # [1, K, 32, 32]
    np.savez_compressed(TARGET, probabilities=cells.numpy().astype(np.float16), classes=np.array(list(STROKES)))


if __name__ == "__main__":
    main()
