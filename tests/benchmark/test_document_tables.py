import pytest

from omniup_bench.catalogue import find_task, tasks
from omniup_bench.document_tables import TABLES
from omniup_bench.methods import Entry


@pytest.mark.parametrize("name", TABLES)
def test_rows_and_columns_of_the_documents_tables_exist(name):
    asked = TABLES[name]
    assert len({Entry.parse(method).name for method in asked.methods}) == len(asked.methods)
    for task, metrics in asked.metrics.items():
        found = find_task(task)
        assert set(metrics) <= set(found.metrics)
        shared = set(asked.factors) & set(found.factors)
        assert shared == (set(found.factors) if asked.rows == "tasks" else set(asked.factors))


def test_no_task_that_has_a_truth_is_left_out_of_the_comparison_with_interpolation():
    asked = TABLES["interpolation"]
    unlike = ("consistency-", "probe-depth", "probe-normals")  # no truth; no probe that beats a constant (anyup.md)
    assert set(asked.metrics) == {name for name in tasks() if not name.startswith(unlike)}
    for task, metrics in asked.metrics.items():
        assert metrics == (next(iter(find_task(task).metrics)),)
