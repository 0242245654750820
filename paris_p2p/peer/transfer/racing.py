"""A least pace for a fetch, and a race between alternative contents.

A provider could trickle bytes to keep a fetch waiting. So there is a least pace, relative to the
bytes that are still missing. `at_pace` gives up a fetch that is slower. `first_complete` begins
with the best content. While that is slower, the others are tried beside it, one at a time, and the
faster of the two goes on. If all are slow, the cause is this peer's line: the fastest goes on
alone, and must keep the pace that it has shown.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.upkeep.store_quota import NoRoom

Event = dict[str, Any]

Fetch = Callable[[bytes], AsyncGenerator[Event]]
"""Fetches a content, with "fetching" events. Raises NotAvailable or BadContent."""

GLANCE: Final = 10.0
"""Seconds without a byte after which a content drops out of a race."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeastPace:
    """The pace that a fetch must keep, from `look` seconds after its start.

    At its rate so far, the whole fetch must take no longer than `soon` seconds, or than it would at
    `rate` bytes a second, whichever is more.
    """

    look: float = 5.0
    soon: float = 60.0
    rate: float = 512 * 1024.0


class TooSlow(NotAvailable):
    """A fetch is slower than its least pace."""


class StillComing(TooSlow):
    """A fetch is too slow, but bytes arrive: perhaps this peer's line is slow."""


class Pace:
    """The pace of one fetch. Pure: `now` is an argument, in seconds of any clock."""

    def __init__(self, least: LeastPace, now: float) -> None:
        self._least = least
        self._began = now
        self._at_first: int | None = None
        self._have = self._total = 0

    def told(self, have: int, total: int) -> None:
        """Note that `have` of `total` bytes are here. Those of the first call were here before."""
        self._at_first = have if self._at_first is None else self._at_first
        self._have, self._total = have, total

    @property
    def has_come(self) -> bool:
        """Whether any byte has arrived."""
        return self._have > (self._at_first or 0)

    def seconds(self, now: float) -> float:
        """The seconds that the whole fetch takes at its rate so far."""
        got = self._have - (self._at_first or 0)
        return (now - self._began) * self._needed() / got if got else math.inf

    def falls_behind_at(self) -> float:
        """The time from which it is too slow if no more bytes come; inf once it is complete."""
        if 0 < self._total <= self._have:
            return math.inf
        needed, least = self._needed(), self._least
        got = self._have - (self._at_first or 0)
        allowed = max(least.soon, needed / least.rate)
        return self._began + max(least.look, allowed * got / needed if needed else 0.0)

    def begin_anew(self, now: float, look: float) -> None:
        """From now on require half of the pace that it has shown, after `look` seconds."""
        left = self._total - self._have
        self._least = LeastPace(look, 2 * self.seconds(now) * left / self._needed(), math.inf)
        self._began, self._at_first = now, self._have

    def _needed(self) -> int:
        return self._total - (self._at_first or 0)


