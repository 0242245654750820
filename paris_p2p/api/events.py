"""Server-sent events with one JSON object a message; the last one may be an error.

A job's events are numbered (`id:`), so that a client can ask for the rest after a lost connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import Any, Final

from paris_p2p.errors import ParisError, error_event, error_from
from paris_p2p.network.tasks import end_tasks

log = logging.getLogger(__name__)

Event = dict[str, Any]
PREFIX = "data: "
NUMBER = "id: "
ENDED = "ended"
"""Name of the last event of a job that did not fail."""

KEEP_ALIVE: Final = 15.0
"""Seconds without an event before a comment is sent: it shows whether the client still listens."""
SESSION_OPEN = ": open"
"""First line of a session's stream."""


async def encode_events(events: AsyncIterator[Event]) -> AsyncIterator[str]:
    """Events as the text of a `text/event-stream`; an error becomes the last event."""
    try:
        async for event in events:
            yield _message(event)
    except ParisError as error:
        yield _message(error_event(error))
    except Exception as error:
        log.exception("an answer of the local API broke off")
        yield _message(error_event(unexpected(error)))


async def encode_job(events: AsyncIterator[tuple[int, Event]]) -> AsyncGenerator[str]:
    """As `encode_events`, of numbered events; the last message is the job's outcome."""
    try:
        async for number, event in events:
            yield f"{NUMBER}{number}\n{_message(event)}"
        yield _message({"event": ENDED})
    except ParisError as error:
        yield _message(error_event(error))


async def kept_alive(
    messages: AsyncGenerator[str], period: float = KEEP_ALIVE
) -> AsyncGenerator[str]:
    """The messages, and a comment after every `period` seconds without one."""
    pending = asyncio.ensure_future(anext(messages, None))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=period)
            if not done:
                yield ": alive\n\n"
            elif (message := pending.result()) is not None:
                yield message
                pending = asyncio.ensure_future(anext(messages, None))
            else:
                return
    finally:
        await end_tasks(pending)
        await messages.aclose()


def decode_events(lines: Iterable[str]) -> Iterator[Event]:
    """The events in a stream's lines. Raises the error in an error event."""
    for _, event in decode_numbered(lines):
        yield event


def decode_numbered(lines: Iterable[str]) -> Iterator[tuple[int, Event]]:
    """As `decode_events`, each event with its number, or the number before it."""
    number = 0
    for line in lines:
        if line.startswith(NUMBER):
            number = int(line.removeprefix(NUMBER))
        elif line.startswith(PREFIX):
            event: Event = json.loads(line.removeprefix(PREFIX))
            if event["event"] == "error":
                raise error_from(event)
            yield number, event


def _message(event: Event) -> str:
    return f"{PREFIX}{json.dumps(event)}\n\n"


def unexpected(error: Exception) -> ParisError:
    """The error that the user sees for an unexpected one."""
    return ParisError(f"the peer failed: {error!r}", "Its log says where")
