"""The only way to the standard streams: all output of a command goes through this module.

The text may come from an argument or from a stranger, so control characters are shown as escapes. A
short command fails when its output cannot be written. Long work goes on: see `Enduring`.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 100_000
"""Columns of a standard output that is not a terminal: tables in a file are never cut."""

_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Format characters that are part of words and emoji."""

_LOST = (OSError, ValueError, RuntimeError)
"""Errors of a stream that is gone, full or closed, cannot encode a character, or was interrupted by
a signal."""

Cell = str | tuple[str, str]
"""Text of a table cell, or text and its style."""

log = logging.getLogger(__name__)


def printable(text: str) -> str:
    """`text` with every control character escaped: one line, which cannot move the cursor."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _CONTROLS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def write(*lines: str) -> None:
    """Write lines to standard output at once. Raises OSError when that fails."""
    print(*map(printable, lines), sep="\n", flush=True)


def write_json(value: object) -> None:
    """Write a JSON value as a line of standard output. Raises OSError when that fails."""
    print(json.dumps(value), flush=True)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table to standard output, as wide as its text when that is not a terminal."""
    from rich.table import Table

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(_text, row))
    console = wide_console()
    with console.capture() as drawn:
        console.print(table)
    print(drawn.get(), end="", flush=True)


def wide_console() -> Console:
    """rich's console on standard output. It wraps and cuts lines only on a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


def _text(cell: Cell) -> Any:
    from rich.text import Text

    words, style = (cell, "") if isinstance(cell, str) else cell
    return Text("\n".join(map(printable, words.split("\n"))), style)


def complain(line: str) -> None:
    """Write a line to standard error, if possible."""
    with suppress(*_LOST):
        print(printable(line), file=sys.stderr, flush=True)


class Enduring:
    """A stream for work that goes on without it: output that it does not take is dropped.

    The first loss is logged, and again the first loss after a successful write.

    Parameters
    ----------
    waits : whether to wait for a reader that pauses, as `less` does, or a terminal after Ctrl-S.
        Otherwise the output is dropped meanwhile.
    """

    def __init__(self, stream: TextIO, *, waits: bool = True) -> None:
        self._stream = stream
        self._waits = waits
        self._losing = False

    def say(self, *lines: str) -> None:
        self._say("\n".join(map(printable, lines)))

    def say_json(self, value: object) -> None:
        self._say(json.dumps(value))

    def _say(self, text: str) -> None:
        if not self._waits and not _takes_more(self._stream):
            self._lose("nobody reads it")
            return
        with self._dropping():
            self._stream.write(text + "\n")
            self._stream.flush()
            self._losing = False

    # The methods that rich calls

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except _LOST as error:
            self._lose(error)

    def _lose(self, reason: object) -> None:
        if not self._losing:
            self._losing = True
            log.warning("standard output is lost, the work goes on: %s", reason)


def _takes_more(stream: TextIO) -> bool:
    """Whether a line can be written without waiting."""
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except _LOST:
        return True


def prepare_streams() -> None:
    """Make the standard streams safe to write to, whatever state the caller left them in.

    A closed stream is replaced by /dev/null, so that no later file or connection gets its number.
    Characters that a stream's encoding does not have are escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_streams() -> None:
    """Flush the standard streams; discard what they do not take."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except _LOST:
            with suppress(*_LOST):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
