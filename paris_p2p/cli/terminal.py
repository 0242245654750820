"""The one way to the standard streams: everything a command says goes through here.

What is said may come from an argument or from a stranger, so control characters are shown as
escapes. A short command fails where nobody takes its words. Work goes on: see `Enduring`.
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
"""Columns of a standard output that is no terminal: tables in a file are never cut."""

_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Format characters that words and emoji are spelt with."""

_LOST = (OSError, ValueError, RuntimeError)
"""A stream that is gone, full, closed or cannot spell a character; or one that is being written to
by what a signal has interrupted."""

Cell = str | tuple[str, str]
"""Text of a table, or text and its style."""

log = logging.getLogger(__name__)


def printable(text: str) -> str:
    """`text` with every control character as an escape: it is one line and moves no cursor."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _CONTROLS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def write(*lines: str) -> None:
    """Lines on standard output, at once. Raises OSError where it takes none."""
    print(*map(printable, lines), sep="\n", flush=True)


def write_json(value: object) -> None:
    """One JSON value on a line of standard output. Raises OSError where it takes none."""
    print(json.dumps(value), flush=True)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """A table on standard output, as wide as its text where that is no terminal."""
    from rich.table import Table

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(_text, row))
    console = wide_console()
    with console.capture() as drawn:
        console.print(table)
    print(drawn.get(), end="", flush=True)


def wide_console() -> Console:
    """rich's console on standard output; nothing is wrapped or cut where that is no terminal."""
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
    """A line on standard error, if that takes one."""
    with suppress(*_LOST):
        print(printable(line), file=sys.stderr, flush=True)


class Enduring:
    """A stream for work that goes on without it: what it does not take is dropped.

    The first loss is logged, and the next one after it has taken something again.

    Parameters
    ----------
    waits : for a reader that pauses, as `less` does, or a terminal after Ctrl-S. Otherwise what is
        said meanwhile is dropped too.
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

    # What rich writes to

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
    """Make the standard streams fit to write to, whatever the caller left of them.

    A closed one leads to /dev/null, so that no file or connection of ours gets its number. What
    a stream's encoding cannot spell is escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_streams() -> None:
    """Let go of what the standard streams still hold and do not take."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except _LOST:
            with suppress(*_LOST):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
