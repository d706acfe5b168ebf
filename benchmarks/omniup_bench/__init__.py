"""Benchmark every upsampling method on the same real data, with cost beside quality.

`omniup bench` is its command; docs/benchmarking.md says how data sets are laid out. As a library:

    from omniup_bench.catalogue import find_task
    from omniup_bench.data import Folders
    from omniup_bench.methods import Entry
    from omniup_bench.quality import measure
    from omniup_bench.records import Results

    measure([find_task("depth")], [Entry.parse("bilinear")], Folders.of("data"), Results("bench.jsonl"))
"""
