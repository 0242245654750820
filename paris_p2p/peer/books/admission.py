"""The check that a head or resume state passes before it is kept.

Records of authors who do not count take no room, so strangers cannot crowd out those who do.
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
    """Returns a check whether a record counts: by its author, and by what can be true.

    The run's own contents are nobody's checkpoint. Records of `own` may lie ahead of the `clock`
    (Unix seconds), since it may have been set back. So may records that were kept before: for them,
    `clock` is `end_of_time`.
    """
    run_contents = run.content_ids() | {run_id}

    def problem(record: Head | Resume) -> str | None:
        if record.author != own and is_ahead(record.created, clock()):
            return "its creation time lies in the future"
        return impossible(record, run)

    def counts(record: Head | Resume) -> bool:
        content = record.manifest
        if content in run_contents or refusals.is_condemned(content, record.author):
            return False
        if not authorisation.publishes(record.author):
            return False
        reason = problem(record)
        if reason is not None:
            refusals.note(record.author, f"{record.KIND} of {slot_name(record.expert)}", reason)
        return reason is None

    return counts


def end_of_time() -> float:
    """A clock that no creation time is ahead of."""
    return math.inf
