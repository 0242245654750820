"""What this peer refused, from whom and why: content that failed when it was tried, and liars.

A signature says who published, not that it is any good. So what was tried and refuted is
*condemned*: it is never fetched, copied, announced or used again, also after a restart. One try per
content is what a liar can cost.

What is condemned is an author's word about a content, not the content: anyone can sign a record
that names another's honest work as something that it is not. Only what turns out to be no content
at all is condemned whoever names it.

Everything else worth telling the user, a provider of wrong bytes or an impossible claim, is noted
and shown by `paris-peer status` for as long as the process lives.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from paris_p2p.errors import DiskFull
from paris_p2p.files import write_atomically
from paris_p2p.identity import Author

MOST_CONDEMNED: Final = 1024
"""Condemned contents remembered. Beyond that the oldest of the author with the most is forgotten,
and may be tried again: whoever signs a thousand lies makes nobody else's forgotten."""

MOST_NOTES: Final = 256
"""Other refusals remembered; a repeated one counts up and takes no further room."""

MAX_TEXT: Final = 300
"""Characters of a reason that are kept: part of it may be a stranger's."""

_ANYBODY: Final = b""
"""Stands for the author of what is condemned whoever names it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """One thing refused. `author` is hex, "" when unknown; `content` likewise."""

    what: str
    """In words, for example "head of expert 3 at step 1200"."""
    reason: str
    author: str
    """Who signed or sent it: a public key."""
    content: str
    """The content's id; "" when it is not content that was condemned."""
    time: float
    """Of the last time, in Unix seconds; for people to read."""
    times: int = 1
    """How often it happened."""


class Refusals:
    """What was refused, bounded. Safe for threads.

    Parameters
    ----------
    file : where condemned contents are remembered; None for nowhere.
    clock : Unix seconds.
    """

    def __init__(self, file: Path | None, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._condemned = {(one.content, one.author): one for one in _read(file)}
        self._notes: dict[tuple[str, str, str], Refusal] = {}
        self._changing = threading.Lock()
        self._saving = threading.Lock()

    def condemn(self, content: bytes, author: Author | None, what: str, reason: str) -> None:
        """Content that was tried and refuted: never to be tried again.

        `author` is None for what nobody's record makes any better.
        """
        refusal = self._refusal(author or _ANYBODY, what, reason, content)
        log.warning("%s is condemned: %s", f"{what} {refusal.author[:8]}".rstrip(), refusal.reason)
        with self._changing:
            self._condemned.pop((refusal.content, refusal.author), None)
            self._condemned[refusal.content, refusal.author] = refusal
            while len(self._condemned) > MOST_CONDEMNED:
                del self._condemned[self._most_expendable()]
        self._save()

    def is_condemned(self, content: bytes, author: Author) -> bool:
        """Whether a content was refuted as what this author says of it."""
        by = (author.hex(), _ANYBODY.hex())
        return any((content.hex(), one) in self._condemned for one in by)

    def has_condemned(self, content: bytes) -> bool:
        """Whether a content was refuted as what anybody says of it."""
        with self._changing:
            return any(condemned == content.hex() for condemned, _ in self._condemned)

    def note(self, author: Author | None, what: str, reason: str) -> None:
        """Any other refusal that the user should be able to see."""
        fresh = self._refusal(author or b"", what, reason)
        key = (fresh.author, fresh.what, fresh.reason)
        with self._changing:
            before = self._notes.pop(key, None)
            times = before.times + 1 if before else 1
            self._notes[key] = Refusal(**{**asdict(fresh), "times": times})
            while len(self._notes) > MOST_NOTES:
                del self._notes[next(iter(self._notes))]

    def all(self) -> list[Refusal]:
        """Everything remembered, the newest first."""
        with self._changing:
            everything = [*self._condemned.values(), *self._notes.values()]
        return sorted(everything, key=lambda refusal: -refusal.time)

    def _refusal(self, author: Author, what: str, reason: str, content: bytes = b"") -> Refusal:
        return Refusal(what, _printable(reason), author.hex(), content.hex(), self._clock())

    def _most_expendable(self) -> tuple[str, str]:
        """The oldest of the author of whom the most is condemned."""
        [(most, _)] = Counter(author for _, author in self._condemned).most_common(1)
        return next(key for key in self._condemned if key[1] == most)

    def _save(self) -> None:
        """Write what is condemned now. Nobody who asks waits for the disk."""
        if self._file is None:
            return
        with self._saving, suppress(DiskFull):
            with self._changing:
                rows = [asdict(refusal) for refusal in self._condemned.values()]
            write_atomically(self._file, json.dumps(rows).encode())


def _read(file: Path | None) -> list[Refusal]:
    """What was condemned before; nothing where that cannot be read."""
    if file is None:
        return []
    try:
        return [Refusal(**row) for row in json.loads(file.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        log.warning("what was condemned before is forgotten: %s cannot be read (%s)", file, error)
        return []


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_TEXT]
