import pytest

from support.benchmark import small_data


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small folder of data; see `small_data`."""
    return small_data(tmp_path_factory.mktemp("shared"))
