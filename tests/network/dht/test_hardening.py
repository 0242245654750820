"""Every attack on the stock DHT node that we know of, carried out against a live node of ours.

Each test attacks over real libp2p and then shows that the victim lives and that honest peers
still read and write through it.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import pytest_asyncio

from paris_p2p.identity import Identity
from paris_p2p.network.dht import node
from paris_p2p.network.dht.call_quota import NEWCOMER, Limit, Limits
from paris_p2p.network.dht.hardening import (
    KEYS_PER_CALL,
    SUBKEY_HEADER,
    node_id_of,
)
from paris_p2p.network.dht.validator import DhtRecord, key_digest, sign_record
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.p2pd.daemon import peer_id
from paris_p2p.network.token_bucket import Rate
from paris_p2p.records import codec
from tests.network.hostile import Find, Hostile, found
from tests.network.worlds import LibP2PWorld

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.process]

RECORDS = 400
PINGS = 350
"""What a stranger may hand to the victim, and how often it is met, before it must wait."""

CALLS = 100
"""Searches of 16 keys a stranger gets answered before it must wait."""

LIMITS = Limits(
    keys=Limit(Rate(0.001, CALLS * KEYS_PER_CALL / NEWCOMER), Rate(1e6, 1e6)),
    records=Limit(Rate(0.001, RECORDS / NEWCOMER), Rate(1e6, 1e6)),
    pings=Limit(Rate(0.001, PINGS / NEWCOMER), Rate(1e6, 1e6)),
)


class Scene:
    """A victim and an honest peer that know each other, and a stranger connected to both.

    The victim is the same for all tests, as it would be for all attackers; each test brings its
    own stranger and its own key.
    """

    def __init__(self, victim: HivemindSwarm, honest: HivemindSwarm, hostile: Hostile) -> None:
        self.victim, self.honest, self.hostile = victim, honest, hostile
        self.key = f"attacked by {hostile.identity.peer_id}"
        self.digest = key_digest(self.key)

    def sign(self, value: bytes, expires: float | None = None) -> DhtRecord:
        """A correct record by the stranger."""
        return sign_record(self.hostile.identity, self.digest, value, expires or soon())

    async def store(self, *records: DhtRecord, in_cache: bool = False) -> list[bool]:
        """The stranger asks the victim to keep records."""
        return await self.hostile.store(self.victim.author, *records, in_cache=in_cache)

    async def pose_as_node(self, answer: Find) -> None:
        """The stranger enters both routing tables and answers their searches."""
        await self.hostile.pose_as_node(answer, self.victim.author, self.honest.author)

    def held(self) -> list[DhtRecord]:
        """What the victim keeps under the key."""
        return self.victim._record_store.under(self.digest)

    def knows(self, node_id: Any) -> Any:
        """Whom the victim believes to be behind a DHT id."""
        return self.victim._node.protocol.routing_table.uid_to_peer_id.get(node_id)

    async def read(self) -> dict[bytes, bytes]:
        """What both see under the key, which must be the same."""
        by_victim = {entry.owner: entry.value for entry in await self.victim.lookup(self.key)}
        by_honest = {entry.owner: entry.value for entry in await self.honest.lookup(self.key)}
        assert by_victim == by_honest
        return by_victim

    async def assert_unharmed(self) -> None:
        """The victim's process lives, and records pass through it in both directions."""
        os.kill(self.victim.p2pd_pid, 0)
        mark = os.urandom(8)
        assert await self.honest.store(self.key, b"honest" + mark, soon())
        assert await self.victim.store(self.key, b"victim" + mark, soon())
        seen = await self.read()
        assert seen[self.honest.author] == b"honest" + mark
        assert seen[self.victim.author] == b"victim" + mark


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[list[HivemindSwarm]]:
    async with LibP2PWorld() as world:
        yield await world.circle(2, limits=LIMITS)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(pair: list[HivemindSwarm], tmp_path: Path) -> AsyncIterator[Scene]:
    async with Hostile(tmp_path) as hostile:
        for peer in pair:
            await hostile.dial(peer.addresses()[0])
        victim, honest = pair
        yield Scene(victim, honest, hostile)


def soon() -> float:
    return time.time() + 60


