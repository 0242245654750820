"""A peer's checkup: every probe ends in a row, whatever it meets."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.peer.doctor.peer_checks import CheckState
from paris_p2p.peer.doctor.peer_probes import (
    CHUNKS_CHECKED,
    peer_checkup,
    swarm_checkup,
    training_need,
)
from tests.peer.worlds import PeerWorld, hold


async def test_a_peer_among_others_is_well_but_for_what_is_missing(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    first, peer = await world.join(), await world.join()
    await hold(peer, 0)
    await first.announcer.everything()
    rows = {row.check: row for row in await peer_checkup(peer.node, [peer])}
    assert rows.keys() == {"run", "peers", "reachability", "dial back", "clock", "store"}
    assert rows["peers"].state == rows["clock"].state == rows["store"].state == CheckState.OK
    assert rows["run"].state == CheckState.WARNING, "no checkpoint of this run is known"


async def test_a_damaged_chunk_is_found(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    for file in peer.node.home.store_dir.glob("*/*"):
        file.write_bytes(b"rotten")
    assert len(list(peer.node.blobs.chunks.ids())) < CHUNKS_CHECKED
    (store,) = (row for row in await peer_checkup(peer.node, [peer]) if row.check == "store")
    assert store.state == CheckState.BAD


async def test_a_lone_node_without_a_run_has_rows_too() -> None:
    alone = MemoryNetwork().join(Identity.generate().author)
    rows = await swarm_checkup(alone, (), random.Random(1))
    assert {row.state for row in rows} == {CheckState.WARNING}


async def test_a_libp2p_that_is_down_gives_rows_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    _, peer = await world.join(), await world.join()

    async def down(*_: object, **__: object) -> None:
        raise Unreachable("libp2p is not running")

    for name in ("lookup", "open", "clock_skew"):
        monkeypatch.setattr(peer.swarm, name, down)
    rows = {row.check: row for row in await peer_checkup(peer.node, [peer])}
    assert rows["clock"].state == rows["dial back"].state == CheckState.WARNING
    assert "libp2p is not running" in rows["dial back"].seen


async def test_training_takes_as_much_as_the_smallest_expert(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    assert training_need(peer.run) > 0
