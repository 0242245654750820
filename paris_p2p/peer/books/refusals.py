"""Refused content and claims, with author and reason.

A signature proves the author of a content, not its quality. So content that was tried and refuted
is *condemned*: it is never fetched, copied, announced or used again, also after a restart. A liar
can cost one try per content.

Content is condemned only as one author's: anyone can sign a record that names another's honest work
as something that it is not. Only bytes that are not a manifest are condemned for all authors.

Other refusals, such as a provider of wrong bytes or an impossible claim, are noted. `paris-peer
status` shows them while the process lives.
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
"""Most condemned contents kept. Beyond that the oldest of the author with the most is forgotten and
may be tried again, so that a flood of one author's lies does not displace those of others."""

MOST_NOTES: Final = 256
"""Most other refusals kept. A repeated one only increases its count."""

MAX_TEXT: Final = 300
"""Most characters kept of a reason: part of it may be a stranger's text."""

_ANYBODY: Final = b""
"""Stands for the author of content that is condemned for all authors."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """One refusal. `author` and `content` are hex; "" if unknown."""

    what: str
    """The refused thing in words, for example "head of expert 3 at step 1200"."""
    reason: str
    author: str
    """Public key of its signer or sender."""
    content: str
    """Id of the condemned content; "" for other refusals."""
    time: float
    """Time of the last refusal, in Unix seconds; for people to read."""
    times: int = 1
    """How often it happened."""


class Refusals:
    """The refusals of one node, bounded. Thread-safe.

    Parameters
    ----------
    file : keeps the condemned contents; None to keep them in memory only.
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
        """Condemn content that was tried and refuted. `author` : None for all authors."""
        refusal = self._refusal(author or _ANYBODY, what, reason, content)
        log.warning("%s is condemned: %s", f"{what} {refusal.author[:8]}".rstrip(), refusal.reason)
        with self._changing:
            self._condemned.pop((refusal.content, refusal.author), None)
            self._condemned[refusal.content, refusal.author] = refusal
            while len(self._condemned) > MOST_CONDEMNED:
                del self._condemned[self._most_expendable()]
        self._save()

    def is_condemned(self, content: bytes, author: Author) -> bool:
        """Whether a content was refuted as this author's."""
        by = (author.hex(), _ANYBODY.hex())
        return any((content.hex(), one) in self._condemned for one in by)

    def has_condemned(self, content: bytes) -> bool:
        """Whether a content was refuted as any author's."""
        with self._changing:
            return any(condemned == content.hex() for condemned, _ in self._condemned)

    def note(self, author: Author | None, what: str, reason: str) -> None:
        """Note any other refusal, for the user to see."""
        fresh = self._refusal(author or b"", what, reason)
        key = (fresh.author, fresh.what, fresh.reason)
        with self._changing:
            before = self._notes.pop(key, None)
            times = before.times + 1 if before else 1
            self._notes[key] = Refusal(**{**asdict(fresh), "times": times})
            while len(self._notes) > MOST_NOTES:
                del self._notes[next(iter(self._notes))]

    def all(self) -> list[Refusal]:
        """All refusals, the newest first."""
        with self._changing:
            everything = [*self._condemned.values(), *self._notes.values()]
        return sorted(everything, key=lambda refusal: -refusal.time)

    def _refusal(self, author: Author, what: str, reason: str, content: bytes = b"") -> Refusal:
        return Refusal(what, _printable(reason), author.hex(), content.hex(), self._clock())

    def _most_expendable(self) -> tuple[str, str]:
        """The oldest entry of the author with the most condemned contents."""
        [(most, _)] = Counter(author for _, author in self._condemned).most_common(1)
        return next(key for key in self._condemned if key[1] == most)

    def _save(self) -> None:
        """Write the condemned contents. Readers do not wait for the disk."""
        if self._file is None:
            return
        with self._saving, suppress(DiskFull):
            with self._changing:
                rows = [asdict(refusal) for refusal in self._condemned.values()]
            write_atomically(self._file, json.dumps(rows).encode())


def _read(file: Path | None) -> list[Refusal]:
    """The condemned contents on disk; none if the file cannot be read."""
    if file is None:
        return []
    try:
        return [Refusal(**row) for row in json.loads(file.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        log.warning("condemned contents are forgotten: %s cannot be read (%s)", file, error)
        return []


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_TEXT]
