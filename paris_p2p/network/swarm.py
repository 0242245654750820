"""The one seam between paris-p2p and the outside world.

Everything above `network/` speaks to other peers through `Swarm` and nothing else. Two backends
keep this contract and pass the same tests (`tests/network/test_swarm_contract.py`):

* `network.node.HivemindSwarm`: libp2p and the hivemind DHT, what a running peer uses;
* `network.memory.MemorySwarm`: the same promises inside one process, for tests and simulations.

Records
    A *key* is a short string, an *entry* is what one owner said under it. An owner writes only
    under its own name, so nobody overwrites anybody: readers get all entries and a pure function
    decides. Values are advice, never proof: at most `MAX_VALUE` bytes, alive for at most
    `MAX_LIFE` seconds, and gone when nobody re-announces them. An empty value is a tombstone:
    it replaces the owner's entry and readers do not see it.

Streams
    Ordered bytes between two peers, authenticated and encrypted end to end: `Stream.author` is
    the key the remote has proven to hold. The end of a stream proves nothing (a remote that died
    looks like one that finished), so protocols frame what they send with lengths and hashes.

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
"""Most owners under one key that peers keep; shard wider sets over several keys."""

INACTIVITY = 10.0
"""Seconds without a single byte moving after which a stream counts as dead."""

PROTOCOL_PREFIX = "/paris/"
"""Every stream protocol is named /paris/<name>/<version>."""


class StreamClosed(Unreachable):
    """The stream ended, broke, or fell silent before it delivered what was asked of it."""


@dataclass(frozen=True)
class Entry:
    """What `owner` says under a key, until `expires` (Unix seconds)."""

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
        """Fill `target`, without a copy where the backend can. Raises as `read_exactly` does."""

    async def write(self, data: bytes) -> None:
        """Send `data`; returns once the remote keeps up. Raises `StreamClosed`."""

    async def close(self) -> None:
        """Let go of the stream, now. Safe to call twice. Never raises."""


Handler = Callable[[bytes, Stream], Awaitable[None]]
"""Serves one stream: (author of the caller, the stream). The swarm closes it afterwards."""


class Swarm(Protocol):
    """This process's place among the peers."""

    @property
    def author(self) -> bytes:
        """Our own public key: the owner of every record we store."""

    def addresses(self) -> list[str]:
        """Where others can dial us: full multiaddrs, each ending in /p2p/<our peer id>."""

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        """Say `value` under `key` until `expires`. True when it is held where others will look.

        False means that nobody but us holds it although we are not alone: try again later.
        Alone, the record is kept for whoever comes and the answer is True; see `online`.
        Later calls always replace earlier ones, even where `expires` says otherwise.
        Raises `BadContent` for a key, value or expiration out of bounds, `Unreachable` while our
        own libp2p is down.
        """

    async def withdraw(self, key: str) -> None:
        """Take back what we said under `key`: readers stop seeing our entry."""

    async def lookup(self, key: str) -> list[Entry]:
        """Everything any owner says under `key` now, sorted by owner, tombstones left out.

        An empty list also means "nobody answered": absence is never proof. Raises `Unreachable`
        while our own libp2p is down.
        """

    async def connect(self, address: str) -> None:
        """Dial a full multiaddr that the user named, and get to know that peer's swarm.

        Raises `Unreachable`.
        """

    async def meet(self, address: str) -> None:
        """Get to know a peer by an address that it told of itself, and remember it.

        Nothing is dialled where no peer can be. Raises `Unreachable`.
        """

    async def open(self, author: bytes, protocol: str, addresses: Sequence[str] = ()) -> Stream:
        """Open a stream to `author`, dialling `addresses` first if need be.

        Raises `Unreachable` when the peer does not answer or does not serve the protocol.
        """

    async def serve(self, protocol: str, handler: Handler) -> None:
        """Answer streams opened to us under `protocol`, one `handler` call each."""

    def online(self) -> bool:
        """Whether we know at least one live peer. When False, records reach nobody."""

    def peers(self) -> int:
        """How many other peers we know to be alive (a lower bound of the swarm's size)."""

    def known_addresses(self) -> list[str]:
        """Addresses of peers met before, worth remembering for the next start."""

    def reachability(self) -> Reachability:
        """Whether and how others reach us, as last found out. Never waits."""

    async def way_to(self, author: bytes) -> Way:
        """How we are connected to a peer now: directly, over a relay, or not at all."""

    async def seen_at(self, author: bytes) -> list[str]:
        """Where a peer's direct connections to us come from: transports without PeerID."""

    async def network_of(self, author: bytes) -> str:
        """The network that a peer is connected from, see `dht/subnets`; "" where it is not
        known."""

    async def clock_skew(self) -> float | None:
        """Our clock minus the swarm's, in seconds, as `clock.believed_offset` has it.

        Positive: our clock is ahead. None when no peer answered. It is what strangers say: worth a
        warning, no reason to refuse anything.
        """

    def doubled(self) -> bool:
        """Whether another node was heard, within the hour, to say something under our own key."""

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

    Among two records of one owner the later expiration wins, whatever was written later. So a
    new value, and above all a tombstone, must outlive what it replaces by at least `STEP`. What was
    said with the clock so far ahead that nobody can have believed it needs not be outlived.
    """

    STEP = 0.001

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def following(self, key: str, wanted: float, now: float) -> float:
        """`wanted`, or just after what was last used for `key`, whichever is later."""
        last = self._last.get(key, 0.0)
        expires = max(wanted, last + self.STEP) if last <= now + MAX_LIFE else wanted
        self._last[key] = expires
        return expires

    def last(self, key: str) -> float | None:
        """The last expiration used for `key`, if any."""
        return self._last.get(key)

    def forget_before(self, now: float) -> None:
        """Drop keys whose records have expired; what is dead needs no successor."""
        self._last = {key: at for key, at in self._last.items() if at >= now}
