"""Make the vocabulary of the tiny restoration model: every byte, within a word and at its end, and no longer tokens.

CLIP's tokenizer spells bytes as printable letters, by the table of GPT-2: those that are printable in Latin-1 stand for
themselves, the others for the letters from U+0100 on. Run from the project's root; it overwrites vocab.json.
"""

from __future__ import annotations

import json
from pathlib import Path

TARGET = Path("src/omniup/restoration/tiny/tokenizer/vocab.json")


def letters() -> list[str]:
    """The 256 letters that stand for bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [*map(chr, printable), *(chr(256 + index) for index in range(others))]


def main() -> None:
    """Write the file."""
    tokens = [*letters(), *(f"{letter}</w>" for letter in letters()), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    TARGET.write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
