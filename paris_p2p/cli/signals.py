"""The signals that end a command: Ctrl-C, SIGTERM and SIGHUP, all handled alike.

The first signal ends the command in good order. After that only Ctrl-C counts, and ends the process
at once. The others often come twice: both the shell and the kernel report a terminal that closes,
and `timeout` signals the process and its group.

A SIGHUP that is ignored from the start, as under nohup, stays ignored.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from paris_p2p.errors import Interrupted

INIT = 1
"""The process id of a container's first process: the kernel applies no default action to it."""


def ending_signals() -> list[signal.Signals]:
    """The signals that ask this process to end."""
    asked = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asked.append(signal.SIGHUP)
    return asked


def interrupt_on_signals() -> None:
    """Make the first ending signal raise KeyboardInterrupt, as Ctrl-C does."""
    _on_signals(_interrupt)


@contextmanager
def on_first_signal(act: Callable[[], None]) -> Iterator[None]:
    """Inside the block, the first ending signal calls `act` instead of interrupting."""

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
    """After the first signal: Ctrl-C ends this process at once, and the others do nothing.

    The kernel ends it, because no Python code runs while a library is being loaded.
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
    """Ignore a signal. SIG_IGN would be inherited by child processes."""


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(Interrupted.exit_code)
