from __future__ import annotations

from pathlib import Path

import pytest

from paris_p2p.peer.upkeep import scrubbing
from paris_p2p.peer.upkeep.scrubbing import Scrub
from tests.peer.worlds import PeerWorld, hold, manifest_of


async def test_a_flipped_bit_that_nobody_reads_is_found_and_no_longer_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "PIECES", 2)
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    damaged, sound = await hold(holder, 0), await hold(holder, 1)
    chunk = manifest_of(0).chunks[2].hex()
    file = holder.node.home.store_dir / chunk[:2] / chunk
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    scrub = Scrub()

    pieces = len(list(holder.node.blobs.chunks.ids()))
    for _ in range(pieces // scrubbing.PIECES + 2):
        await scrub(holder.node)

    assert not holder.node.blobs.complete(damaged)
    assert holder.node.blobs.complete(sound)
    assert await seeker.fetcher.providers(damaged) == []
    assert len(await seeker.fetcher.providers(sound)) == 1


async def test_a_scrub_begins_again_when_it_has_read_everything(tmp_path: Path) -> None:
    holder = await PeerWorld(tmp_path).join()
    await hold(holder, 1)
    scrub = Scrub()
    for _ in range(3):
        await scrub(holder.node)
    chunk = manifest_of(1).chunks[0].hex()
    (holder.node.home.store_dir / chunk[:2] / chunk).write_bytes(b"rot")
    for _ in range(3):
        await scrub(holder.node)
    assert not holder.node.blobs.complete(manifest_of(1).id)
