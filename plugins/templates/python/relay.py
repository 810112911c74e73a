"""What this plugin says in the relay's log: what it prints, and where a mistake of its own came from."""

import functools
import io
import sys
import traceback

from componentize_py_types import Err
from wit_world.imports import host


class Log(io.TextIOBase):
    """Takes what is printed, line by line: there is no terminal."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                host.log(host.Level.INFO, line)
        return len(text)


sys.stdout = sys.stderr = Log()


def logged(function):
    """Writes the traceback of an exception to the log before it ends the call. An `Err` is an answer."""

    @functools.wraps(function)
    def call(*given):
        try:
            return function(*given)
        except Err:
            raise
        except Exception:
            for line in traceback.format_exc().splitlines():
                host.log(host.Level.ERROR, line)
            raise

    return call
