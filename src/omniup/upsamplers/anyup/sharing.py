"""Share trained weights of AnyUp: a folder, or a repository of the Hugging Face hub, with a model card."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omniup.files.atomic import atomic_write, made_folder, together
from omniup.files.hub import publish
from omniup.files.tensors import write_tensors
from omniup.upsamplers.anyup.weights import WEIGHTS

if TYPE_CHECKING:
    from omniup.upsamplers.anyup.upsampler import AnyUp

CARD = "README.md"

_CARD = """---
library_name: omniup
tags: [feature-upsampling, anyup]
{licence}---

# {name}

Weights of AnyUp ([arXiv 2510.12764](https://arxiv.org/abs/2510.12764)) for OmniUp: features of any vision encoder, at
any resolution.

```python
import omniup

anyup = omniup.AnyUp.from_pretrained("{source}")
hr = anyup(image, features)   # [B, 3, H, W] in 0..1 and [B, C, h, w] to [B, C, H, W]
```

| setting | value |
|---|---|
{settings}

Add here what they were trained on, and how well they do.
"""


def write_folder(network: AnyUp, folder: Path, licence: str | None, *, source: str = "") -> None:
    """Write what `AnyUp.save_pretrained` does; the card names `source`, or the folder, for `from_pretrained`."""
    with made_folder(folder), together():
        write_tensors(folder / WEIGHTS, network.state_dict(), network.metadata())
        _write(folder / "config.json", json.dumps({"model_type": "anyup", **network.settings}, indent=2) + "\n")
        if not (folder / CARD).exists():
            _write(folder / CARD, _card(network.settings, source or folder.as_posix(), licence))


def push(network: AnyUp, repository: str, licence: str | None, *, private: bool) -> str:
    """Publish what `AnyUp.push_to_hub` does."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(network, Path(folder), licence, source=repository)
        return publish(Path(folder), repository, private=private, message="Weights of AnyUp, from OmniUp", keep=[CARD])


def _card(settings: dict[str, object], source: str, licence: str | None) -> str:
    rows = "\n".join(f"| `{name}` | `{json.dumps(value)}` |" for name, value in settings.items())
    stated = f"license: {licence}\n" if licence else ""
    return _CARD.format(licence=stated, name=source.rstrip("/").rpartition("/")[2], source=source, settings=rows)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
