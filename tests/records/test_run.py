from __future__ import annotations

from dataclasses import replace

import pytest
from blake3 import blake3

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.identity import Identity
from paris_p2p.peer.shipped_run import load_shipped_run
from paris_p2p.records.codec import seal
from paris_p2p.records.objectives import FLOW, OBJECTIVES
from paris_p2p.records.run import (
    MAX_AUTHORS,
    MAX_CLUSTERS,
    MAX_SEEDS,
    MAX_URL,
    ROUTER,
    Artefact,
    ExpertSlot,
    ExpertSpec,
    RouterSpec,
    RunManifest,
    ShardRef,
    run_id,
    slot_name,
)

ID_OF_EXAMPLE = "eff72139c46e7b4266ade9f716e5d7819879676d8b8c3de34083ad4c6cf4a997"
"""The id of the example run, as every version so far computes it."""


def test_the_id_is_the_hash_of_the_sealed_bytes(run: RunManifest, signer: Identity) -> None:
    sealed = run.seal(signer)
    assert run_id(sealed) == blake3(sealed).digest()
    assert RunManifest.unseal(sealed, expect_id=run_id(sealed)) == run


def test_another_run_than_expected_is_refused(run: RunManifest, signer: Identity) -> None:
    other = replace(run, name="another").seal(signer)
    with pytest.raises(BadContent, match="this is run"):
        RunManifest.unseal(other, expect_id=run_id(run.seal(signer)))


def test_the_slots_are_the_experts_and_the_router(run: RunManifest) -> None:
    assert run.slots() == (0, 1, ROUTER)
    assert [slot_name(slot) for slot in run.slots()] == ["expert 0", "expert 1", "router"]


def test_the_largest_run_fits_its_limit(run: RunManifest, signer: Identity) -> None:
    shards = tuple(
        ShardRef(bytes(32), 2**40, 2**40, ("a word", "another")) for _ in range(MAX_CLUSTERS)
    )
    experts = (ExpertSlot(run.expert, OBJECTIVES[1]),) * MAX_CLUSTERS
    largest = replace(run, clusters=MAX_CLUSTERS, shards=shards, experts=experts)
    assert RunManifest.unseal(largest.seal(signer)) == largest


def test_the_run_with_the_most_values_can_be_read(run: RunManifest, signer: Identity) -> None:
    shards = (ShardRef(bytes(32), 1, 1, ("x",) * 16),) * MAX_CLUSTERS
    authors = (bytes(32),) * MAX_AUTHORS
    largest = replace(
        run,
        clusters=MAX_CLUSTERS,
        shards=shards,
        trusted_authors=authors,
        members=authors,
        http_seeds=("http://a",) * MAX_SEEDS,
        experts=(ExpertSlot(run.expert, "x"),) * MAX_CLUSTERS,
    )
    assert RunManifest.unseal(largest.seal(signer)) == largest


def test_a_run_too_wordy_to_be_sent_is_refused(run: RunManifest, signer: Identity) -> None:
    shards = tuple(ShardRef(bytes(32), 1, 1, ("x" * 32,) * 16) for _ in range(MAX_CLUSTERS))
    with pytest.raises(BadContent, match="bytes, over"):
        replace(run, clusters=MAX_CLUSTERS, shards=shards).seal(signer)


def test_a_run_without_data_can_be_signed_and_not_trained(
    run: RunManifest, signer: Identity
) -> None:
    bare = replace(run, shards=(), image_encoder=None)
    read = RunManifest.unseal(bare.seal(signer))
    assert read == bare
    assert read.content_ids() == {bytes.fromhex("ab" * 32)}
    assert [read.shards_of(slot) for slot in read.slots()] == [(), (), ()]
    assert read.resume_limit(0) == 4 * read.checkpoint_limit(0)
    run.check_data()
    with pytest.raises(NotAvailable, match="imported without data: it can be sampled, not trained"):
        read.check_data()
    with pytest.raises(BadContent, match="1 of them for 2 clusters"):
        replace(run, shards=run.shards[:1])


def test_the_shards_of_a_slot_are_its_own_and_all_for_the_router(run: RunManifest) -> None:
    assert run.shards_of(1) == run.shards[1:]
    assert run.shards_of(ROUTER) == run.shards


def test_a_run_whose_experts_are_all_alike_keeps_its_bytes_and_its_id(
    run: RunManifest, signer: Identity
) -> None:
    assert "experts" not in run.to_body()
    assert run_id(run.seal(signer)).hex() == ID_OF_EXAMPLE
    assert [run.expert_spec(slot) for slot in (0, 1)] == [run.expert] * 2
    assert [run.objective(slot) for slot in (0, 1)] == [FLOW] * 2


