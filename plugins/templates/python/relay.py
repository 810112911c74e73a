"""Writes what is printed, and where an exception that ends a call came from, to the relay's log: there is no terminal."""

import io
import sys

from wit_world.imports import host


class Log(io.TextIOBase):
    def __init__(self, level: host.Level) -> None:
        self.level = level

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                host.log(self.level, line)
        return len(text)


def traceback(kind, error, place) -> None:
    # Python's own reads the sources, and there are no files.
    while place is not None:
        code = place.tb_frame.f_code
        host.log(host.Level.ERROR, f"{code.co_filename}, line {place.tb_lineno}, in {code.co_name}")
        place = place.tb_next
    host.log(host.Level.ERROR, f"{kind.__name__}: {error}")


sys.stdout = Log(host.Level.INFO)
sys.stderr = Log(host.Level.ERROR)
sys.excepthook = traceback
