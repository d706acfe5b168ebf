import pytest

from omniup_bench.data import Folders
from support.benchmark import small_data


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Small folders of data and models; see `small_data`."""
    return Folders.of(small_data(tmp_path_factory.mktemp("shared")))