def test_the_shipped_run_is_read_as_one_of_equal_experts() -> None:
    shipped = load_shipped_run()
    assert shipped.run.experts == ()
    assert run_id(shipped.sealed) == shipped.id


def differing(run: RunManifest, **changes: object) -> RunManifest:
    """The run with expert 0 as it was, and expert 1 smaller and trained with DDPM's objective."""
    small = replace(run.expert, hidden=96, depth=2)
    slots = (ExpertSlot(run.expert), ExpertSlot(small, "ddpm-cosine"))
    return replace(run, **{"experts": slots} | changes)


def test_each_expert_may_have_its_own_shape_and_objective(
    run: RunManifest, signer: Identity
) -> None:
    mixed = RunManifest.unseal(differing(run).seal(signer))
    assert mixed == differing(run)
    assert mixed.expert_spec(0) == run.expert and mixed.expert_spec(1).hidden == 96
    assert [mixed.objective(slot) for slot in (0, 1)] == ["flow", "ddpm-cosine"]
    assert mixed.checkpoint_limit(0) == run.checkpoint_limit(0)
    assert mixed.checkpoint_limit(1) < run.checkpoint_limit(1) / 4
    assert mixed.resume_limit(1) < run.resume_limit(1)
    assert mixed.checkpoint_limit(ROUTER) == run.checkpoint_limit(ROUTER)


def test_an_objective_of_a_later_version_is_refused_by_name_and_the_others_work(
    run: RunManifest, signer: Identity
) -> None:
    slots = (ExpertSlot(run.expert, OBJECTIVES[-1]), ExpertSlot(run.expert, "mean-flow/2"))
    read = RunManifest.unseal(replace(run, experts=slots).seal(signer))
    read.check_objective(0)
    with pytest.raises(NotAvailable, match=r"expert 1 .* 'mean-flow/2', which this version") as no:
        read.check_objective(1)
    assert no.value.remedy == "update paris-p2p"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": 3}, "expert 1: patches of 3 do not tile 8x8 latents"),
        ({"caption_width": 64}, "expert 1: its caption_width is not the run's text_width"),
    ],
)
def test_an_expert_that_does_not_fit_the_others_is_named(
    run: RunManifest, changes: dict[str, int], words: str
) -> None:
    odd = ExpertSlot(replace(run.expert, **changes))
    with pytest.raises(BadContent, match=words):
        replace(run, experts=(ExpertSlot(run.expert), odd))


@pytest.mark.parametrize("count", [1, 3])
def test_either_no_expert_is_described_or_every_one(run: RunManifest, count: int) -> None:
    with pytest.raises(BadContent, match=f"experts: {count} of them for 2 clusters"):
        replace(run, experts=(ExpertSlot(run.expert),) * count)


@pytest.mark.parametrize("objective", ["", "x" * 65, "\x1b[31m", 7])
def test_an_objective_is_a_short_printable_word(run: RunManifest, objective: object) -> None:
    with pytest.raises(BadContent, match="objective"):
        ExpertSlot(run.expert, objective)


INCONSISTENT = {
    "more clusters than shards": {"clusters": 3},
    "no clusters": {"clusters": 0, "shards": ()},
    "too many clusters": {"clusters": MAX_CLUSTERS + 1},
    "latents without height": {"latent_shape": (16, 8)},
    "latents the router's patches do not tile": {"latent_shape": (16, 9, 8)},
    "captions of another width": {"text_width": 256},
    "a router of another text width": {"router": RouterSpec(128, 4, 4, 2, caption_width=64)},
    "a name with an escape sequence": {"name": "\x1b[31mred"},
    "a trusted author of the wrong length": {"trusted_authors": (b"short",)},
    "a trusted author who is no member": {"members": (bytes(32),)},
    "words without end": {"shards": (ShardRef(bytes(32), 1, 1, ()),) * 3},
}


@pytest.mark.parametrize("changes", INCONSISTENT.values(), ids=INCONSISTENT.keys())
def test_an_inconsistent_run_is_refused(run: RunManifest, changes: dict[str, object]) -> None:
    with pytest.raises(BadContent):
        replace(run, **changes)


def test_heads_must_share_the_width() -> None:
    with pytest.raises(BadContent, match="192 does not divide into 7 heads"):
        ExpertSpec(hidden=192, depth=6, heads=7, patch=1, caption_width=128)


