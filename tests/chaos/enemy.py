"""A hostile peer on its own event loop in a thread, beside the swarm of processes."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgpack

from paris_p2p.identity import Identity, author_of
from paris_p2p.network.chunk_protocol import READY
from paris_p2p.network.dht.hardening import DICTIONARY_ITEMS, DICTIONARY_LIMIT
from paris_p2p.network.dht.validator import DhtRecord, key_digest
from paris_p2p.network.swarm import Stream
from paris_p2p.records import codec
from paris_p2p.records.address import parse_address
from paris_p2p.records.head import Head
from paris_p2p.records.keys import claims_key, heads_key
from tests.chaos.stranger import stranger_among
from tests.network.hostile import Hostile

SLOTS = (0, 1)
ATTEMPTS = 5
_HEADER = struct.Struct(">32sI")

Attack = Callable[["Enemy"], Awaitable[None]]


class Enemy:
    """One attack, going on from `__init__` until `stop`. What it gets for it is its own problem."""

    def __init__(self, attack: Attack, victims: Sequence[str], run: bytes) -> None:
        self._attack = attack
        self.victims = victims
        self.authors = {author_of(parse_address(victim).peer_id) for victim in victims}
        self.run = run
        self.leaving = contextlib.AsyncExitStack()
        """Closed when the attack ends."""
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(120), "the enemy did not get to its attack"
        assert self._failure is None, f"the attack itself failed: {self._failure!r}"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(30)

    async def _live(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        with tempfile.TemporaryDirectory() as folder:
            self.folder = Path(folder)
            for _ in range(ATTEMPTS):
                self._failure = await self._attempt()
                if self._failure is None:
                    break
                await asyncio.sleep(1)
            self._ready.set()
            await self._stopped.wait()
            await self.leaving.aclose()

    async def _attempt(self) -> Exception | None:
        """What stopped the attack: a victim whose p2pd is being built again resets streams."""
        try:
            await self._attack(self)
        except Exception as error:
            return error
        return None

    # Attacks: each returns once it is under way

    async def crash_packets(self) -> None:
        packet = b"\x00"
        for _ in range(200):
            packet = msgpack.packb(msgpack.ExtType(0x40, packet))
        async with Hostile(self.folder) as hostile:
            for address in self.victims:
                victim = await hostile.dial(address)
                record = hostile.sign(key_digest("x"), packet, time.time() + 60)
                await hostile.store(victim, record)
                await hostile.store_raw(
                    victim,
                    keys=[key_digest("x")],
                    subkeys=[packet],
                    values=[packet],
                    expiration_time=[float("nan")],
                    in_cache=[True],
                )

    async def flood(self) -> None:
        for _ in range(8):
            async with Hostile(self.folder) as hostile:
                for address in self.victims:
                    victim = await hostile.dial(address)
                    for _ in range(100):
                        key = secrets.token_bytes(20)
                        rubbish = hostile.sign(key, secrets.token_bytes(1500), time.time() + 60)
                        await hostile.store(victim, rubbish)
                        await hostile.find(victim, key)

    async def forge(self) -> None:
        async with Hostile(self.folder) as hostile:
            for address in self.victims:
                victim = await hostile.dial(address)
                for slot in SLOTS:
                    for key in (claims_key(self.run, slot), heads_key(self.run, slot)):
                        digest = key_digest(key)
                        forged = self._forged_head(slot, hostile.identity)
                        record = hostile.announce(key, codec.encode([forged]), time.time() + 600)
                        await hostile.store(victim, record)
                        await self._replay(hostile, victim, digest)

    async def lie(self) -> None:
        async def answer(_: bytes, stream: Stream) -> None:
            await stream.write(READY)
            while True:
                (count,) = struct.unpack(">H", await stream.read_exactly(2))
                wanted = await stream.read_exactly(32 * count)
                for start in range(0, len(wanted), 32):
                    await stream.write(_HEADER.pack(wanted[start : start + 32], 1 << 16))
                    await stream.write(secrets.token_bytes(1 << 16))

        await self._pose_as_provider(answer)

    async def stall(self) -> None:
        async def answer(_: bytes, stream: Stream) -> None:
            await stream.write(READY)
            await asyncio.Event().wait()

        await self._pose_as_provider(answer)

    async def _pose_as_provider(self, answer: Callable[[bytes, Stream], Awaitable[None]]) -> None:
        """Announce every head's content, and serve it in our own way."""
        stranger = await self.leaving.enter_async_context(stranger_among(self))
        stranger.answer = answer
        for slot in SLOTS:
            for head in await stranger.heads(slot):
                await stranger.provide(head.manifest)

    async def _replay(self, hostile: Hostile, victim: bytes, digest: bytes) -> None:
        """Send what others said back, as it was signed and made to last longer."""
        for result in await hostile.find(victim, digest) or ():
            rows = (
                codec.decode(result.value, DICTIONARY_LIMIT, DICTIONARY_ITEMS)
                if result.value
                else []
            )
            for owner, expires, body in rows:
                signed = DhtRecord(digest, owner, expires, body)
                lasting = DhtRecord(digest, owner, expires + 60, body)
                await hostile.store(victim, signed, lasting)

    def _forged_head(self, slot: int, forger: Identity) -> bytes:
        """A head with the highest step there is, in the name of an author who never signed it."""
        head = Head(
            run=self.run,
            expert=slot,
            author=forger.author,
            step=10**9,
            images=10**9,
            manifest=secrets.token_bytes(32),
            size=1000,
            train_loss=0.0,
            held_out_loss=0.0,
            parent=None,
            created=time.time(),
        )
        sealed = bytearray(head.seal(forger))
        sealed[-1] ^= 1
        return bytes(sealed)
