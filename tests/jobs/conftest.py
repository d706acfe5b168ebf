import os
import signal
import warnings

import pytest

from support.jobs import draw, small_job


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with pictures in `photos`, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "photos")
    return tmp_path


@pytest.fixture
def job():
    return small_job


@pytest.fixture(scope="session")
def ray():
    """Ray on this machine, with two cores; started once, since that takes seconds."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own: sockets and processes that it leaves open, fields it deprecates
        pytest.importorskip("ray.data", reason="Ray Data is not installed")
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
        except Exception as error:
            pytest.skip(f"Ray does not start here: {error}")
        signal.signal(signal.SIGTERM, handler)  # Ray's ends the process, of tests that follow in it too
        yield ray
        ray.shutdown()
