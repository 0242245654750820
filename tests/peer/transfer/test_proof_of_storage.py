from __future__ import annotations

from pathlib import Path

from paris_p2p.network.chunk_protocol import BUSY
from paris_p2p.network.pacing import Pacer, Pacers
from paris_p2p.network.swarm import Stream
from paris_p2p.peer.transfer.proof_of_storage import is_served, proven_providers
from paris_p2p.peer.transfer.providers import served_only
from tests.peer.worlds import PeerWorld, content_of, has_nothing, hold


async def test_who_announces_and_is_gone_or_has_nothing_serves_nothing(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    asker, gone = await world.join(), await world.join()
    empty = await world.join(serve=has_nothing)
    content = await hold(gone, 0)
    await hold(empty, 0)
    world.network.drop(gone.node.identity.author)

    assert len(await asker.fetcher.providers(content)) == 2
    assert not await is_served(asker, content)
    assert await proven_providers(asker, content, 1) == 0


async def test_one_that_answers_among_many_that_do_not_is_enough(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    asker, holder = await world.join(), await world.join()
    content = await hold(holder, 0)
    for _ in range(5):
        gone = await world.join()
        await hold(gone, 0)
        world.network.drop(gone.node.identity.author)

    assert await is_served(asker, content)
    assert await proven_providers(asker, content, 6) == 1


async def test_a_proof_is_fetched_under_the_download_limit(tmp_path: Path) -> None:
    passed: list[int] = []

    class Noting(Pacer):
        async def let_pass(self, owner: bytes, size: int) -> None:
            passed.append(size)

    world = PeerWorld(tmp_path)
    asker, holder = await world.join(), await world.join()
    content = await hold(holder, 1)
    asker.fetcher.pacers = Pacers(upload=Pacer(None), download=Noting(1 << 20))

    assert await proven_providers(asker, content, 1) == 1
    assert sum(passed) >= len(content_of(1))


async def test_a_provider_of_many_contents_is_found_alive_for_each_of_them(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    asker, holder = await world.join(), await world.join()
    contents = [
        holder.node.blobs.add_bytes(b"content %d" % number, "checkpoint", "weights").id
        for number in range(20)
    ]
    for content in contents:
        await holder.announcer.content(content)

    assert await served_only(asker, contents) == set(contents)
    assert not asker.unserved


async def test_who_is_busy_is_alive_and_proves_nothing(tmp_path: Path) -> None:
    async def busy(author: bytes, stream: Stream) -> None:
        await stream.write(BUSY)

    world = PeerWorld(tmp_path)
    asker, holder = await world.join(), await world.join(serve=busy)
    content = await hold(holder, 0)

    assert await is_served(asker, content)
    assert await proven_providers(asker, content, 1) == 0