def bomb(levels: int = 250) -> bytes:
    """Nested msgpack extensions of hivemind's tuple type: overflows the stack of its decoder."""
    data = b"\xc0"
    for _ in range(levels):
        data = msgpack.packb(msgpack.ExtType(0x40, data))
    return data


def row(record: DhtRecord) -> list[Any]:
    return [record.owner, record.expires, record.body]


class TestStoring:
    """What a stranger may send us to keep."""

    async def test_an_honest_stranger_may_store(self, scene: Scene) -> None:
        record = scene.sign(b"hello")
        assert await scene.store(record) == [True]
        assert (await scene.read())[record.owner] == b"hello"

    @pytest.mark.parametrize("place", ["value", "signed value", "subkey", "dictionary"])
    async def test_nested_extension_bomb(self, scene: Scene, place: str) -> None:
        good = scene.sign(b"hello")
        signed = scene.hostile.sign(scene.digest, bomb(), soon())
        value, subkey = {
            "value": (bomb(), SUBKEY_HEADER + good.owner),
            "signed value": (signed.body, SUBKEY_HEADER + good.owner),
            "subkey": (good.body, bomb()),
            "dictionary": (msgpack.packb(msgpack.ExtType(0x50, bomb())), b""),
        }[place]
        verdict = await scene.hostile.store_raw(
            scene.victim.author,
            keys=[scene.digest],
            subkeys=[subkey],
            values=[value],
            expiration_time=[signed.expires],
            in_cache=[False],
        )
        assert verdict == [False]
        await scene.assert_unharmed()

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\xc1",
            b"\x92\x01",
            b"\xc4\x05abc",
            bomb(3),
            codec.encode([1, 2]),
            b"\xc5\x00\x01a",
        ],
        ids=["empty", "never used", "cut short", "short bytes", "extension", "list", "not minimal"],
    )
    async def test_signed_but_undecodable_payload(self, scene: Scene, payload: bytes) -> None:
        record = scene.hostile.sign(scene.digest, payload, soon())
        assert await scene.store(record) == [False]
        await scene.assert_unharmed()

    async def test_oversized_value(self, scene: Scene) -> None:
        record = scene.hostile.sign(scene.digest, codec.encode(bytes(2049)), soon())
        huge = scene.hostile.sign(scene.digest, codec.encode(bytes(1_000_000)), soon())
        assert await scene.store(record, huge) == [False, False]
        await scene.assert_unharmed()

    async def test_forged_owner(self, scene: Scene) -> None:
        mine = scene.sign(b"forged")
        forged = DhtRecord(scene.digest, scene.honest.author, mine.expires, mine.body)
        assert await scene.store(forged) == [False]
        await scene.assert_unharmed()

    async def test_replay_by_a_stranger(self, scene: Scene) -> None:
        await scene.honest.store(scene.key, b"old", time.time() + 2)
        [old] = scene.held()
        await scene.honest.store(scene.key, b"new", soon())
        assert await scene.store(old) == [False]
        assert (await scene.read())[scene.honest.author] == b"new"
        [kept] = scene.held()
        assert kept.expires > time.time() + 50

    async def test_replay_by_the_owner(self, scene: Scene) -> None:
        older = scene.sign(b"older", time.time() + 1)
        newer = scene.sign(b"newer")
        assert await scene.store(newer) == [True]
        assert await scene.store(older, newer) == [False, True]
        [kept] = scene.held()
        assert kept == newer

    async def test_push_into_the_cache(self, scene: Scene) -> None:
        record = scene.sign(b"cached")
        verdict = await scene.store(record, in_cache=True)
        assert verdict == [False]
        assert await scene.read() == {}
        await scene.assert_unharmed()

    @pytest.mark.parametrize(
        "expires",
        [math.inf, -math.inf, math.nan, time.time() + 365 * 86400, 0.0, -1.0],
        ids=["for ever", "never", "no number", "in a year", "long ago", "before all"],
    )
    async def test_absurd_expiration(self, scene: Scene, expires: float) -> None:
        record = scene.hostile.sign(scene.digest, codec.encode(b"forever"), expires)
        assert await scene.store(record) == [False]
        assert await scene.read() == {}
        await scene.assert_unharmed()

    async def test_flood(self, scene: Scene) -> None:
        taken = 0
        for batch in range(RECORDS // KEYS_PER_CALL + 10):
            keys = (key_digest(f"{batch} {number}") for number in range(KEYS_PER_CALL))
            flood = [sign_record(scene.hostile.identity, key, b"flood", soon()) for key in keys]
            taken += sum(await scene.store(*flood))
        assert taken == RECORDS
        assert scene.victim._record_store._held[scene.hostile.identity.author] == RECORDS
        await scene.assert_unharmed()

    @pytest.mark.parametrize("columns", ["misaligned", "too many", "none", "short key", "long key"])
    async def test_malformed_request(self, scene: Scene, columns: str) -> None:
        good = scene.sign(b"hello")
        count = {"too many": KEYS_PER_CALL + 1, "none": 0}.get(columns, 1)
        key = {"short key": scene.digest[1:], "long key": scene.digest + b"x"}.get(
            columns, scene.digest
        )
        verdict = await scene.hostile.store_raw(
            scene.victim.author,
            keys=[key] * count,
            subkeys=[SUBKEY_HEADER + good.owner] * count,
            values=[good.body] * count,
            expiration_time=[good.expires] * count,
            in_cache=[False] * (count + (columns == "misaligned")),
        )
        assert not any(verdict)
        await scene.assert_unharmed()

    async def test_full_key(self, scene: Scene) -> None:
        """A key holds a bounded number of owners; owners already there can still renew."""
        await scene.assert_unharmed()
        for _ in range(200):
            stranger = Identity.generate()
            record = sign_record(stranger, scene.digest, b"crowd", soon())
            scene.victim._record_store.put(record)
        assert len(scene.held()) == 128
        await scene.assert_unharmed()


class TestAsking:
    """What a stranger may ask of us."""

    async def test_too_many_keys(self, scene: Scene) -> None:
        assert await scene.hostile.find(scene.victim.author, *[scene.digest] * 17) is None
        await scene.assert_unharmed()

    @pytest.mark.parametrize("key", [b"", b"short", bytes(21), bytes(100_000)], ids=len)
    async def test_malformed_key(self, scene: Scene, key: bytes) -> None:
        assert await scene.hostile.find(scene.victim.author, key) is None
        await scene.assert_unharmed()

    async def test_answers_stay_small(self, scene: Scene) -> None:
        await scene.assert_unharmed()
        for _ in range(128):
            record = sign_record(Identity.generate(), scene.digest, bytes(2048), soon())
            scene.victim._record_store.put(record)
        results = await scene.hostile.find(scene.victim.author, *[scene.digest] * 16)
        assert sum(len(result.value) for result in results) < 1 << 21
        await scene.assert_unharmed()

    async def test_a_caller_beyond_its_quota_learns_nothing_and_is_no_worse_off(
        self, scene: Scene
    ) -> None:
        await scene.assert_unharmed()
        keys = [scene.digest] * KEYS_PER_CALL
        answers = [await scene.hostile.find(scene.victim.author, *keys) for _ in range(CALLS + 1)]
        assert [bool(answer[0].nearest_peer_ids) for answer in answers] == [True] * CALLS + [False]
        assert not answers[-1][0].value
        await scene.assert_unharmed()

    async def test_pings_beyond_the_quota_are_answered_and_forgotten(self, scene: Scene) -> None:
        for _ in range(PINGS):
            await scene.hostile.ping(scene.victim.author, b"")
        await scene.hostile.ping(scene.victim.author, scene.hostile.node_id.to_bytes())
        assert scene.knows(scene.hostile.node_id) is None
        await scene.assert_unharmed()


class TestRouting:
    """Whom we believe to be where."""

    async def test_ping_with_somebody_elses_id(self, scene: Scene) -> None:
        stolen = node_id_of(peer_id(scene.honest.author))
        await scene.hostile.ping(scene.victim.author, stolen.to_bytes())
        assert scene.knows(stolen) == peer_id(scene.honest.author)
        assert scene.knows(scene.hostile.node_id) is None
        await scene.assert_unharmed()

    async def test_many_ids_from_one_peer(self, scene: Scene) -> None:
        known = scene.victim.peers()
        ids = [os.urandom(20) for _ in range(300)] + [scene.hostile.node_id.to_bytes()]
        await asyncio.gather(*(scene.hostile.ping(scene.victim.author, id_) for id_ in ids))
        assert scene.victim.peers() <= known + 1
        assert scene.knows(scene.hostile.node_id) == scene.hostile.p2p.peer_id
        await scene.assert_unharmed()

    @pytest.mark.parametrize("claimed", [b"", b"x", bytes(1000)], ids=len)
    async def test_malformed_id(self, scene: Scene, claimed: bytes) -> None:
        await scene.hostile.ping(scene.victim.author, claimed)
        assert scene.knows(scene.hostile.node_id) is None
        await scene.assert_unharmed()

    async def test_made_up_neighbours(self, scene: Scene) -> None:
        """A search is not led astray by neighbours that do not exist, or under wrong ids."""
        ghosts = {os.urandom(20): peer_id(os.urandom(32)).to_bytes() for _ in range(40)}
        wrong = {os.urandom(20): peer_id(scene.honest.author).to_bytes()}

        async def answer(_: Any) -> Any:
            return found(b"", ghosts | wrong | {b"": b"", bytes(50): bytes(5000)})

        await scene.pose_as_node(answer)
        await scene.assert_unharmed()


class TestAnswers:
    """What a stranger may answer when we search."""

    @pytest.mark.parametrize(
        "poison",
        [b"", bomb(), b"\xc1", b"\xdd\xff\xff\xff\xff", bytes(3_000_000), codec.encode({"a": 1})],
        ids=["empty", "bomb", "garbage", "absurd count", "huge", "map"],
    )
    async def test_poisoned_dictionary(self, scene: Scene, poison: bytes) -> None:
        async def answer(_: Any) -> Any:
            return found(poison)

        await scene.pose_as_node(answer)
        await scene.assert_unharmed()

    async def test_bad_entries_among_good_ones(self, scene: Scene) -> None:
        """Only the bad entries are dropped; the good ones beside them are read."""
        author = Identity.generate()
        good = sign_record(author, scene.digest, b"good", soon())
        tampered = DhtRecord(scene.digest, author.author, good.expires + 1, good.body)
        undecodable = scene.hostile.sign(scene.digest, b"\xc1", soon())
        eternal = scene.hostile.sign(scene.digest, codec.encode(b"eternal"), time.time() + 1e6)
        moved = sign_record(scene.hostile.identity, key_digest("other"), b"moved", soon())
        rows = [*map(row, (tampered, undecodable, eternal, moved, good)), None, [], [1, 2, 3], "x"]

        async def answer(_: Any) -> Any:
            return found(rows)

        await scene.pose_as_node(answer)
        assert await scene.read() == {author.author: b"good"}
        await scene.assert_unharmed()

    async def test_thousands_of_made_up_owners(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever answers alone with owners of its own does not crowd out what two have heard."""
        monkeypatch.setattr(node, "MAX_GATHERED", 8)
        await scene.assert_unharmed()
        crowd = [sign_record(Identity.generate(), scene.digest, b"me", soon()) for _ in range(100)]

        async def answer(_: Any) -> Any:
            return found([row(record) for record in crowd])

        await scene.pose_as_node(answer)
        owners = {entry.owner for entry in await scene.honest.lookup(scene.key)}
        assert len(owners) == 8 and {scene.victim.author, scene.honest.author} <= owners

    async def test_misaligned_answer(self, scene: Scene) -> None:
        async def answer(_: Any) -> Any:
            response = found([])
            response.results.extend(list(response.results))
            return response

        await scene.pose_as_node(answer)
        await scene.assert_unharmed()

    async def test_an_answer_that_is_no_message(self, scene: Scene) -> None:
        async def garbage(request: bytes, peer: Any) -> bytes:
            return b"\xff" * 100

        for method in ("rpc_ping", "rpc_find", "rpc_store"):
            await scene.hostile.p2p._client.add_unary_handler(f"/paris/dht/1/{method}", garbage)
        for peer in (scene.victim, scene.honest):
            await scene.hostile.ping(peer.author, scene.hostile.node_id.to_bytes())
            assert scene.hostile.p2p.peer_id in peer._node.neighbours()
        await scene.assert_unharmed()

    @pytest.mark.slow
    async def test_no_answer(self, scene: Scene) -> None:
        """A node that takes questions and never answers costs a timeout, not the search."""
        asked, released = asyncio.Event(), asyncio.Event()

        async def answer(_: Any) -> Any:
            asked.set()
            await released.wait()

        await scene.pose_as_node(answer)
        await scene.assert_unharmed()
        assert asked.is_set()
        released.set()
