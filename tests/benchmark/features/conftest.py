import pytest

from omniup_bench.data import Folders
from support.streets import write_streets


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders as the tasks on features read them."""
    return Folders.of(write_streets(tmp_path_factory.mktemp("project")))
