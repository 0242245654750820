"""What ends a command: Ctrl-C, SIGTERM and SIGHUP take the same path.

The first of them ends it in good order. After that only Ctrl-C counts, and ends the process at
once, wherever it is. The others often come twice: a terminal that closes is told of by the shell
and by the kernel, and `timeout` signals the process and its group.

A SIGHUP that is ignored from the start, as under nohup, stays so.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from paris_p2p.errors import Interrupted

INIT = 1
"""The process id to which the kernel applies no default action: a container's first process."""


def ending_signals() -> list[signal.Signals]:
    """Those that ask this process to end."""
    asked = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asked.append(signal.SIGHUP)
    return asked


def interrupt_on_signals() -> None:
    """From now on the first of them is a KeyboardInterrupt, as Ctrl-C is."""
    _on_signals(_interrupt)


@contextmanager
def on_first_signal(act: Callable[[], None]) -> Iterator[None]:
    """While inside, the first of them calls `act` in place of interrupting."""

    def heard(number: int, frame: FrameType | None) -> None:
        hear_only_ctrl_c()
        act()

    _on_signals(heard)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is heard:
            interrupt_on_signals()


def hear_only_ctrl_c() -> None:
    """One of them was heard: from now on Ctrl-C ends this process at once, and the others nothing.

    By the kernel, for no Python code runs while a library is being loaded.
    """
    _on_signals(_ignore)
    signal.signal(signal.SIGINT, signal.SIG_DFL if os.getpid() != INIT else _end_at_once)


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in ending_signals():
        signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    hear_only_ctrl_c()
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which processes started from here on would inherit."""


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(Interrupted.exit_code)
