"""Data sets and pictures larger than memory: blocks and items, a manifest, jobs that go on after they were killed."""
