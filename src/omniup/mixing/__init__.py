"""The ground floor: tensors in, tensors out. Every method of the house mixes with this one engine."""

from omniup.mixing.attention import Attention
from omniup.mixing.averages import cell_means
from omniup.mixing.groups import Groups
from omniup.mixing.tiles import DEFAULT_MEMORY, DotProduct, Embedding, TooLittleMemoryError
from omniup.mixing.windows import Windows

__all__ = [
    "DEFAULT_MEMORY",
    "Attention",
    "DotProduct",
    "Embedding",
    "Groups",
    "TooLittleMemoryError",
    "Windows",
    "cell_means",
]