async def at_pace(
    fetching: AsyncGenerator[Event], least: LeastPace = LeastPace()
) -> AsyncGenerator[Event]:
    """The events of one content's fetch. TooSlow once it falls behind the least pace.

    Its pace counts from its first event. Before that, room is made and no byte can arrive.
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
                raise kind("the download is too slow", "received chunks are kept") from error
            if event["event"] == "fetching":
                pace = pace or Pace(least, now())
                pace.told(event["bytes"], event["total"])
            yield event


async def first_complete(
    fetch: Fetch, contents: Sequence[bytes], least: LeastPace = LeastPace()
) -> AsyncGenerator[Event]:
    """Fetch one of `contents`, best first, with `fetch`.

    Yields "fetching" events, then one "complete" event with the content that is here. NotAvailable
    if none can be fetched. Received chunks of the others are kept.
    """
    async with aclosing(_Race(fetch, contents, least).events()) as events:
        async for event in events:
            yield event


class _Race:
    def __init__(self, fetch: Fetch, contents: Sequence[bytes], least: LeastPace) -> None:
        self._fetch = fetch
        self._waiting = list(dict.fromkeys(contents))
        self._set_aside: list[bytes] = []
        self._need_all_room: set[bytes] = set()
        self._no_room: NoRoom | None = None
        self._least = least
        self._now = asyncio.get_running_loop().time
        self._last_begin = self._now()
        self._running: dict[bytes, tuple[asyncio.Task[None], Pace]] = {}
        self._dropped: list[asyncio.Task[None]] = []
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def events(self) -> AsyncGenerator[Event]:
        try:
            while self._begin_due():
                event = await self._next()
                if event is not None:
                    yield event
                    if event["event"] == "complete":
                        return
            raise self._no_room or NotAvailable(
                "none of the candidates can be fetched", "try again when more peers are online"
            )
        finally:
            racing = [fetching for fetching, _ in self._running.values()]
            await end_tasks(*racing, *self._dropped)

    def _begin_due(self) -> bool:
        """Begin the next fetch if it is time. False if nothing is left to try."""
        if not self._running:
            if not self._waiting:
                self._waiting, self._set_aside = self._set_aside, []
            self._begin_next()
        elif self._all_slow():
            if not self._waiting and self._now() >= self._second_look():
                self._try_again()
            if self._waiting:
                self._keep_quickest()
                self._begin_next()
            elif self._all_showed_a_pace():
                self._keep_quickest().begin_anew(self._now(), self._least.soon)
        return bool(self._running)

    def _all_slow(self) -> bool:
        return all(pace.falls_behind_at() <= self._now() for _, pace in self._running.values())

    def _all_showed_a_pace(self) -> bool:
        return all(pace.seconds(self._now()) < math.inf for _, pace in self._running.values())

    def _second_look(self) -> float:
        """The time to retry those set aside, if the running fetches are still slow."""
        return self._last_begin + self._least.soon

    def _try_again(self) -> None:
        """Retry those set aside, for longer this time."""
        self._waiting, self._set_aside = self._set_aside, []
        self._least = replace(self._least, look=self._least.soon)

    def _keep_quickest(self) -> Pace:
        """Set all but the fastest fetch aside. Returns its pace."""
        now = self._now()
        quickest = min(self._running, key=lambda content: self._running[content][1].seconds(now))
        self._set_others_aside(quickest)
        return self._running[quickest][1]

    def _set_others_aside(self, kept: bytes) -> None:
        for content in [content for content in self._running if content != kept]:
            fetching, _ = self._running.pop(content)
            fetching.cancel()
            self._dropped.append(fetching)
            self._set_aside.append(content)

    def _begin_next(self) -> None:
        if not self._waiting:
            return
        content = self._waiting.pop(0)
        if content in self._need_all_room:
            self._set_others_aside(content)
        self._last_begin = self._now()
        pace = Pace(self._least, self._last_begin)
        fetching = asyncio.create_task(self._run(content, pace))
        self._running[content] = (fetching, pace)
        fetching.add_done_callback(lambda _: self._queue.put_nowait(None))

    async def _run(self, content: bytes, pace: Pace) -> None:
        try:
            if self._dropped:
                await asyncio.wait(self._dropped)  # their room is free then
            async with aclosing(self._fetch(content)) as events:
                async for event in events:
                    pace.told(event["bytes"], event["total"])
                    self._queue.put_nowait(event)
        except NoRoom as error:
            self._note_no_room(content, error)
        except (BadContent, NotAvailable) as error:
            log.info("%s is passed over: %s", content.hex()[:12], error)
        else:
            self._queue.put_nowait({"event": "complete", "content": content.hex()})

    def _note_no_room(self, content: bytes, error: NoRoom) -> None:
        """Pass a content over. If rivals took its room, it is retried next, without them."""
        log.info("%s is passed over: %s", content.hex()[:12], error)
        has_rivals = content in self._running and len(self._running) > 1
        if has_rivals and content not in self._need_all_room:
            self._need_all_room.add(content)
            self._waiting.insert(0, content)
        else:
            self._no_room = error

    async def _next(self) -> Event | None:
        """The next event; None if a look is due or a fetch has ended. Raises a fetch's error."""
        try:
            async with asyncio.timeout_at(self._next_look()):
                event = await self._queue.get()
        except TimeoutError:
            return None
        if event is None:
            self._remove_ended()
        return event

    def _next_look(self) -> float | None:
        slow_at = max(pace.falls_behind_at() for _, pace in self._running.values())
        if self._waiting:
            return slow_at
        return max(slow_at, self._second_look()) if self._set_aside else None

    def _remove_ended(self) -> None:
        for content, (fetching, _) in list(self._running.items()):
            if fetching.done():
                del self._running[content]
                fetching.result()
