"""Published work is there for others, even if the clock was set before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.resume_states import learn_resumes
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.publishing import Checkpoint, Publisher, publish, publish_resume
from paris_p2p.peer.upkeep import garbage_collection
from paris_p2p.records.head import Head
from paris_p2p.records.progress_limits import MOST_STEPS
from paris_p2p.training.job import StartRefuted
from tests.peer.worlds import PeerWorld, head_of


async def checkpoint(peer: Membership, step: int) -> Head:
    path = peer.node.home.path / f"{step}.safetensors"
    path.write_bytes(b"weights at step %d" % step)
    return await publish(peer, Checkpoint(path, 0, step, step, 1.0, 1.0, None))


async def state(peer: Membership, step: int) -> bytes:
    path = peer.node.home.path / f"state-{step}.safetensors"
    path.write_bytes(b"state at step %d" % step)
    return (await publish_resume(peer, path, 0, step, step)).manifest


@pytest.mark.parametrize("back", [5.0, 300.0, 3600.0, 86400.0])
async def test_what_is_published_after_the_clock_was_set_back_is_kept_and_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: float
) -> None:
    monkeypatch.setattr(garbage_collection, "GRACE", -1.0)
    world = PeerWorld(tmp_path)
    author, other = await world.join(), await world.join()
    author.node.clock = lambda: world.network.clock() + back
    await checkpoint(author, 10)
    await state(author, 10)

    author.node.clock = world.network.clock
    head, resume = await checkpoint(author, 20), await state(author, 20)
    await other.survey([0])
    await learn_resumes(other, [0])
    await garbage_collection.collect(author.node)

    assert author.heads.all() == [head]
    assert author.node.blobs.complete(head.manifest) and author.node.blobs.complete(resume)
    assert head in other.heads.known(0)
    assert resume in [each.manifest for each in other.resumes.known(0)]
    again = HeadBook(
        author.node.home.runs_dir / author.run_id.hex() / "heads", author.run_id, author.run.slots()
    )
    assert again.all() == [head]


async def test_who_publishes_behind_its_own_key_is_told_so(tmp_path: Path) -> None:
    """Another peer with a copy of the home has published a later step."""
    peer = await PeerWorld(tmp_path).join()
    elsewhere = head_of(peer, 0, 900, b"e" * 32)
    peer.heads.hear(0, {elsewhere.seal(peer.node.identity): {bytes(32): 1e12}})
    path = peer.node.home.path / "20.safetensors"
    path.write_bytes(b"weights")
    publisher = Publisher(peer, 0, None)
    losses = {"train_loss": 1.0, "held_out_loss": 1.0}
    publisher.offer({"event": "checkpoint", "path": path, "step": 20, "images": 20, **losses})
    publisher.finish()

    (event,) = [event async for event in publisher.published()]

    assert event["behind"] == 900
    (told,) = peer.node.refusals.all()
    assert told.author == peer.node.identity.author.hex() and "step 900" in told.reason


@pytest.mark.parametrize("publication", [checkpoint, state])
async def test_only_what_nobody_would_take_speaks_against_what_was_trained_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    publication: Callable[[Membership, int], Awaitable[object]],
) -> None:
    peer = await PeerWorld(tmp_path).join()
    with pytest.raises(StartRefuted, match="no room to train on"):
        await publication(peer, MOST_STEPS + 1)

    for book in (peer.heads, peer.resumes):
        monkeypatch.setattr(book, "_counts", lambda record: False)
    with pytest.raises(BadContent, match="does not count") as refused:
        await publication(peer, 10)
    assert not isinstance(refused.value, StartRefuted)
