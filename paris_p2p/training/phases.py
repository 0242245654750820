"""The phases of a training process besides its steps, told so that no long one is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

Tell = Callable[[str, int, int | None], None]
"""(phase, how much is done, how much there is or None): called often and from one thread."""

TOLD_EVERY: Final = 1.0
"""Least seconds between two words about one phase."""

BEAT: Final = 30.0
"""Most seconds without a word, whatever the phase: silence means that the process is frozen."""


LOADING: Final = ("loading", 0, None)
TRAINING: Final = ("training", 0, None)


def untold(_phase: str, _done: int, _total: int | None) -> None:
    """A Tell that nobody listens to."""


class Voice:
    """Passes phases on to `say`, not too often, and repeats the last one in a silence."""

    def __init__(self, say: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._phase: tuple[str, int, int | None] = LOADING
        self._told = self._heard = clock()

    def stepped(self) -> None:
        """A step was made, and told."""
        self._phase = TRAINING
        self._heard = self._clock()

    def tell(self, phase: str, done: int, total: int | None) -> None:
        """Say a phase that is new, or was not said lately."""
        is_new = phase != self._phase[0]
        self._phase = (phase, done, total)
        if is_new or self._clock() - self._told >= TOLD_EVERY:
            self._speak()

    def beat(self) -> None:
        """Say the phase again if nothing was said for BEAT seconds."""
        if self._clock() - self._heard >= BEAT:
            self._speak()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat in the background during the block."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT / 10):
                self.beat()

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _speak(self) -> None:
        self._told = self._heard = self._clock()
        self._say(*self._phase)