@pytest.mark.parametrize(
    "name",
    [
        "ViT-L-14",
        "ViT-L-14/openai",
        "ViT-B-32/laion2b_s34b_b79k",
        "openai/clip-vit-large-patch14",
        "stabilityai/sd-vae-ft-mse",
        "sd-vae-ft-mse",
        "Qwen/Qwen2.5-0.5B",
        "timm:vit_large_patch14_dinov2.lvd142m",
        "a",
    ],
)
def test_hub_names(name: str) -> None:
    assert Artefact("hub", name).reference == name


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../weights",
        "a/../b",
        "~/weights",
        ".hidden",
        "a\\b",
        "a//b",
        "file:///x",
        "file:x",
        "",
        "local-dir:models",
        "local-dir:owner/models",
        "LOCAL-DIR:models",
        "hf-hub:owner/model",
        "timm:local-dir:models",
        "timm:vit_base/w",
        "timm:",
        "ViT-L-14/w.safetensors",
        "ViT-L-14/W.SafeTensors",
        "w.safetensors",
        "ViT-L-14/w.pt",
        "timm:vit.pth",
        "C:weights",
        "owner/models/weights",
        "owner/",
        "/name",
        "owner/.",
        "owner/name.",
        "a..b/c",
        "owner/-",
        "owner/name\n",
        "ówner/name",
    ],
)
def test_a_path_is_no_hub_name(name: str) -> None:
    with pytest.raises(BadContent):
        Artefact("hub", name)


@pytest.mark.parametrize("reference", ["ab" * 31, "AB" * 32, "zz" * 32, "../" + "a" * 61])
def test_content_is_named_by_64_hex_digits(reference: str) -> None:
    with pytest.raises(BadContent, match="64 lower-case hex digits"):
        Artefact("content", reference)


def test_a_run_is_made_of_its_shards_and_the_encoders_in_the_swarm(run: RunManifest) -> None:
    assert run.content_ids() == {b"0" * 32, b"1" * 32, bytes.fromhex("ab" * 32)}


def test_a_runs_base_is_part_of_it_and_a_run_without_says_nothing_of_it(
    run: RunManifest, signer: Identity
) -> None:
    based = replace(run, base=b"b" * 32)
    assert RunManifest.unseal(based.seal(signer)) == based
    assert based.content_ids() == run.content_ids() | {b"b" * 32}
    assert "base" not in run.to_body()


def test_a_base_must_have_the_shape_of_every_expert(run: RunManifest) -> None:
    other = ExpertSlot(run.expert, OBJECTIVES[-1])
    assert replace(run, base=bytes(32), experts=(other, other)).base
    with pytest.raises(BadContent, match="expert 1: the run's base does not have its shape"):
        differing(run, base=bytes(32))


def test_a_run_of_listed_members_keeps_them_and_one_without_says_nothing_of_it(
    run: RunManifest, signer: Identity
) -> None:
    closed = replace(run, members=(signer.author, bytes(32)))
    assert RunManifest.unseal(closed.seal(signer)) == closed
    assert "members" not in run.to_body()


def test_an_empty_list_that_is_spelled_out_is_not_the_canonical_form(
    run: RunManifest, signer: Identity
) -> None:
    spelled = seal(signer, RunManifest.KIND, {**run.to_body(), "members": []})
    with pytest.raises(BadContent, match="not the canonical form"):
        RunManifest.unseal(spelled)


def test_a_run_may_name_web_seeds_and_keeps_its_id_without(
    run: RunManifest, signer: Identity
) -> None:
    assert "http_seeds" not in run.to_body()
    named = replace(run, http_seeds=("https://seeds.example/paris", "http://[2001:db8::1]:8080/a/"))
    assert RunManifest.unseal(named.seal(signer)) == named


@pytest.mark.parametrize(
    "url",
    [
        "",
        "seeds.example",
        "ftp://seeds.example/a",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@seeds.example/a",
        "https://seeds.example/a?b=c",
        "https://seeds.example/a#b",
        "https://seeds.example:0/a",
        "https://seeds.example:99999/a",
        "https://seeds.example/a b",
        "https://s\u00e9eds.example/a",
        "https://seeds.example\\@other.example/",
        "https://[::1/a",
        "https://seeds.example/" + "a" * MAX_URL,
    ],
)
def test_a_web_seed_that_is_no_plain_address_is_refused(run: RunManifest, url: str) -> None:
    with pytest.raises(BadContent, match="http_seeds"):
        replace(run, http_seeds=(url,))


def test_a_run_may_name_only_a_few_web_seeds(run: RunManifest) -> None:
    with pytest.raises(BadContent, match="http_seeds"):
        replace(run, http_seeds=("https://seeds.example",) * (MAX_SEEDS + 1))


def test_a_blind_router_says_nothing_of_captions_and_a_reading_one_does(
    run: RunManifest, signer: Identity
) -> None:
    assert "caption_width" not in run.to_body()["router"]
    reading = replace(run, router=replace(run.router, caption_width=run.text_width))
    assert RunManifest.unseal(reading.seal(signer)) == reading


def test_the_refusal_of_a_router_names_both_widths(run: RunManifest) -> None:
    with pytest.raises(BadContent, match=f"width 64, and the run's text_width is {run.text_width}"):
        replace(run, router=replace(run.router, caption_width=64))
