"""A small folder of data, laid out as the benchmark reads it, made of a bundled photograph."""

import numpy as np
from PIL import Image

from omniup.files import sample_image
from support.street_network import write_street_network


def small_data(shared, images=6, size=(70, 96)):
    """Write it to the folder `data` of a folder, the street-scene network to `models`; return the folder of data."""
    data = shared / "data"
    height, width = size
    photo = np.asarray(sample_image("coffee"))
    for index in range(images):
        pixels = Image.fromarray(photo[40 * index :, 40 * index :]).resize((width, height))
        bright = np.asarray(pixels.convert("L")).astype(int)
        for folder, suffix, labels in (
            ("camvid/val", "labels", np.where(bright > 240, 11, bright * 11 // 256)),
            ("bsds500/val", "segments", 1 + bright // 64),
        ):
            (data / folder).mkdir(parents=True, exist_ok=True)
            pixels.save(data / folder / f"photo_{index}.jpg")
            Image.fromarray(labels.astype(np.uint8)).save(data / folder / f"photo_{index}.{suffix}.png")
    (data / "depth").mkdir()
    square = Image.fromarray(photo).resize((64, 64))
    depth = 50 + np.asarray(square.convert("L")).astype(np.float32)
    np.savez(data / "depth" / "pair.npz", guide=np.asarray(square).transpose(2, 0, 1), depth=depth)
    (data / "canopy").mkdir()
    bands = np.stack([*np.asarray(square).transpose(2, 0, 1), 255 - depth]).astype(np.float32)
    np.savez(data / "canopy" / "scene.npz", guide=40 * bands, height=depth - 50)
    write_street_network(shared / "models")
    return data
