"""A small folder of data, laid out as the benchmark's tasks want it, made of a bundled photograph."""

import numpy as np
from PIL import Image

from omniup.files import sample_image

NETWORK = '''
import torch
from torch import nn
from torch.nn import functional as F


class Brightness(nn.Module):
    """Tells eleven classes apart by how bright a cell is."""

    def forward(self, image):
        mean = F.avg_pool2d(image.mean(1, keepdim=True), 16)  # [B, 1, h, w]
        classes = torch.arange(11).view(1, 11, 1, 1) / 10
        return None, None, (-20 * (mean - classes).abs()).softmax(1)


def load(path):
    return Brightness()
'''


def small_data(shared, images=6, size=(70, 96)):
    """Write it under a folder, which is then like ../shared; returns the folder of data."""
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
    (shared / "models").mkdir()
    (shared / "models" / "street_scenes.py").write_text(NETWORK)
    return data
