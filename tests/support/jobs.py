"""Jobs on small data sets."""

import numpy as np
from PIL import Image

from support.dangers import contents

COUNT = 20


def draw(folder, count=COUNT):
    """Write small pictures of three sizes, some of them in a folder below."""
    random = np.random.default_rng(0)
    for number in range(count):
        place = folder / ("more" if number % 4 == 3 else ".") / f"{number:02d}.png"
        place.parent.mkdir(exist_ok=True, parents=True)
        height, width = [(24, 32), (32, 24), (21, 35)][number % 3]
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.NEAREST).save(place)


def small_job(output="out", sink="npz", **fields):
    """A job on `photos` that takes a second."""
    job = {
        "source": {"kind": "folder", "path": "photos"},
        "signals": {"colours": {"kind": "encoder", "name": "projection", "settings": {"channels": 6, "stride": 4}}},
        "keep": {"map": {"kind": "map", "of": "colours"}},
        "method": "bilinear",
        "output": {"kind": sink, "path": str(output), "part": 3},
    }
    return job | fields


def results(folder="out"):
    """The files of an output but for the record of the parts, whose order is that of the runs."""
    return {name: content for name, content in contents(folder).items() if not name.startswith("_job/manifest")}
