"""Contribution logs between peers: announced, fetched, checked.

    stream    /paris/contributions/1
    request   32-byte author, u64 bytes of that log the client has already
    answer    u32 bytes that follow (0xFFFFFFFF: I do not have it), then these: the rest of the log,
              as it lies on disk (`contribution_logs`)

A peer keeps the logs that it has fetched and checked, so logs outlive their authors' peers. Earlier
readers detect an author that rewrites its log: a client asks from its own last entry on, which
names all before it. If another entry comes, it asks for the whole log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from paris_p2p.errors import BadContent, NotAvailable, ParisError, Unreachable
from paris_p2p.identity import Author, Identity, peer_id_of
from paris_p2p.network.pacing import Pacers, paced, unlimited
from paris_p2p.network.stream_permits import NetworkOf, StreamPermits, nowhere
from paris_p2p.network.swarm import PROTOCOL_PREFIX, Stream, Swarm
from paris_p2p.peer.books.contribution_logs import LOG_LIMIT, ContributionLogs, frames, last_frame
from paris_p2p.records.contribution import Contribution, End, continued
from paris_p2p.records.head import Head
from paris_p2p.records.keys import contributions_key
from paris_p2p.records.presence import PEER, Presence, sealed_presence
from paris_p2p.records.run import slot_name

log = logging.getLogger(__name__)

CONTRIBUTIONS_PROTOCOL = PROTOCOL_PREFIX + "contributions/1"

READERS = 8
"""Logs that we send at a time, one to a peer. Other callers are told that we have none. See
`stream_permits` for their order."""

HOLDERS = 4
"""Most peers asked for one log."""

LIFE, PERIOD = 300.0, 100.0
"""Seconds that an announcement of a log lives, and after which it is renewed."""

PATIENCE = 60.0
"""Seconds that one peer may take to send us a log, and to take one from us."""

Ask = Callable[[int], Awaitable[bytes]]
"""Asks one peer for the part of a log beyond so many bytes."""

_LENGTH = struct.Struct(">I")
_REQUEST = struct.Struct(">32sQ")
_ABSENT = 0xFFFFFFFF


@dataclass(frozen=True)
class Reading:
    """A checked log: its entries, and whether a peer that has it was asked just now."""

    author: Author
    entries: list[Contribution]
    fresh: bool


@dataclass(frozen=True)
class _Log:
    """A checked log as it lies on disk."""

    data: bytes
    entries: list[Contribution]
    end: End

    @property
    def last(self) -> bytes:
        """Its last entry, with its length before it."""
        return last_frame(self.data)

    def followed_by(self, rest: bytes) -> _Log:
        """This log with `rest` appended. BadContent unless all of it is valid."""
        entries, end = continued(self.end, frames(rest))
        return _Log(self.data + rest, [*self.entries, *entries], end)


class LogServer:
    """Sends the logs in this home on request, under the upload limit. Pass it to `Swarm.serve`.

    `network_of` and `clock` as in `StreamPermits`.
    """

    def __init__(
        self,
        logs: ContributionLogs,
        *,
        pacers: Pacers | None = None,
        network_of: NetworkOf = nowhere,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logs = logs
        self._pacers = pacers or unlimited()
        self._permits = StreamPermits(READERS, 1, network_of, clock=clock)

    async def __call__(self, caller: bytes, stream: Stream) -> None:
        author, had = _REQUEST.unpack(await stream.read_exactly(_REQUEST.size))
        permit = await self._permits.take(stream)
        if permit is None:
            await stream.write(_LENGTH.pack(_ABSENT))
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._send(paced(stream, self._pacers), author, had)
        except TimeoutError:
            log.info("%s took too long over a contribution log", caller.hex())
        finally:
            self._permits.leave(permit)

    async def _send(self, stream: Stream, author: Author, had: int) -> None:
        data = await asyncio.to_thread(self._logs.read, author)
        rest = data[had:]
        await stream.write(_LENGTH.pack(len(rest) if data else _ABSENT))
        await stream.write(rest)


async def note(
    logs: ContributionLogs, identity: Identity, sealed_head: bytes, known: Sequence[Head]
) -> None:
    """Append a head that is being published. `known` : the earlier heads of its slot.

    An error is logged and does not stop publishing.
    """
    try:
        await asyncio.to_thread(logs.append, identity, sealed_head, known)
    except ParisError as error:
        log.error("a published head is missing in the contribution log: %s", error)


async def announce(
    swarm: Swarm, identity: Identity, run_id: bytes, logs: ContributionLogs, now: float
) -> None:
    """Announce the logs that are here. A failed announcement is repeated in the next round."""
    presence = sealed_presence(identity, run_id, swarm.addresses(), PEER, now)
    for author in await asyncio.to_thread(logs.authors):
        with contextlib.suppress(Unreachable, TimeoutError):
            await swarm.store(contributions_key(author), presence, now + LIFE)


async def read_log(
    swarm: Swarm, logs: ContributionLogs, author: Author, pacers: Pacers | None = None
) -> Reading:
    """The longest valid log of `author` that any peer has, checked and kept here.

    Raises NotAvailable if nobody has one, BadContent if two valid logs contradict each other: the
    author has signed both, which proves that it rewrote its log.
    """
    best, fresh = await asyncio.to_thread(_kept, logs, author), author == swarm.author
    had = len(best.data)
    for source, addresses in await _holders(swarm, author):
        ask = partial(_ask, swarm, source, addresses, author, pacers or unlimited())
        try:
            found = await _sound_log(ask, best)
        except (ParisError, TimeoutError) as error:
            log.info("%s has no log of %s for us: %s", source.hex(), author.hex(), error)
            continue
        if not (found.data.startswith(best.data) or best.data.startswith(found.data)):
            raise BadContent(
                f"{peer_id_of(author)} has signed two logs that contradict each other",
                "Trust neither: the author has rewritten its log",
            )
        best, fresh = max(best, found, key=lambda each: len(each.data)), True
    if not best.data:
        raise NotAvailable(
            f"no peer has a contribution log of {peer_id_of(author)}",
            "Try again while a peer of that author is online",
        )
    if len(best.data) > had:
        await asyncio.to_thread(logs.keep, author, best.data)
    return Reading(author, best.entries, fresh)


def _kept(logs: ContributionLogs, author: Author) -> _Log:
    return _nothing_of(author).followed_by(logs.read(author))


def _nothing_of(author: Author) -> _Log:
    return _Log(b"", [], End(author))


async def _sound_log(ask: Ask, known: _Log) -> _Log:
    """A peer's log, checked: the part after `known`, or else all of it.

    Raises BadContent, NotAvailable, Unreachable, TimeoutError.
    """
    rest = await ask(len(known.data) - len(known.last))
    if rest.startswith(known.last):
        return await asyncio.to_thread(known.followed_by, rest[len(known.last) :])
    whole = await ask(0)
    if not whole:
        raise BadContent("its log has no entries")
    if known.data.startswith(whole):
        return known
    return await asyncio.to_thread(_nothing_of(known.end.author).followed_by, whole)


def told(reading: Reading) -> dict[str, Any]:
    """A log as a JSON-able dictionary, newest entry last."""
    return {
        "author": reading.author.hex(),
        "peer": peer_id_of(reading.author),
        "fresh": reading.fresh,
        "entries": [_entry_fields(entry) for entry in reading.entries],
    }


def _entry_fields(entry: Contribution) -> dict[str, Any]:
    head = entry.head
    return {
        "number": entry.number,
        "run": head.run.hex(),
        "slot": head.expert,
        "name": slot_name(head.expert),
        "step": head.step,
        "gained": entry.gained,
        "images": head.images,
        "held_out_loss": head.held_out_loss,
        "manifest": head.manifest.hex(),
        "parent": head.parent.hex() if head.parent else None,
        "created": head.created,
    }


async def _holders(swarm: Swarm, author: Author) -> list[tuple[Author, tuple[str, ...]]]:
    """Other peers that announce this log, the author's own first."""
    holders = []
    for entry in await swarm.lookup(contributions_key(author)):
        with contextlib.suppress(BadContent):
            presence = Presence.unseal(entry.value)
            if presence.author == entry.owner != swarm.author:
                holders.append((presence.author, presence.addresses))
    return sorted(holders, key=lambda holder: holder[0] != author)[:HOLDERS]


async def _ask(
    swarm: Swarm,
    source: Author,
    addresses: tuple[str, ...],
    author: Author,
    pacers: Pacers,
    had: int,
) -> bytes:
    """A peer's bytes of a log beyond the first `had`. NotAvailable if it sends none."""
    stream = await swarm.open(source, CONTRIBUTIONS_PROTOCOL, addresses)
    try:
        async with asyncio.timeout(PATIENCE):
            await stream.write(_REQUEST.pack(author, had))
            (length,) = _LENGTH.unpack(await stream.read_exactly(_LENGTH.size))
            if length == _ABSENT:
                raise NotAvailable("it has none, or is busy")
            if had + length > LOG_LIMIT:
                raise BadContent(f"a log of {had + length} bytes, over {LOG_LIMIT}")
            return await paced(stream, pacers).read_exactly(length)
    finally:
        await stream.close()
