import pytest

from omniup_bench.catalogue import find_task
from omniup_bench.document_tables import TABLES
from omniup_bench.methods import Entry


@pytest.mark.parametrize("name", TABLES)
def test_rows_and_columns_of_the_documents_tables_exist(name):
    asked = TABLES[name]
    assert len({Entry.parse(method).name for method in asked.methods}) == len(asked.methods)
    for task, metrics in asked.metrics.items():
        found = find_task(task)
        assert set(metrics) <= set(found.metrics)
        assert set(asked.factors) <= set(found.factors)
