"""Lines are appended whole, whatever stands at the end of the file, however full the disk is."""

import resource
import signal
from pathlib import Path

import pytest

from omniup.errors import InputError
from omniup.files.lines import append_line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lines"


def test_lines_are_appended_and_an_unfinished_one_is_replaced(path: Path) -> None:
    for content in (None, b"", b"unfinished", b"\n"):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        append_line(path, b"1", accepted="a file")
        kept = b"\n" if content == b"\n" else b""
        assert path.read_bytes() == kept + b"1\n"
    long = b"x" * 10**6
    append_line(path, long, accepted="a file")
    path.write_bytes(path.read_bytes() + long)
    append_line(path, b"2", accepted="a file")
    assert path.read_bytes() == b"\n1\n" + long + b"\n2\n"


def test_a_line_for_which_there_is_no_room_leaves_the_file_as_it_was(path: Path) -> None:
    path.write_bytes(b"one\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # so that the system takes a part of the line
    try:
        with pytest.raises(InputError, match=r"lines cannot be written \(File too large\); accepted: a file"):
            append_line(path, b"longer than that", accepted="a file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == b"one\n"


def test_what_cannot_be_opened_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        append_line(path / "below", b"", accepted="a file")
    assert list(path.parent.iterdir()) == []
