"""The one seam between paris-p2p and the outside world.

Everything above `network/` speaks to other peers through `Swarm` and nothing else. Two backends
keep this contract and pass the same tests (`tests/network/test_swarm_contract.py`):

* `hivemind_swarm.HivemindSwarm`: libp2p and the hivemind DHT, as a running peer uses them;
* `memory.MemorySwarm`: the same contract inside one process, for tests and simulations.

Records
    A *key* is a short string, an *entry* is one owner's value under it. An owner writes only its
    own entry, so nobody overwrites another's. Readers get all entries, and a pure function decides.
    Values are advice, never proof. They have at most `MAX_VALUE` bytes and live at most `MAX_LIFE`
    seconds unless they are re-announced. An empty value is a tombstone: it replaces the owner's
    entry, and readers do not see it.

Streams
    Ordered bytes between two peers, authenticated and encrypted end to end: `Stream.author` is the
    key that the remote has proven to hold. The end of a stream proves nothing, as a remote that
    died looks like one that finished. So protocols frame their messages with lengths and hashes.

Time is Unix time in seconds; sizes are bytes; keys of peers are raw 32-byte Ed25519 public keys.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.network.reach.reachability_types import Reachability, Way

MAX_KEY = 256
"""Longest record key, in bytes of UTF-8."""

MAX_VALUE = 2048
"""Largest record value, in bytes."""

MAX_LIFE = 3600.0
"""Furthest expiration of a record from now, in seconds."""

MAX_OWNERS = 128
"""Most owners that peers keep under one key; spread wider sets over several keys."""

INACTIVITY = 10.0
"""Seconds without progress after which a stream counts as dead."""

PROTOCOL_PREFIX = "/paris/"
"""Every stream protocol is named /paris/<name>/<version>."""


class StreamClosed(Unreachable):
    """The stream ended, broke, or fell silent too early."""


@dataclass(frozen=True)
class Entry:
    """The value of `owner` under a key, until `expires` (Unix seconds)."""

    owner: bytes
    value: bytes
    expires: float


class Stream(Protocol):
    """A two-way byte stream to one authenticated peer. Close it in a `finally`."""

    @property
    def author(self) -> bytes:
        """The public key of the peer at the other end."""

    async def read_exactly(self, size: int, *, patience: float | None = None) -> bytes:
        """Return exactly `size` bytes.

        Raises `StreamClosed` if the stream ends first or no byte arrives for `patience` seconds
        (default: the swarm's own limit, `INACTIVITY` unless told otherwise).
        """

    async def read_into(self, target: memoryview, *, patience: float | None = None) -> None:
        """Fill `target`, without a copy if the backend can. Raises as `read_exactly` does."""

    async def write(self, data: bytes) -> None:
        """Send `data`; returns once the remote keeps up. Raises `StreamClosed`."""

    async def close(self) -> None:
        """Close the stream at once. Safe to call twice. Never raises."""


Handler = Callable[[bytes, Stream], Awaitable[None]]
"""Serves one stream: (author of the caller, the stream). The swarm closes it afterwards."""


class Swarm(Protocol):
    """This process's access to the other peers."""

    @property
    def author(self) -> bytes:
        """Our own public key: the owner of every record we store."""

    def addresses(self) -> list[str]:
        """Where others can dial us: full multiaddrs, each ending in /p2p/<our peer id>."""

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        """Store `value` under `key` until `expires`. True when others can find it.

        False means that no other peer took it although we are not alone: try again later. While we
        are alone (see `online`), it is kept for later peers, and the result is True.
        Later calls always replace earlier ones, even with an earlier `expires`.
        Raises `BadContent` for a key, value or expiration out of bounds, `Unreachable` while our
        own libp2p is down.
        """

    async def withdraw(self, key: str) -> None:
        """Withdraw our entry under `key`: readers stop seeing it."""

    async def lookup(self, key: str) -> list[Entry]:
        """All owners' live entries under `key`, sorted by owner, tombstones left out.

        An empty list may also mean that nobody answered: absence is never proof. Raises
        `Unreachable` while our own libp2p is down.
        """

    async def connect(self, address: str) -> None:
        """Dial a full multiaddr that the user named, and join that peer's swarm.

        Raises `Unreachable`.
        """

    async def meet(self, address: str) -> None:
        """Dial and remember a peer at an address that it announced.

        Addresses where no peer can be are not dialled. Raises `Unreachable`.
        """

    async def open(self, author: bytes, protocol: str, addresses: Sequence[str] = ()) -> Stream:
        """Open a stream to `author`, dialling `addresses` first if necessary.

        Raises `Unreachable` when the peer does not answer or does not serve the protocol.
        """

    async def serve(self, protocol: str, handler: Handler) -> None:
        """Answer streams opened to us under `protocol`, one `handler` call each."""

    def online(self) -> bool:
        """Whether we know at least one live peer. If not, records reach nobody."""

    def peers(self) -> int:
        """How many other peers we know to be alive (a lower bound of the swarm's size)."""

    def known_addresses(self) -> list[str]:
        """Addresses of peers met before, to remember for the next start."""

    def reachability(self) -> Reachability:
        """Whether and how others reach us, as last measured. Never waits."""

    async def way_to(self, author: bytes) -> Way:
        """How we are connected to a peer now: directly, over a relay, or not at all."""

    async def seen_at(self, author: bytes) -> list[str]:
        """The far ends of a peer's direct connections to us: transports without PeerID."""

    async def network_of(self, author: bytes) -> str:
        """The network that a peer connects from, see `dht/subnets`; "" if unknown."""

    async def clock_skew(self) -> float | None:
        """Our clock minus the swarm's, in seconds, by `clock.believed_offset`.

        Positive: our clock is ahead. None when no peer answered. Strangers say so: it is worth a
        warning, and no reason to refuse anything.
        """

    def doubled(self) -> bool:
        """Whether another node stored records under our own key within the last hour."""

    async def close(self) -> None:
        """Leave: stop serving, free every resource. Safe to call twice."""


def check_record(key: str, value: bytes, expires: float, now: float) -> None:
    """Raise `BadContent` unless a record may be stored. One rule for every backend."""
    if not 0 < len(key.encode()) <= MAX_KEY:
        raise BadContent(f"a record key must be 1 to {MAX_KEY} bytes long, got {key[:40]!r}")
    if len(value) > MAX_VALUE:
        raise BadContent(f"a record holds at most {MAX_VALUE} bytes, got {len(value)} for {key!r}")
    if not (math.isfinite(expires) and expires <= now + MAX_LIFE):
        raise BadContent(f"a record lives at most {MAX_LIFE:.0f} s, got one until {expires}")


class Expirations:
    """Hands out expirations that strictly increase per key.

    Of two records of one owner the later expiration wins, whichever was written later. So a new
    value, and above all a tombstone, must outlive the record it replaces by at least `STEP`. A
    record made with the clock so far ahead that every node refused it need not be outlived.
    """

    STEP = 0.001

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def following(self, key: str, wanted: float, now: float) -> float:
        """`wanted`, or just after the last expiration of `key`, whichever is later."""
        last = self._last.get(key, 0.0)
        expires = max(wanted, last + self.STEP) if last <= now + MAX_LIFE else wanted
        self._last[key] = expires
        return expires

    def last(self, key: str) -> float | None:
        """The last expiration used for `key`, if any."""
        return self._last.get(key)

    def forget_before(self, now: float) -> None:
        """Drop keys whose records have expired; they need not be outlived."""
        self._last = {key: at for key, at in self._last.items() if at >= now}
