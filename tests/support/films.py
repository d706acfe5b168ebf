"""Small films, made on the spot."""

from fractions import Fraction

import av
import numpy as np
import torch

ROTATED = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")
"""The matrix of a track that is to be turned by 90° clockwise."""


def pictures(count, size=(48, 64), seed=0, step=2):
    """Frames [H, W, 3] uint8 of a smooth random picture that glides by some pixels a frame."""
    random = np.random.default_rng(seed)
    height, width = size
    wide = torch.from_numpy(random.random((1, 3, 8, 8 + count))).float()
    wide = torch.nn.functional.interpolate(wide, (height, width + step * count), mode="bicubic").clamp(0, 1)
    whole = (wide[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return [np.ascontiguousarray(whole[:, step * n : step * n + width]) for n in range(count)]


def write_film(path, frames, *, rate=25, times=None, pix_fmt="yuv420p", codec="libx264", sound=False, rotated=False):
    """Write frames [H, W, 3] uint8 as a film; `times` are in units of 1 / (rate · 10) seconds."""
    with av.open(str(path), "w") as film:
        video = film.add_stream(codec, rate=rate, options={"crf": "5", "bf": "2"} if codec == "libx264" else {})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pix_fmt
        base = Fraction(1, rate * 10)
        video.codec_context.time_base = base
        tone = film.add_stream("aac", rate=48000) if sound else None
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base, frame.pts = base, times[number] if times else 10 * number
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
        if tone is not None:
            samples = np.sin(np.arange(48000 * len(frames) // rate) / 20).astype(np.float32)
            for start in range(0, len(samples) - 1023, 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 48000, start
                film.mux(tone.encode(frame))
            film.mux(tone.encode(None))
    if rotated:
        content = bytearray(path.read_bytes())
        place = content.index(b"tkhd") + 44
        content[place : place + 36] = ROTATED
        path.write_bytes(content)
    return path


def read_film(path):
    """The frames [H, W, 3] of a film, and when they are shown, in seconds."""
    with av.open(str(path)) as film:
        found = [(frame.to_ndarray(format="rgb24"), frame.pts * frame.time_base) for frame in film.decode(video=0)]
    return [frame for frame, _ in found], [float(time) for _, time in found]
