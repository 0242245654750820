"""The sampling process may ask for encoders of the run, and for heads that it was offered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.peer.membership import Membership
from paris_p2p.peer.report import head_row
from paris_p2p.peer.sampling.answers import Answers
from paris_p2p.peer.sampling.worker_handle import Senseless
from paris_p2p.records.run import Artefact
from tests.peer.worlds import PeerWorld, head_of

WEIGHTS = b"weights"


async def answer(answers: Answers, **question: Any) -> dict[str, Any]:
    *_, last = [event async for event in answers.to(question)]
    answer: dict[str, Any] = last["answer"]
    return answer


def offered(*heads: Any) -> dict[str, list[dict[str, Any]]]:
    rows = [head_row(head) for head in heads]
    return {str(slot): [row for row in rows if row["slot"] == slot] for slot in (-1, 0, 1)}


async def with_head(peer: Membership, author: Membership, step: int = 5, slot: int = 0) -> Any:
    """A head of `author` whose content `peer` holds."""
    content = peer.node.blobs.add_bytes(WEIGHTS, "checkpoint", "weights").id
    head = head_of(author, slot, step, content)
    peer.heads.add(head.seal(author.node.identity))
    return head


async def test_the_first_head_that_can_be_had_is_given_as_a_file(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    head = await with_head(holder, holder)
    await holder.announcer.content(head.manifest)
    peer.heads.add(head.seal(holder.node.identity))
    answers = Answers(peer, offered(head))
    content = head.manifest.hex()

    given = await answer(answers, ask="fetch-head", slot=0, contents=[content])

    assert given["content"] == content
    assert Path(given["path"]).read_bytes() == WEIGHTS
    assert head.manifest in peer.node.in_use
    await answers.close()
    assert head.manifest not in peer.node.in_use


async def test_an_encoder_of_the_run_is_given_and_where_nobody_has_it_that_is_the_answer(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    here = peer.node.blobs.add_bytes(b"encoder", "encoder", "encoder").id
    artefacts = [Artefact("content", content.hex()) for content in (here, bytes(32))]
    peer.run = replace(peer.run, autoencoder=artefacts[0], text_encoder=artefacts[1])
    answers = Answers(peer, offered())
    given = await answer(answers, ask="fetch", content=here.hex())
    assert Path(given["path"]).read_bytes() == b"encoder"
    missing = await answer(answers, ask="fetch", content=bytes(32).hex())
    assert missing["error"]["exit_code"] == 6


async def test_heads_are_looked_for_again(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    head = await with_head(peer, peer)
    answers = Answers(peer, offered())
    found = await answer(answers, ask="heads", slot=0)
    assert [row["manifest"] for row in found["heads"]] == [head.manifest.hex()]
    contents = [head.manifest.hex()]
    assert "path" in await answer(answers, ask="fetch-head", slot=0, contents=contents)


async def test_of_several_records_only_the_one_of_the_author_that_is_named_is_condemned(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    honest, liar, peer = [await world.join() for _ in range(3)]
    heads = [await with_head(peer, honest, 5), await with_head(peer, liar, 2**40)]
    answers = Answers(peer, offered(*heads))
    await answer(answers, ask="fetch-head", slot=0, contents=[heads[0].manifest.hex()])

    row = head_row(heads[1])
    assert await answer(answers, ask="condemn", head=row, reason="absurd") == {"condemned": True}

    assert [head.author for head in peer.heads.all()] == [honest.node.identity.author]
    assert peer.node.blobs.complete(heads[0].manifest)


async def test_no_record_of_a_file_that_rotted_here_is_condemned(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    author, peer = await world.join(), await world.join()
    head = await with_head(peer, author)
    answers = Answers(peer, offered(head))
    await answer(answers, ask="fetch-head", slot=0, contents=[head.manifest.hex()])
    peer.node.blobs.path(head.manifest).write_bytes(b"rotten!")

    said = await answer(answers, ask="condemn", head=head_row(head), reason="it cannot be loaded")

    assert said == {"condemned": False}
    assert peer.naming(head.manifest) == [head]
    assert (await peer.node.path(head.manifest)).read_bytes() == WEIGHTS


OFFERED = "ab" * 32


@pytest.mark.parametrize(
    "question",
    [
        {"ask": "everything"},
        {"ask": ["fetch"]},
        {"ask": "fetch"},
        {"ask": "fetch", "content": OFFERED},
        {"ask": "fetch", "content": ["x"]},
        {"ask": "fetch-head", "slot": 9, "contents": [OFFERED]},
        {"ask": "fetch-head", "slot": True, "contents": [OFFERED]},
        {"ask": "fetch-head", "slot": [0], "contents": [OFFERED]},
        {"ask": "fetch-head", "slot": 0, "contents": []},
        {"ask": "fetch-head", "slot": 0, "contents": OFFERED},
        {"ask": "fetch-head", "slot": 0, "contents": [OFFERED, "cd" * 32]},
        {"ask": "fetch-head", "slot": 0, "contents": [[OFFERED]]},
        {"ask": "fetch-head", "slot": 1, "contents": [OFFERED]},
        {"ask": "heads"},
        {"ask": "condemn", "head": {"manifest": OFFERED, "author": "x"}, "reason": "y"},
        {"ask": "condemn", "head": {"manifest": [1], "author": "x"}, "reason": "y"},
        {"ask": "condemn", "head": OFFERED, "reason": "y"},
        {"ask": "condemn", "head": {"manifest": OFFERED}, "reason": 5},
    ],
)
async def test_a_process_that_asks_for_anything_else_is_not_answered(
    tmp_path: Path, question: dict[str, Any]
) -> None:
    peer = await PeerWorld(tmp_path).join()
    answers = Answers(peer, {"-1": [], "0": [{"manifest": OFFERED}], "1": []})
    with pytest.raises(Senseless):
        await answer(answers, **question)
