"""Dial-backs: the peers that are asked, the questions, and the answers."""

from __future__ import annotations

import random
from pathlib import Path

from paris_p2p.identity import Identity, peer_id_of
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.reach.dial_back import (
    DIALBACK_PROTOCOL,
    Budget,
    DialBackAnswer,
    DialbackServer,
)
from paris_p2p.network.swarm import Stream
from paris_p2p.peer.doctor.dial_back_check import (
    PEERS_ASKED,
    ask_to_dial_back,
    dialback_server,
    own_transports,
)
from tests.peer.worlds import PeerWorld

PUBLIC = "/ip4/8.8.8.8/tcp/4001"
LAN = "/ip4/192.168.1.4/tcp/31337"


async def test_peers_of_a_run_are_asked_and_answer(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    first, second = await world.join(), await world.join()
    await first.announcer.everything()
    answers = await ask_to_dial_back(second.swarm, [second.run_id], random.Random(1))
    found = answers[peer_id_of(first.node.identity.author)]
    assert isinstance(found, DialBackAnswer)
    assert own_transports(second.swarm.addresses()) == list(found.seen)
    assert [dial.verdict for dial in found.dials] == ["failed"], "memory peers have no real port"


async def test_a_node_without_a_run_asks_those_it_has_met() -> None:
    network = MemoryNetwork()
    others = [network.join(Identity.generate().author) for _ in range(PEERS_ASKED + 2)]
    asker = network.join(Identity.generate().author)
    for other in others:
        await other.serve(DIALBACK_PROTOCOL, dialback_server(other, (), lambda: 0.0))
        await asker.connect(other.addresses()[0])
    answers = await ask_to_dial_back(asker, (), random.Random(1))
    assert len(answers) == PEERS_ASKED
    assert all(isinstance(answer, DialBackAnswer) for answer in answers.values())


async def test_a_peer_that_does_not_answer_is_told_with_a_reason() -> None:
    network = MemoryNetwork()
    asker, deaf, liar = (network.join(Identity.generate().author) for _ in range(3))

    async def lie(author: bytes, stream: Stream) -> None:
        await stream.write(b"\x00\x01\xc1")

    await liar.serve(DIALBACK_PROTOCOL, lie)
    for other in (deaf, liar):
        await asker.connect(other.addresses()[0])
    answers = await ask_to_dial_back(asker, (), random.Random(1))
    assert all(isinstance(answer, str) and answer for answer in answers.values())
    assert len(answers) == 2


async def test_nobody_to_ask_is_no_answer() -> None:
    alone = MemoryNetwork().join(Identity.generate().author)
    assert await ask_to_dial_back(alone, (), random.Random(1)) == {}


async def test_where_others_see_us_is_asked_about_in_a_second_round() -> None:
    network = MemoryNetwork()
    asker, other = (network.join(Identity.generate().author) for _ in "ab")
    own = own_transports(asker.addresses())[0]
    forwarded = f"/ip4/8.8.8.8/tcp/{own.split('/')[4]}"
    dialled = []

    async def seen_at(author: bytes) -> list[str]:
        return [PUBLIC]

    async def announced_by(author: bytes) -> list[str]:
        return []

    async def dial(transport: str) -> bytes:
        dialled.append(transport)
        return asker.author

    server = DialbackServer(seen_at, announced_by, Budget(lambda: 0.0), dial)
    await other.serve(DIALBACK_PROTOCOL, server)
    await asker.connect(other.addresses()[0])
    (found,) = (await ask_to_dial_back(asker, (), random.Random(1))).values()
    assert isinstance(found, DialBackAnswer)
    verdicts = {dial.transport: dial.verdict for dial in found.dials}
    assert verdicts == {own: "refused", forwarded: "reached"}
    assert dialled == [forwarded]


def test_relayed_addresses_are_not_ours() -> None:
    peer = Identity.generate().peer_id
    relayed = f"/ip4/9.9.9.9/tcp/1/p2p/{peer}/p2p-circuit/p2p/{peer}"
    assert own_transports([f"{LAN}/p2p/{peer}", relayed]) == [LAN]
