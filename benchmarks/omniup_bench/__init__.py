"""Benchmark every upsampling method on the same real data, with cost beside quality.

`omniup bench` is its command; docs/benchmarking.md says how data sets are laid out.
"""

from omniup_bench.data import Folders
from omniup_bench.task import FittedTask, Sample, Statistics, Task

__all__ = ["FittedTask", "Folders", "Sample", "Statistics", "Task"]
