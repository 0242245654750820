"""What a peer makes of the contents that were read in a folder: a run that it signs and serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.errors import BadContent, DiskFull, NotAvailable, UsageProblem
from paris_p2p.peer import run_choice
from paris_p2p.peer.joining import join
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.pipeline.imported_run import Findings, take_in
from paris_p2p.peer.run_choice import read_joined
from paris_p2p.peer.sampling.worker_handle import Senseless
from paris_p2p.peer.training.claiming import claimant_of
from paris_p2p.peer.transfer.head_candidates import find_candidates
from paris_p2p.records.run import ROUTER, RunManifest
from tests.peer.worlds import PeerWorld

SHAPE = {"hidden": 8, "depth": 1, "heads": 1, "patch": 1, "caption_width": 8}
TOLD = {
    "name": "paris",
    "latent_shape": [4, 2, 2],
    "text_context": 4,
    "text_width": 8,
    "router": {"hidden": 8, "depth": 1, "heads": 1, "patch": 1},
    "experts": [{"shape": SHAPE, "objective": "flow"}, {"shape": SHAPE, "objective": "flow"}],
    "present": [0, 1],
}


@pytest.fixture
def read(tmp_path: Path) -> Path:
    """A folder with the contents that were read."""
    folder = tmp_path / "read"
    folder.mkdir()
    for name in ("autoencoder", "text-encoder", "expert-0", "expert-1", "router"):
        (folder / f"{name}.safetensors").write_bytes(name.encode())
    return folder


@pytest.fixture
async def peer(tmp_path: Path) -> Membership:
    return await PeerWorld(tmp_path).join()


async def imported(
    peer: Membership, read: Path, name: str | None = None, **changes: Any
) -> Membership:
    return await take_in(peer.node, read, Findings.of({**TOLD, **changes}), name)


async def test_the_run_is_signed_joined_for_good_and_complete(peer: Membership, read: Path) -> None:
    made = await imported(peer, read)
    node, run = peer.node, made.run
    assert (run.name, run.clusters, run.shards) == ("paris", 2, ())
    assert (run.author, run.trusted_authors) == (node.identity.author, (node.identity.author,))
    assert run.experts == ()
    assert RunManifest.unseal(node.blobs.chunks.get(made.run_id), made.run_id) == run
    assert read_joined(node.home, None) == [made.run_id]
    files = [run.autoencoder.reference, run.text_encoder.reference]
    assert [node.blobs.read(bytes.fromhex(id_)) for id_ in files] == [
        b"autoencoder",
        b"text-encoder",
    ]
    for slot, text in ((0, b"expert-0"), (1, b"expert-1"), (ROUTER, b"router")):
        (head,) = made.heads.of(slot)
        assert (head.author, head.step, head.size) == (node.identity.author, 0, len(text))
        assert node.blobs.read(head.manifest) == text


async def test_another_peer_joins_the_run_and_is_offered_its_heads(
    tmp_path: Path, read: Path
) -> None:
    world = PeerWorld(tmp_path)
    importer, other = await world.join(), await world.join()
    made = await imported(importer, read)
    joined = await join(other.node, made.run_id)
    events = [event async for event in find_candidates(joined)]
    offered = {slot: len(heads) for slot, heads in events[-1]["heads"].items()}
    assert offered == {"0": 1, "1": 1, "-1": 1}


async def test_no_slot_of_it_can_be_claimed(peer: Membership, read: Path) -> None:
    made = await imported(peer, read)
    for wanted in (None, 0, ROUTER):
        with pytest.raises(NotAvailable, match="the run paris was imported without data"):
            await claimant_of(made).acquire(wanted)


async def test_the_same_folder_makes_the_same_run_again(peer: Membership, read: Path) -> None:
    first = await imported(peer, read)
    assert await imported(peer, read) is first
    other = await imported(peer, read, name="another")
    assert other.run_id != first.run_id and other.run.name == "another"


async def test_experts_that_differ_or_are_missing(peer: Membership, read: Path) -> None:
    (read / "expert-0.safetensors").unlink()
    experts = [
        {"shape": {**SHAPE, "depth": 2}, "objective": "flow"},
        {"shape": SHAPE, "objective": "ddpm-cosine"},
    ]
    made = await imported(peer, read, experts=experts, present=[1])
    assert [made.run.expert_spec(k).depth for k in (0, 1)] == [2, 1]
    assert made.run.objective(1) == "ddpm-cosine"
    assert (made.heads.of(0), len(made.heads.of(1))) == ([], 1)


async def test_a_run_that_fails_leaves_none_behind(
    peer: Membership, read: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(peer.node.memberships)
    with pytest.raises(BadContent, match="text_width"):
        await imported(peer, read, text_width=9)
    monkeypatch.setattr(run_choice, "MOST_RUNS", 0)
    with pytest.raises(UsageProblem, match="0 runs at most"):
        await imported(peer, read)
    assert peer.node.memberships == before
    peer.node.config = replace(peer.node.config, store_quota=1)
    with pytest.raises(DiskFull, match="store_quota"):
        await imported(peer, read)
    assert not peer.node.home.runs_file.exists()


async def test_a_checkpoint_beyond_the_limit_of_its_shape_is_refused(
    peer: Membership, read: Path
) -> None:
    (read / "expert-0.safetensors").write_bytes(bytes(peer.run.checkpoint_limit(0) + 1))
    with pytest.raises(BadContent, match=r"expert-0\.safetensors is larger than a checkpoint"):
        await imported(peer, read)
    assert list(peer.node.memberships.values()) == [peer]


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {**TOLD, "present": []},
        {**TOLD, "present": [2]},
        {**TOLD, "present": ["../.."]},
        {**TOLD, "experts": [5]},
        {**TOLD, "latent_shape": 5},
    ],
)
def test_findings_that_make_no_sense_are_refused(told: object) -> None:
    with pytest.raises(Senseless):
        Findings.of(told)
