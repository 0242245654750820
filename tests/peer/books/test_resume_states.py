from __future__ import annotations

from pathlib import Path

from paris_p2p.peer.books.resume_states import learn_resumes
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.publishing import publish_resume
from paris_p2p.peer.transfer.providers import learn_providers, wanted
from tests.peer.worlds import PeerWorld


async def published(peer: Membership, step: int, state: bytes) -> bytes:
    """The content id of a resume state of expert 1 that `peer` publishes."""
    file = peer.node.home.path / "resume.safetensors"
    file.write_bytes(state)
    resume = await publish_resume(peer, file, 1, step, images=2 * step)
    assert not file.exists()
    return resume.manifest


async def test_a_resume_state_outlives_its_authors_peer(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    author, keeper, seeker = [await world.join() for _ in range(3)]
    content = await published(author, 40, b"everything")
    await learn_resumes(keeper, keeper.run.slots())
    await keeper.fetch(content)
    await keeper.announcer.content(content)
    await author.announcer.withdraw()
    world.network.drop(author.node.identity.author)

    await learn_resumes(seeker, [1])
    (resume,) = seeker.resumes.of(1)
    await seeker.fetch(resume.manifest)

    assert (resume.author, resume.step, resume.images) == (author.node.identity.author, 40, 80)
    assert seeker.node.blobs.read(content) == b"everything"


async def test_the_furthest_of_a_slot_is_worth_keeping_and_no_other(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    ahead, behind, keeper = [await world.join() for _ in range(3)]
    furthest = await published(ahead, 50, b"further")
    other = await published(behind, 40, b"behind")
    await learn_resumes(keeper, [0, 1])

    await learn_providers(keeper)

    assert furthest in wanted(keeper)
    assert other not in wanted(keeper)


async def test_a_newer_state_of_the_same_author_takes_the_place_of_the_older(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    author, seeker = await world.join(), await world.join()
    older = await published(author, 40, b"older")
    newer = await published(author, 50, b"newer")
    await learn_resumes(seeker, [1])
    assert [resume.manifest for resume in seeker.resumes.of(1)] == [newer]
    await learn_providers(seeker)
    assert newer in wanted(seeker) and older not in wanted(seeker)
