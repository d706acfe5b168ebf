import pytest

from omniup_bench.street_scenes import street_scenes
from support.streets import write_streets


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder as the tasks on features read it."""
    yield write_streets(tmp_path_factory.mktemp("project"))
    street_scenes.cache_clear()
