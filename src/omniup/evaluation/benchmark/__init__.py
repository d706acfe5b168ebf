"""The benchmark: every method on the same real data, with cost beside quality."""

from omniup.evaluation.benchmark.task import Sample, Statistics, Task

__all__ = ["Sample", "Statistics", "Task"]
