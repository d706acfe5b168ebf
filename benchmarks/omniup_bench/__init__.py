"""The benchmark: every method on the same real data, with cost beside quality."""

from omniup_bench.task import Learner, Sample, Statistics, Task

__all__ = ["Learner", "Sample", "Statistics", "Task"]
