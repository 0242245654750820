"""Attacks on what proves who somebody is: certificates, the members' handshake, dial-back
messages, relays' answers, contribution logs, encrypted backups, swarm keys."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from paris_p2p.errors import BadContent, ParisError, Unreachable
from paris_p2p.key_backup import decrypt, encrypt
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.private_swarm import MEMBER_PROTOCOL, PrivateSwarm
from paris_p2p.network.reach.dial_back import (
    DIALBACK_PROTOCOL,
    Budget,
    DialbackServer,
    ask_dialback,
)
from paris_p2p.network.reach.handshake import author_in_certificate
from paris_p2p.network.reach.relay_reservation import read_answer
from paris_p2p.network.swarm import Stream, StreamClosed
from paris_p2p.network.swarm_key import SwarmKey
from paris_p2p.peer.books.contribution_logs import ContributionLogs, frames
from paris_p2p.records.codec import encode
from paris_p2p.records.contribution import checked
from tests.network.reach.test_handshake import certificate
from tests.records.conftest import EXAMPLES, SIGNER

from .mutate import LEAVES, Mutator
from .target import Target, on_loop

RELAY_ANSWER = bytes.fromhex("0802220708f8ffff0f10012864")
"""STATUS, 100, and a limit of seconds and bytes."""

PASSPHRASE = "correct horse battery"
PATIENCE = 0.01
SEEN = "/ip4/203.0.113.7/tcp/50123"
TRANSPORTS = ("/ip4/203.0.113.7/tcp/1", "/ip4/127.0.0.1/tcp/22", "/dns4/x/tcp/1", "nonsense", "")
ANSWER = {
    "seen": [SEEN],
    "dials": [{"transport": SEEN, "verdict": "reached", "reason": ""}],
}


@contextmanager
def targets(loop: asyncio.AbstractEventLoop) -> Iterator[list[Target]]:
    with TemporaryDirectory(prefix="paris-fuzz-") as folder:
        files = Files(Path(folder))
        world = loop.run_until_complete(World.make())
        yield [
            Target("certificates", 20, files.certificate),
            Target("identity backups", 1, files.backup),
            Target("swarm keys", 6, files.swarm_key),
            Target("relays' answers", 20, relay_answer),
            Target("contribution logs", 10, files.log),
            Target("dial-back questions", 8, on_loop(loop, world.ask)),
            Target("dial-back answers", 8, on_loop(loop, world.answer)),
            Target("members' handshake", 8, on_loop(loop, world.intrude)),
        ]
        loop.run_until_complete(world.end())


class Files:
    """One valid proof of each kind, to be bent."""

    def __init__(self, folder: Path) -> None:
        self._certificate = certificate(SIGNER)
        self._backup = encrypt(SIGNER, PASSPHRASE)
        self._key_file = folder / "swarm.key"
        SwarmKey.generate().save(self._key_file)
        self._key = self._key_file.read_bytes()
        logs = ContributionLogs(folder / "logs")
        for step in (120, 240):
            head = replace(EXAMPLES["head"], step=step, created=1000.0 + step)
            logs.append(SIGNER, head.seal(SIGNER))
        self._log = logs.read(SIGNER.author)

    def certificate(self, mutator: Mutator) -> None:
        """Nobody's key but the one that signed the certificate's own."""
        with suppress(ValueError):
            assert author_in_certificate(mutator.bent(self._certificate)) == SIGNER.author

    def backup(self, mutator: Mutator) -> None:
        """What names its peer opens as that peer's key, or not at all."""
        data = mutator.bent(self._backup)
        with suppress(BadContent):
            opened = decrypt(data, mutator.rng.choice((PASSPHRASE, "", "é", "\0" * 9)))
            names_it = self._backup.partition(b"\n")[0] in data
            assert opened.author == SIGNER.author or not names_it

    def log(self, mutator: Mutator) -> None:
        """A log is its author's, entry by entry, or it is refused; a part of it may be whole."""
        data = mutator.bent(self._log)
        with suppress(BadContent):
            entries = checked(SIGNER.author, frames(data))
            assert self._log.startswith(data) and len(entries) <= 2

    def swarm_key(self, mutator: Mutator) -> None:
        self._key_file.write_bytes(mutator.bent(self._key))
        with suppress(ParisError):
            SwarmKey.load(self._key_file)


