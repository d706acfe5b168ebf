"""Data sets and pictures larger than memory: blocks and items, a manifest, jobs that go on after they were killed."""

from omniup.jobs.batch import Summary, batch

__all__ = ["Summary", "batch"]
