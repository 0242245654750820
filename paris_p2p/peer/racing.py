"""A fetch has to go at some pace; of several contents that would each do, a slow one is raced.

Who serves a content may serve it as slowly as they like, and a trickle is enough to be waited for.
So there is a least pace, relative to what is still to come. `first_complete` begins with the best
content; while none of those that are being fetched keeps the pace, more are begun beside them, and
the first that is complete wins. `at_pace` gives a single fetch up instead.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.network.tasks import end_tasks

Event = dict[str, Any]

Fetch = Callable[[bytes], AsyncGenerator[Event]]
"""Has a content here, telling "fetching" events; NotAvailable or BadContent where it cannot."""

MOST_AT_ONCE: Final = 4
"""Contents that race at a time: on a slow line they only take each other's room."""

GLANCE: Final = 10.0
"""Seconds without a byte after which a content drops out of a race."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeastPace:
    """What a fetch has to keep up, from `look` seconds after its begin.

    At its rate so far it must take no longer than `soon` seconds in all, or than it would at `rate`
    bytes a second, whichever is more.
    """

    look: float = 5.0
    soon: float = 60.0
    rate: float = 512 * 1024.0


class TooSlow(NotAvailable):
    """Somebody serves it, more slowly than it is worth while there may be something else."""


class StillComing(TooSlow):
    """It comes all the same: perhaps it is the line of this peer that is slow."""


class Pace:
    """How one fetch goes. Pure: `now` is an argument, in seconds of any clock."""

    def __init__(self, least: LeastPace, now: float) -> None:
        self._least = least
        self._began = now
        self._at_first: int | None = None
        self._have = self._total = 0

    def told(self, have: int, total: int) -> None:
        """So many bytes of so many are here; those of the first call were here before."""
        self._at_first = have if self._at_first is None else self._at_first
        self._have, self._total = have, total

    @property
    def has_come(self) -> bool:
        """Whether any of it has."""
        return self._have > (self._at_first or 0)

    def seconds(self, now: float) -> float:
        """How long it takes in all, at its rate so far."""
        got = self._have - (self._at_first or 0)
        return (now - self._began) * self._needed() / got if got else math.inf

    def falls_behind_at(self) -> float:
        """When it begins to be too slow, if no more comes until then; never once it is complete."""
        if 0 < self._total <= self._have:
            return math.inf
        needed, least = self._needed(), self._least
        got = self._have - (self._at_first or 0)
        allowed = max(least.soon, needed / least.rate)
        return self._began + max(least.look, allowed * got / needed if needed else 0.0)

    def _needed(self) -> int:
        return self._total - (self._at_first or 0)


async def at_pace(
    fetching: AsyncGenerator[Event], least: LeastPace = LeastPace()
) -> AsyncGenerator[Event]:
    """The events of one content's fetch; TooSlow once it falls behind the least pace.

    Its first event is the begin: before that, room is made for it, and nothing can come.
    """
    now = asyncio.get_running_loop().time
    pace: Pace | None = None
    async with aclosing(fetching):
        while True:
            try:
                async with asyncio.timeout_at(pace.falls_behind_at() if pace else None) as limit:
                    event = await anext(fetching)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if not limit.expired():
                    raise
                kind = StillComing if pace is not None and pace.has_come else TooSlow
                raise kind(
                    "it comes too slowly to be waited for", "what has arrived is kept"
                ) from error
            if event["event"] == "fetching":
                pace = pace or Pace(least, now())
                pace.told(event["bytes"], event["total"])
            yield event


async def first_complete(
    fetch: Fetch, contents: Sequence[bytes], least: LeastPace = LeastPace()
) -> AsyncGenerator[Event]:
    """Have one of `contents`, best first, through `fetch`.

    "fetching" events, then one "complete" with the content that is here. NotAvailable when none
    of them can be had. What comes of the others is kept.
    """
    async with aclosing(_Race(fetch, contents, least).events()) as events:
        async for event in events:
            yield event


class _Race:
    def __init__(self, fetch: Fetch, contents: Sequence[bytes], least: LeastPace) -> None:
        self._fetch = fetch
        self._waiting = list(dict.fromkeys(contents))
        self._set_aside: list[bytes] = []
        self._least = least
        self._now = asyncio.get_running_loop().time
        self._running: dict[bytes, tuple[asyncio.Task[None], Pace]] = {}
        self._dropped: list[asyncio.Task[None]] = []
        self._told: asyncio.Queue[Event | None] = asyncio.Queue()

    async def events(self) -> AsyncGenerator[Event]:
        try:
            while self._recruit():
                event = await self._next()
                if event is not None:
                    yield event
                    if event["event"] == "complete":
                        return
            raise NotAvailable(
                "none of the candidates can be had", "try again when more peers are online"
            )
        finally:
            racing = [fetching for fetching, _ in self._running.values()]
            await end_tasks(*racing, *self._dropped)

    def _recruit(self) -> bool:
        """Begin what should be begun now; False when nothing is left to try."""
        if not self._running:
            if not self._waiting:
                self._waiting, self._set_aside = self._set_aside, []
            self._begin(1)
        elif self._waiting and self._all_slow():
            if len(self._running) >= MOST_AT_ONCE:
                self._make_room(min(MOST_AT_ONCE // 2, len(self._waiting)))
            self._begin(min(len(self._running), MOST_AT_ONCE - len(self._running)))
        return bool(self._running)

    def _all_slow(self) -> bool:
        return all(pace.falls_behind_at() <= self._now() for _, pace in self._running.values())

    def _make_room(self, count: int) -> None:
        """Set the slowest aside: they are taken up again where nothing else is left."""
        now = self._now()
        slowest = sorted(self._running, key=lambda content: -self._running[content][1].seconds(now))
        for content in slowest[:count]:
            fetching, _ = self._running.pop(content)
            fetching.cancel()
            self._dropped.append(fetching)
            self._set_aside.append(content)

    def _begin(self, count: int) -> None:
        for content in self._waiting[:count]:
            pace = Pace(self._least, self._now())
            fetching = asyncio.create_task(self._run(content, pace))
            self._running[content] = (fetching, pace)
            fetching.add_done_callback(lambda _: self._told.put_nowait(None))
        self._waiting = self._waiting[count:]

    async def _run(self, content: bytes, pace: Pace) -> None:
        try:
            async with aclosing(self._fetch(content)) as events:
                async for event in events:
                    pace.told(event["bytes"], event["total"])
                    self._told.put_nowait(event)
        except (BadContent, NotAvailable) as error:
            log.info("%s is passed over: %s", content.hex()[:12], error)
        else:
            self._told.put_nowait({"event": "complete", "content": content.hex()})

    async def _next(self) -> Event | None:
        """The next event; None when it is time to look, or one has ended. Raises what it raised."""
        looks = [pace.falls_behind_at() for _, pace in self._running.values()]
        try:
            async with asyncio.timeout_at(max(looks) if self._waiting else None):
                event = await self._told.get()
        except TimeoutError:
            return None
        if event is None:
            self._dismiss()
        return event

    def _dismiss(self) -> None:
        for content, (fetching, _) in list(self._running.items()):
            if fetching.done():
                del self._running[content]
                fetching.result()