def relay_answer(mutator: Mutator) -> None:
    """Whatever a relay says, a limit is two numbers."""
    data = mutator.rng.choice((mutator.bent(RELAY_ANSWER), mutator.garbage(60)))
    with suppress(BadContent, Unreachable):
        limit = read_answer(data)
        assert 0 <= limit.seconds < 2**70 and 0 <= limit.bytes < 2**70


class World:
    """An honest peer that dials back and belongs to a private swarm, and an attacker."""

    def __init__(self, honest: MemorySwarm, attacker: MemorySwarm) -> None:
        self.honest, self.attacker = honest, attacker
        self.members = PrivateSwarm(
            SwarmKey(bytes(32)), honest.author, honest.open, patience=PATIENCE
        )
        self.script = b""
        self.dialled: list[str] = []

    @classmethod
    async def make(cls) -> World:
        network = MemoryNetwork()
        honest = network.join(bytes([1]) * 32, inactivity=PATIENCE)
        world = cls(honest, network.join(bytes([2]) * 32, inactivity=PATIENCE))
        await world.attacker.connect(honest.addresses()[0])
        for name, handler in world.members.handlers().items():
            await honest.serve(name, handler)
        await world.attacker.serve(DIALBACK_PROTOCOL, world._recite)
        await world.attacker.serve(MEMBER_PROTOCOL, world._recite)
        return world

    async def end(self) -> None:
        await self.attacker.close()
        await self.honest.close()

    async def ask(self, mutator: Mutator) -> None:
        """Whatever the question, only the asker's own address is dialled."""
        server = DialbackServer(self._seen, self._seen, Budget(lambda: 0.0), self._dial)
        await self.honest.serve(DIALBACK_PROTOCOL, server)
        wanted = [mutator.rng.choice(TRANSPORTS) for _ in range(mutator.rng.randrange(10))]
        body = mutator.rng.choice((wanted, mutator.value(wanted), mutator.rng.choice(LEAVES)))
        await self._say(DIALBACK_PROTOCOL, _framed(mutator, body))
        assert all(address.startswith("/ip4/203.0.113.7/tcp/") for address in self.dialled)

    async def answer(self, mutator: Mutator) -> None:
        """Whatever the answer: it is one, or it is refused."""
        self.script = _framed(mutator, mutator.value(ANSWER))
        stream = await self.honest.open(self.attacker.author, DIALBACK_PROTOCOL)
        with suppress(BadContent, StreamClosed):
            answer = await ask_dialback(stream, [SEEN])
            assert all(text.isprintable() for text in answer.seen)
        await stream.close()

    async def intrude(self, mutator: Mutator) -> None:
        """Nobody gets in without the key, from either side."""
        self.script = mutator.garbage(100) + mutator.rng.choice((b"", b"\1")) + bytes(64)
        await self._say(MEMBER_PROTOCOL, self.script)
        with suppress(Unreachable):
            await self.members.ensure(self.attacker.author)
        assert not self.members.admits(self.attacker.author)

    async def _say(self, protocol: str, data: bytes) -> None:
        stream = await self.attacker.open(self.honest.author, protocol)
        with suppress(StreamClosed):
            await stream.write(data)
            await stream.read_exactly(1)
        await stream.close()
        await asyncio.gather(*self.honest._serving)

    async def _recite(self, author: bytes, stream: Stream) -> None:
        await stream.write(self.script)

    async def _seen(self, author: bytes) -> list[str]:
        return [SEEN]

    async def _dial(self, transport: str) -> bytes:
        self.dialled.append(transport)
        raise Unreachable("nobody answers")


def _framed(mutator: Mutator, body: object) -> bytes:
    """A message with its length, or with another."""
    try:
        data = encode(body)
    except BadContent:
        data = mutator.garbage()
    data = mutator.rng.choice((data, data, mutator.bent(data)))[:60_000]
    length = mutator.rng.choice((len(data),) * 5 + (0, 4096, 65535))
    return struct.pack(">H", length) + data
