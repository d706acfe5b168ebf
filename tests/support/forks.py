"""Functions in forks of this process, which need not import anything again."""

import os
import signal
import sys
import traceback
import warnings
from pathlib import Path


class Fork:
    """A function in a fork of this process.

    Args:
        run: returns the exit status, or raises SystemExit.
        said: the file that standard output goes to; standard error goes to one of this name and `.err`.
    """

    def __init__(self, run, said=os.devnull):
        if said != os.devnull:
            for path in (said, f"{said}.err"):
                Path(path).write_bytes(b"")  # for this process to read at once
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads, none of which the function needs
            self.pid = os.fork()
        self._ended = None  # the status that the system gave, which it does once
        if self.pid:
            return
        status = 99
        try:
            warnings.resetwarnings()  # which are errors in tests, and not elsewhere
            self._say(said)
            status = run()
        except SystemExit as left:
            status = left.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _say(self, said):
        """Lead standard output and error to files, and not to what pytest has put in their place."""
        for number, name, path in ((1, "stdout", said), (2, "stderr", said if said == os.devnull else f"{said}.err")):
            with Path(path).open("wb") as file:
                os.dup2(file.fileno(), number)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))

    def is_running(self):
        """Whether it runs."""
        return self._wait(os.WNOHANG) is None

    def wait(self):
        """Wait for its end, and return its exit status, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(self._wait(0))

    def _wait(self, options):
        if self._ended is None:
            pid, status = os.waitpid(self.pid, options)
            self._ended = status if pid else None
        return self._ended

    def send(self, number):
        """Send it a signal."""
        os.kill(self.pid, number)

    def is_killed(self):
        """Kill it as `kill -9` does, and tell whether it had not ended before."""
        if self.is_running():
            self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def kill(self):
        """Kill it, which must not have ended."""
        assert self.is_killed()
