"""A folder as the benchmark's tasks on features read it; the network's features are the mean colours of its cells."""

import numpy as np
from PIL import Image

from support.street_network import write_street_network


def write_streets(folder):
    """Write streets of two classes, dark and bright, and pairs with depth, to `folder/data`."""
    write_street_network(folder / "models")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        place = folder / "data" / "camvid" / split
        place.mkdir(parents=True)
        for index in range(count):
            labels = np.kron(random.integers(0, 2, (4, 6)), np.ones((16, 16), int))
            labels = np.pad(labels, ((4, 4), (0, 0)), mode="edge")  # [72, 96], of which 64 rows are left
            values = np.where(labels == 1, 200, 50)[..., None] + random.integers(-20, 21, (*labels.shape, 3))
            labels[:, :2] = 11
            Image.fromarray(values.astype(np.uint8)).save(place / f"{index}.jpg", quality=95)
            Image.fromarray(labels.astype(np.uint8)).save(place / f"{index}.labels.png")
    (folder / "data" / "depth").mkdir()
    y, x = np.mgrid[:64, :64].astype(np.float32)
    for index, slope in enumerate((0.1, 0.3, 0.2)):
        depth = 40 + slope * x + 0.1 * y
        guide = np.stack([2 * depth, 100 + y, 100 + random.normal(0, 20, depth.shape)]).clip(0, 255)
        np.savez(folder / "data" / "depth" / f"{index}.npz", guide=guide.astype(np.uint8), depth=depth)
    return folder / "data"
