"""Server-sent events with one JSON object a message; the last one may be an error."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from paris_p2p.errors import ParisError, error_from

log = logging.getLogger(__name__)

Event = dict[str, Any]
PREFIX = "data: "
SESSION_OPEN = ": open"
"""First line of a session's stream."""


async def encode_events(events: AsyncIterator[Event]) -> AsyncIterator[str]:
    """Events as the text of a `text/event-stream`; an error becomes the last event."""
    try:
        async for event in events:
            yield f"{PREFIX}{json.dumps(event)}\n\n"
    except ParisError as error:
        yield f"{PREFIX}{json.dumps(error_event(error))}\n\n"
    except Exception as error:
        log.exception("an answer of the local API broke off")
        yield f"{PREFIX}{json.dumps(error_event(unexpected(error)))}\n\n"


def decode_events(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a stream's lines. Raises the error that an error event tells."""
    for line in lines:
        if line.startswith(PREFIX):
            event: Event = json.loads(line.removeprefix(PREFIX))
            if event["event"] == "error":
                raise error_from(event)
            yield event


def unexpected(error: Exception) -> ParisError:
    """What the user is told of an error that nobody foresaw."""
    return ParisError(f"the peer failed: {error!r}", "Its log says where")


def error_event(error: ParisError) -> Event:
    return {
        "event": "error",
        "message": error.message,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }
