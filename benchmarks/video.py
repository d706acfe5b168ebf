"""Measure temporal fusion: flicker, accuracy, sharpness, time and memory, against frame by frame; print the tables.

    python benchmarks/video.py DATA

Real films: the warping error, the mean change of a result along the flow, where that can be followed (forward and
backward flow agree, and so do the frames), and label flips, the part of these pixels whose class changes. The flow is
another one than that of fusion, DIS: DeepFlow, or interpolated tracks of points (sparse-to-dense). Films of
moved photographs: a window that turns, zooms and glides over a street scene of CamVid by less than a pixel to several
a frame, with noise of its own in each frame; there the flow is known and so are the labels. Signals are the class
probabilities of the street-scene network, and features of an EfficientNet-Lite0.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup import VideoUpsampler, encoder
from omniup.errors import optional_import
from omniup.evaluation.metrics.edges import image_edges, spread_off
from omniup.evaluation.metrics.labels import boundary_distance, confusion, confusion_overlaps, mean_iou, overlaps
from omniup.sequences.flow import Warp, flow_between, grey_levels
from omniup.sequences.frames import open_frames
from omniup.sequences.fusion import FusionSettings
from omniup.upsamplers import DEFAULT_METHOD
from omniup_bench.data import CLASSES, MULTIPLE, Folders, labelled_images
from omniup_bench.street_network import load_street_network

cv2: Any = optional_import("cv2", extra="video")

WINDOW = (256, 352)
"""(H, W) of the films of moved photographs, in pixels."""

NEAR = 6
"""Pixels from a boundary."""

DIFFERENCE = 25
"""Grey levels of 256 that a pixel may differ by along the measuring flow; beyond, it is another thing."""

REAL = {"bikes": 100, "bigbuckbunny": 40}
"""The real films, and the frame that is begun at; the numbers of fusion were chosen on other parts of the first."""

NOISE = 2 / 255
"""Standard deviation of the noise of a camera."""

VOID = 11
"""The label of what counts for nothing."""

FLOWS = {"deep": cv2.optflow.createOptFlow_DeepFlow, "sparse": cv2.optflow.createOptFlow_SparseToDense}
"""Flows that results are measured along."""

Signal = Callable[[Tensor], Tensor]
"""Makes the low-resolution signal [1, C, h, w] of a frame [1, 3, H, W]."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A film without cuts.

    Attributes:
        name: of the film.
        frames: [1, 3, H, W] in 0..1 each.
        places: where the pixels of each frame but the first lay in the one before, [H, W, 2], x and y.
        seen: which of them can be followed there, [H, W].
        labels: [H, W] of each frame; empty where they are not known.
    """

    name: str
    frames: list[Tensor]
    places: list[NDArray[np.float32]]
    seen: list[NDArray[np.bool_]]
    labels: list[NDArray[np.int64]]


@dataclass
class Sums:
    """What is measured, added up over frames."""

    warping: float = 0.0
    flips: float = 0.0
    pairs: int = 0
    off_edges: float = 0.0
    frames: int = 0
    confusion: Any = 0
    near: Any = 0

    def row(self, reference: Sums) -> list[str]:
        """Return the cells of a row, the first two relative to a reference."""
        found = [
            f"{self.warping / max(reference.warping, 1e-12):.2f}",
            f"{self.flips / max(reference.flips, 1e-12):.2f}",
        ]
        if np.ndim(self.confusion):
            found += [f"{mean_iou(confusion_overlaps(self.confusion)):.1f}", f"{mean_iou(self.near):.1f}"]
        return [*found, f"{100 * self.off_edges / self.frames:.1f}"]


def read_frames(path: Path, count: int, start: int) -> list[Tensor]:
    """Read frames [1, 3, H, W] of a film."""
    return [frame.image.float() / 255 for frame in itertools.islice(open_frames(path).frames(start), count)]


def real_shot(path: Path, count: int, start: int = 0, flow: str = "deep") -> Shot:
    """Read frames of a film, with a flow by name."""
    frames = read_frames(path, count, start)
    greys = [grey_levels(frame) for frame in frames]
    search = FLOWS[flow]()
    places, seen = [], []
    for now, before in zip(greys[1:], greys, strict=False):
        there, back = (search.calc(*pair, None) for pair in ((now, before), (before, now)))
        place = there + _grid(now.shape)
        returned = cv2.remap(back, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        change = np.abs(now.astype(np.float32) - cv2.remap(before, place, None, cv2.INTER_LINEAR))
        is_same = (np.linalg.norm(there + returned, axis=2) < 1) & (cv2.blur(change, (3, 3)) < DIFFERENCE)
        places.append(place)
        seen.append(is_same & _inside(place))
    return Shot(path.stem, frames, places, seen, [])


def moved_shot(name: str, image: Tensor, labels: NDArray[np.int64], count: int, seed: int) -> Shot:
    """Make a film of a photograph by a known camera move."""
    random = np.random.default_rng(seed)
    height, width = image.shape[2:]
    pixels = image[0].permute(1, 2, 0).numpy()
    slack = np.array([width - WINDOW[1], height - WINDOW[0]]) / 2
    heading, speed = random.uniform(0, 2 * math.pi), random.uniform(0.3, 3.5)
    turn, zoom = random.normal() * 0.004, random.normal() * 0.004
    maps = []  # from pixels of each frame to those of the photograph
    for number in range(count):
        step = number - count / 2
        angle, scale = turn * step, math.exp(zoom * step) * 0.92
        way = np.clip(np.array([math.cos(heading), math.sin(heading)]) * speed * step, -0.8 * slack, 0.8 * slack)
        rotation = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        centre = np.array([width, height]) / 2 + way
        maps.append(np.column_stack([rotation, centre - rotation @ (np.array(WINDOW[::-1]) / 2)]))
    frames, truth, places = [], [], []
    for matrix in maps:
        place = _moved(matrix)
        frame = cv2.remap(pixels, place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        frame = frame + random.normal(size=frame.shape) * NOISE
        frames.append(torch.from_numpy(frame.clip(0, 1)).float().permute(2, 0, 1)[None])
        numbers = cv2.remap(labels.astype(np.float32), place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
        truth.append(np.where(numbers == VOID, -1, numbers).astype(np.int64))
    for now, before in zip(maps[1:], maps, strict=False):
        back = cv2.invertAffineTransform(before)
        places.append(_moved(np.column_stack([back[:, :2] @ now[:, :2], back[:, :2] @ now[:, 2] + back[:, 2]])))
    return Shot(name, frames, places, [_inside(place) for place in places], truth)


def moved_shots(folders: Folders, folder: str, films: int, count: int) -> Iterator[Shot]:
    """Make films of the street scenes of a folder."""
    for seed, scene in enumerate(labelled_images(folders, folder, ".labels.png", films)):
        yield moved_shot(scene.name, scene.image, scene.labels, count, seed)


def measure(shot: Shot, results: list[Tensor], sums: Sums) -> None:
    """Add up what is measured of the results of a film."""
    for number, (frame, result) in enumerate(zip(shot.frames, results, strict=True)):
        classes = result.argmax(1)[0].numpy()
        if shot.labels:
            truth = shot.labels[number]
            near = (boundary_distance(truth) <= NEAR) & (truth >= 0)
            sums.confusion = sums.confusion + confusion(classes, truth, CLASSES)
            sums.near = sums.near + overlaps(classes, truth, CLASSES, near)
        sums.off_edges += spread_off(result, image_edges(frame))
        sums.frames += 1
        if number == 0:
            continue
        place, seen = shot.places[number - 1], torch.from_numpy(shot.seen[number - 1])
        before = results[number - 1]
        sums.warping += float((result - _warped(before, place)).abs().sum(1)[0][seen].mean())
        held = before.argmax(1)[0].byte().numpy()
        moved = cv2.remap(held, place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        sums.flips += float((moved != classes)[shot.seen[number - 1]].mean())
        sums.pairs += 1


def run(shot: Shot, signals: list[Tensor], upsampler: VideoUpsampler) -> list[Tensor]:
    """Upsample the signals of a film."""
    return [upsampler.step(frame, signal) for frame, signal in zip(shot.frames, signals, strict=True)]


def copied(shot: Shot, first: Tensor, *, moves: bool) -> list[Tensor]:
    """Copy the first result on, as it is or along the flow that fusion uses."""
    results = [first]
    for now, before in zip(shot.frames[1:], shot.frames, strict=False):
        there = results[-1]
        if moves:
            there = _warped(there, flow_between(grey_levels(now), grey_levels(before)).places)
        results.append(there)
    return results


def compare(
    title: str, shots: list[Shot], signal: Signal, methods: list[str], settings: FusionSettings, **options: Any
) -> None:
    """Print a table: fused results, and copies of the first one, against frame by frame."""
    known = bool(shots[0].labels)
    heads = ["warping error", "label flips", *(["mIoU", f"within {NEAR} px"] if known else []), "off edges %"]
    print(f"\n{title}\n\n| method | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}", flush=True)
    signals = [[signal(frame) for frame in shot.frames] for shot in shots]
    for method in methods:
        rows: dict[str, Sums] = {}
        for shot, low in zip(shots, signals, strict=True):
            alone = run(shot, low, VideoUpsampler(method=method, independent=True))
            made = {"frame by frame": alone}
            made["fused"] = run(shot, low, VideoUpsampler(method=method, fusion=settings))
            made["first result, moved along"] = copied(shot, alone[0], moves=True)
            made["first result, as it is"] = copied(shot, alone[0], moves=False)
            for name, results in made.items():
                measure(shot, results, rows.setdefault(name, Sums()))
        for name, sums in rows.items():
            print(f"| {method}, {name} | {' | '.join(sums.row(rows['frame by frame']))} |", flush=True)


def times(shot: Shot, signal: Signal, method: str) -> None:
    """Print the time of fusion a frame beside one call and the flow."""
    low = [signal(frame) for frame in shot.frames]
    alone, fused = VideoUpsampler(method=method, independent=True), VideoUpsampler(method=method)
    found: dict[str, list[float]] = {"one call": [], "flow": [], "fused": []}
    for number, (frame, cells) in enumerate(zip(shot.frames, low, strict=True)):
        for name, upsampler in (("one call", alone), ("fused", fused)):
            began = time.process_time()
            upsampler.step(frame, cells)
            found[name].append(time.process_time() - began)
        if number:
            began = time.process_time()
            flow_between(grey_levels(frame), grey_levels(shot.frames[number - 1]))
            found["flow"].append(time.process_time() - began)
    call, flow, both = (float(np.median(found[name][2:])) for name in ("one call", "flow", "fused"))
    ratio = both / (call + flow)
    channels = low[0].shape[1]
    print(
        f"| {method} | {channels} | {1000 * call:.0f} | {1000 * flow:.0f} | {1000 * both:.0f} | {ratio:.2f} |",
        flush=True,
    )


def memory(shot: Shot, signal: Signal, counts: tuple[int, int] = (25, 250)) -> None:
    """Print the peak of memory after films of two lengths, each in a process of its own."""
    cells = [signal(frame) for frame in shot.frames]
    peaks = []
    for count in counts:
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            upsampler = VideoUpsampler(method="bilinear")
            for number in range(count):
                upsampler.step(shot.frames[number % len(cells)], cells[number % len(cells)])
            os.write(writer, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        peaks.append(int(os.read(reader, 99)))
    more = 100 * (peaks[1] / peaks[0] - 1)
    print(f"\nmemory: {peaks[0] >> 10} MB with {counts[0]} frames, {peaks[1] >> 10} MB with {counts[1]}: {more:+.1f} %")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--films", type=int, default=8, help="of moved photographs")
    parser.add_argument("--frames", type=int, default=12, help="of each of them")
    parser.add_argument("--real-frames", type=int, default=30, help="of each real film")
    parser.add_argument("--film", choices=tuple(REAL), action="append", help="a real one; may be repeated")
    parser.add_argument("--split", choices=("tune", "val"), default="val")
    parser.add_argument("--flow", choices=tuple(FLOWS), default="deep")
    parser.add_argument("--method", action="append", help="of upsampling; may be repeated")
    parser.add_argument("--parts", default="moved,real,features,time,memory", help="of the measurement")
    asked = parser.parse_args()
    folders, settings = Folders.of(asked.data), FusionSettings()
    methods, parts = asked.method or [DEFAULT_METHOD, "joint_bilateral"], asked.parts.split(",")
    network = load_street_network(folders.models)
    weights = str(folders.models / "tf_efficientnet_lite0.safetensors")

    def probabilities(frame: Tensor) -> Tensor:
        size = [-(-side // MULTIPLE) * MULTIPLE for side in frame.shape[2:]]
        return network(F.interpolate(frame, size, mode="bilinear"))

    def features(frame: Tensor) -> Tensor:
        return backbone(frame).features

    if "moved" in parts:
        shots = list(moved_shots(folders, f"camvid/{asked.split}", asked.films, asked.frames))
        title = f"{asked.films} films of {asked.frames} frames, moved from camvid/{asked.split}; class probabilities"
        compare(title, shots, probabilities, methods, settings)
    real = []
    if {"real", "features"} & set(parts):
        for name in asked.film or REAL:
            real.append(real_shot(folders.data / f"video/{name}.mp4", asked.real_frames, REAL[name], asked.flow))
    if "real" in parts:
        for shot in real:
            title = f"{shot.name}, {asked.real_frames} frames from {REAL[shot.name]} on, along {asked.flow}"
            compare(f"{title}; class probabilities", [shot], probabilities, methods, settings)
    if {"features", "time"} & set(parts):
        backbone = encoder("timm:tf_efficientnet_lite0", pretrained=weights)
    if "features" in parts:
        for shot in real:
            title = f"{shot.name}, {asked.real_frames} frames from {REAL[shot.name]} on, along {asked.flow}"
            compare(f"{title}; features", [shot], features, methods[:1], settings)
    if "time" in parts:
        print("\n| method | channels | one call, ms | flow, ms | fused, ms | ratio |\n|---|---|---|---|---|---|")
        shot = Shot("bikes", read_frames(folders.data / "video/bikes.mp4", 8, REAL["bikes"]), [], [], [])
        for method in methods:
            for signal in (probabilities, features):
                times(shot, signal, method)
    if "memory" in parts:
        shot = Shot("bikes", read_frames(folders.data / "video/bikes.mp4", 5, REAL["bikes"]), [], [], [])
        memory(shot, probabilities)


def _warped(result: Tensor, places: NDArray[np.float32]) -> Tensor:
    """Fetch a result [1, C, H, W] from places [H, W, 2]."""
    maps = result[0].flatten(1).t().contiguous()  # [H · W, C]
    warp = Warp(places, places.shape[:2], result.device, linear=True)
    return warp(maps).t().reshape(result.shape)


def _grid(size: tuple[int, ...]) -> NDArray[np.float32]:
    return np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), -1).astype(np.float32)


def _moved(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Map the pixels of a window by an affine map [2, 3]: [H, W, 2]."""
    moved: NDArray[np.float32] = (_grid(WINDOW) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return moved


def _inside(place: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = place.shape[:2]
    x, y = place[..., 0], place[..., 1]
    inside: NDArray[np.bool_] = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return inside


if __name__ == "__main__":
    main()
