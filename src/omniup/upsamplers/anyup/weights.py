"""Load the published weights of AnyUp (CC-BY-4.0), our own, and any others that fit the network."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_tensors
from omniup.files.hub import find
from omniup.files.licences import note_licence
from omniup.files.weights import WeightsUnavailableError, cached_path, fetch, read_state_dict, summary
from omniup.upsamplers.anyup.adaptation import Adaptation

if TYPE_CHECKING:
    from omniup.upsamplers.anyup.upsampler import AnyUp


@dataclasses.dataclass(frozen=True)
class Published:
    """A checkpoint of the authors.

    Attributes:
        url: where it is.
        sha256: of the file.
    """

    url: str
    sha256: str


_RELEASES = "https://github.com/wimmerth/anyup/releases/download"

#: Trained on the features of DINOv2 ViT-S/14; and of DINOv2-S, with and without registers, CLIP-B, SigLIP2-B and ViT-B.
PUBLISHED = {
    "paper": Published(
        f"{_RELEASES}/checkpoint/anyup_paper.pth",
        "9d035c0f27114a6f32bdd3d8ed93b6cd39dad4b8f8bf94e69fddbfbf022901b2",
    ),
    "multi_backbone": Published(
        f"{_RELEASES}/checkpoint_v2/anyup_multi_backbone.pth",
        "b6cc407da8986c7e5c9098e61f7531767a9aca8fff20a1bc6c99d488e61aac59",
    ),
}

#: Our own, which come with the package, in float16; their card lies beside them.
OWN = "omniup"
_OWN_FILE = Path(__file__).parent / "own" / "anyup.safetensors"

#: Names of weights that need no file.
NAMES = (*PUBLISHED, OWN)

#: The file of weights in a folder or a repository, by the hub's custom.
WEIGHTS = "model.safetensors"

#: Settings of the network that a .safetensors file has in its metadata, by the names there.
SETTINGS = {
    "layout": "basis_layout",
    "window_ratio": "window_ratio",
    "feature_path": "feature_path",
    "dynamic_basis": "dynamic_basis",
    "pyramid": "pyramid",
    "implicit": "implicit",
}


def read(weights: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights.

    Args:
        weights: a name in `NAMES`; a .pth or .safetensors file, or the URL of one; a folder that
            `AnyUp.save_pretrained` wrote; or a repository of the Hugging Face hub with such files, USER/NAME.

    Returns:
        Tensors by name; and the network's settings that the file tells: none, or some of `SETTINGS`.

    Raises:
        InputError: they cannot be had or read.
    """
    path = _path(weights)
    if str(weights) in NAMES:
        note_licence("our AnyUp" if str(weights) == OWN else "AnyUp")
    stored = read_tensors(path)[1] if path.suffix == ".safetensors" else {}
    return read_state_dict(path), {name: _value(stored[key]) for key, name in SETTINGS.items() if key in stored}


def load(network: AnyUp, state: dict[str, Tensor], weights: str | Path) -> None:
    """Load what `read` returned into a network that has the settings; extensions may be missing.

    What meta-training has learned comes with the weights, without a setting: it changes nothing before `adapt`.

    Raises:
        InputError: they do not fit.
    """
    if any(name.startswith("adaptation.") for name in state):
        network.adaptation = Adaptation()
    try:
        network.load(state)
    except RuntimeError as error:
        problem, reason = "is {value}, which does not fit AnyUp ({reason})", summary(error)
        raise InputError("weights", problem, value=str(weights), reason=reason) from error


def check_here(name: str) -> None:
    """Refuse weights by a name in `NAMES` that are not on this machine; nothing is fetched.

    Raises:
        InputError: they are not; says where to put the file.
    """
    if name == OWN:
        return
    url = PUBLISHED[name].url
    if not (place := cached_path(url)).is_file():
        accepted = "omniup, which comes along, or the file {url}, put at {place}"
        raise InputError("weights", "are not on this machine, which is offline", accepted, url=url, place=str(place))


def metadata(**settings: Any) -> dict[str, str]:
    """Convert settings of the network to metadata of a file, under the names in `SETTINGS`."""
    keys = {name: key for key, name in SETTINGS.items()}
    return {keys[name]: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}


def _value(text: str) -> Any:
    """Parse a setting of the metadata, which remains to be checked."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _path(weights: str | Path) -> Path:
    """Return the path of the file; a published one, one with a URL and one on the hub are fetched."""
    if not isinstance(weights, (str, Path)):
        raise InputError("weights", "is {value!r}", _ACCEPTED, value=weights, names=", ".join(NAMES))
    if str(weights) == OWN:
        return _OWN_FILE
    published = PUBLISHED.get(str(weights))
    if published is None and not re.match(r"(https?|file)://", str(weights)):
        path = Path(weights) / WEIGHTS if Path(weights).is_dir() else Path(weights)
        if path.is_file():
            return path
        if path.name != WEIGHTS and re.fullmatch(r"[\w.-]+/[\w.-]+(?<!\.pth)(?<!\.safetensors)", str(weights)):
            names = ", ".join(NAMES)
            return find(str(weights), [WEIGHTS], argument="weights", accepted=_ON_HUB, names=names) / WEIGHTS
        problem, names = "is {value!r}, and there is no such file", ", ".join(NAMES)
        raise InputError("weights", problem, _ACCEPTED, value=str(path), names=names)
    url, checksum = (published.url, published.sha256) if published else (str(weights), None)
    try:
        return fetch(url, checksum)
    except WeightsUnavailableError as error:
        problem = "is {value!r}, which cannot be had ({reason})"
        accepted = "omniup, which comes along, or a file: download {url} elsewhere and put it at {place}"
        place = str(cached_path(url))
        raise InputError("weights", problem, accepted, value=weights, reason=error, url=url, place=place) from error


_ACCEPTED = "{names}, a .pth or .safetensors file, the URL of one, a folder, or USER/NAME on the Hugging Face hub"
_ON_HUB = "{names}, a file, or a repository with model.safetensors: `{fetch}` fetches it where there is a network"
