"""Which heads and resume states this peer takes at all: who does not count takes no room.

Asked before anything is kept, so that no number of strangers crowds out those who count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from paris_p2p.identity import Author
from paris_p2p.peer.books.authorisation import Authorisation
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.records.created_time import is_ahead
from paris_p2p.records.head import Head
from paris_p2p.records.progress_limits import impossible
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest, slot_name


def admission(
    run: RunManifest,
    run_id: bytes,
    own: Author,
    authorisation: Authorisation,
    refusals: Refusals,
    clock: Callable[[], float] = time.time,
) -> Callable[[Head | Resume], bool]:
    """Whether a record counts: by its author and by what can be true.

    What the run itself is made of is nobody's checkpoint. What is `own` may lie ahead of the clock
    (Unix seconds): the clock was set back since. So may what was kept before, for which `clock` is
    `end_of_time`.
    """
    what_makes_the_run = run.content_ids() | {run_id}

    def problem(record: Head | Resume) -> str | None:
        if record.author != own and is_ahead(record.created, clock()):
            return "it says that it was made in the future"
        return impossible(record, run)

    def counts(record: Head | Resume) -> bool:
        content = record.manifest
        if content in what_makes_the_run or refusals.is_condemned(content, record.author):
            return False
        if not authorisation.publishes(record.author):
            return False
        reason = problem(record)
        if reason is not None:
            refusals.note(record.author, f"{record.KIND} of {slot_name(record.expert)}", reason)
        return reason is None

    return counts


def end_of_time() -> float:
    """A clock by which nothing was made in the future."""
    return math.inf
