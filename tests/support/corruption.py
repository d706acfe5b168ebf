"""Corrupt the bytes of files: a seed decides how, so that each corrupted file can be made again."""

import io
import random
import re
import struct
import zipfile

from support.small_files import npz, png, png_chunks

HEADER = 128
"""Bytes in which most formats declare sizes, types and offsets."""

_NUMBERS = (0, 1, 2, 255, 256, 65535, 65536, 16384, 2**20, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_TEXTS = (b"-1", b"0", b"1", b"16384", b"99999", b"2147483648", b"1e999", b"nan", b"9" * 30, b"1_0", b"", b"[", b"{}")


def corrupted(name: str, content: bytes, seed: int) -> bytes:
    """Corrupt a valid file in one to three ways.

    Checksums would hide most of what is corrupted from a decoder: in half of the PNG files they are made right again,
    and in half of the archives the array inside is corrupted instead.

    Args:
        name: of the format, as in `small_files`.
        content: the valid file.
        seed: decides what happens to it.
    """
    rng = random.Random(f"{name} {seed}")
    if name.startswith("npz") and rng.random() < 0.5:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return npz(_changed(archive.read("signal.npy"), rng))
    if name.startswith("png") and rng.random() < 0.5:
        return _changed_png(content, rng)
    return _changed(content, rng)


def _changed(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_WAYS)(content, rng)
    return content


def _changed_png(content: bytes, rng: random.Random) -> bytes:
    chunks = png_chunks(content)
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(chunks))
        way = rng.choice(("swap", "drop", "repeat", "header", "data", "data"))
        if way == "swap":
            other = rng.randrange(len(chunks))
            chunks[place], chunks[other] = chunks[other], chunks[place]
        elif way == "drop" and len(chunks) > 1:
            del chunks[place]
        elif way == "repeat":
            chunks.insert(place, chunks[place])
        else:
            place = 0 if way == "header" else place
            kind, data = chunks[place]
            chunks[place] = kind, _changed(data, rng) if way == "data" else _number(data, rng)
    return png(chunks)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 32)) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.randbytes(rng.choice((1, 2, 4, 64))) + content[place:]


def _delete(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + content[place + rng.choice((1, 2, 4, 64)) :]


def _number(content: bytes, rng: random.Random) -> bytes:
    """Overwrite what may be a length or a dimension in the header, in either order of bytes."""
    place = rng.randrange(min(len(content), HEADER) + 1)
    number, (size, letter) = rng.choice(_NUMBERS), rng.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    packed = struct.pack(rng.choice("<>") + letter, number % 256**size)
    return content[:place] + packed + content[place + size :]


def _text(content: bytes, rng: random.Random) -> bytes:
    """Overwrite a number or a word that is written as text."""
    found = list(re.finditer(rb"\d+|[A-Za-z_]{3,}", content[: 8 * HEADER]))
    if not found:
        return content
    word = rng.choice(found)
    return content[: word.start()] + rng.choice(_TEXTS) + content[word.end() :]


def _swap(content: bytes, rng: random.Random) -> bytes:
    size = rng.choice((1, 4, 16, 64))
    first, second = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    if second - first < size:
        return content
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]


def _append(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((rng.randbytes(16), bytes(64), content, content[: len(content) // 2]))


_WAYS = (_truncate, _flip, _flip, _insert, _delete, _number, _number, _text, _swap, _append)
