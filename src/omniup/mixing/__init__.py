"""Mix low-resolution values at output pixels by windowed attention. Every method computes with it.

`attention.py` is what callers use. It goes through `planner.py` (tiles that fit the memory), `groups.py` (pixels that
share their candidates), `windows.py` (which cells each pixel draws from) and `kernels.py` (matrix products, softmax).
"""

from omniup.mixing.attention import Attention
from omniup.mixing.averages import add_to_cell_means, cell_means, cell_variances
from omniup.mixing.groups import Groups
from omniup.mixing.interpolation import axis_taps, interpolate, interpolation_matrix
from omniup.mixing.joint import JointAttention
from omniup.mixing.planner import DEFAULT_MEMORY, DotProduct, Embedding, TooLittleMemoryError
from omniup.mixing.windows import Windows

__all__ = [
    "DEFAULT_MEMORY",
    "Attention",
    "DotProduct",
    "Embedding",
    "Groups",
    "JointAttention",
    "TooLittleMemoryError",
    "Windows",
    "add_to_cell_means",
    "axis_taps",
    "cell_means",
    "cell_variances",
    "interpolate",
    "interpolation_matrix",
]
