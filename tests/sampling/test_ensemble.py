"""From a prompt to pictures, on a run of two tiny experts with random weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.model.expert import build_expert
from paris_p2p.model.router import build_router
from paris_p2p.records.run import ROUTER, Artefact, ExpertSlot, RunManifest
from paris_p2p.sampling import ensemble
from paris_p2p.sampling.contents import HeadRow
from paris_p2p.sampling.ensemble import Ensemble
from paris_p2p.sampling.request import SAMPLERS, SampleRequest
from tests.peer.worlds import CREATOR
from tests.sampling.shelf import LATENTS, Shelf, make_tiny_run
from tests.sampling.shelf import full_shelf as full_shelf  # a fixture

REQUEST = SampleRequest(("a red apple", "a cat"), steps=2, strategy="full", seed=5)


@pytest.fixture
def shelf(full_shelf: Shelf) -> Shelf:
    """The shelf, with nothing asked of it yet."""
    return Shelf(full_shelf.folder)


def seal_tiny_run(shelf: Shelf) -> bytes:
    return make_tiny_run(shelf).seal(CREATOR)


def row(manifest: str, step: int = 3) -> dict[str, Any]:
    return {"manifest": manifest, "author": "12D3KooWabc", "step": step}


def heads(**changes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"-1": [row("head--1")], "0": [row("head-0")], "1": [row("head-1")]} | {
        name.removeprefix("slot"): rows for name, rows in changes.items()
    }


def test_prompts_become_pictures_that_say_where_they_come_from(shelf: Shelf) -> None:
    pictures = Ensemble(seal_tiny_run(shelf), heads(), shelf).sample(REQUEST)

    assert [picture.prompt for picture in pictures] == ["a red apple", "a cat"]
    assert pictures[0].image.size == (16, 16)
    origin = pictures[1].provenance
    assert origin["seed"] == 6
    assert origin["heads"]["expert 0"]["manifest"] == "head-0"
    assert sum(origin["expert_weights"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_and_is_named(shelf: Shelf, sampler: str) -> None:
    request = replace(REQUEST, sampler=sampler)
    pictures = Ensemble(seal_tiny_run(shelf), heads(), shelf).sample(request)
    assert [picture.provenance["sampler"] for picture in pictures] == [sampler] * 2


def differing(shelf: Shelf, *objectives: str, deep: int = 1) -> RunManifest:
    """The tiny run whose experts have these objectives, the last as `deep`."""
    run = make_tiny_run(shelf)
    slots = [ExpertSlot(run.expert, objective) for objective in objectives]
    slots[-1] = replace(slots[-1], shape=replace(run.expert, depth=deep))
    return replace(run, experts=tuple(slots))


def test_experts_of_two_sizes_and_objectives_draw_together(shelf: Shelf) -> None:
    run = differing(shelf, "flow", "ddpm-cosine", deep=2)
    torch.manual_seed(1)
    shelf.save("deep", build_expert(run.expert_spec(1), LATENTS))
    pictures = Ensemble(run.seal(CREATOR), heads(slot1=[row("deep")]), shelf).sample(REQUEST)
    assert set(pictures[0].provenance["expert_weights"]) == {"0", "1"}
    assert not shelf.condemned


def test_a_checkpoint_in_the_shape_of_another_slot_is_condemned(shelf: Shelf) -> None:
    run = differing(shelf, "flow", "flow", deep=2)
    pictures = Ensemble(run.seal(CREATOR), heads(), shelf).sample(REQUEST)
    assert list(shelf.condemned) == ["head-1"]
    assert list(pictures[0].provenance["expert_weights"]) == ["0"]


def test_an_expert_answers_as_a_velocity_of_its_own_objective(shelf: Shelf) -> None:
    runs = [differing(shelf, name, "flow") for name in ("flow", "ddpm-linear")]
    request = replace(REQUEST, steps=4)
    flow, noise = (Ensemble(run.seal(CREATOR), heads(), shelf).latents(request) for run in runs)
    assert not torch.allclose(flow.latents, noise.latents, atol=0.1)


def test_an_expert_whose_objective_is_unknown_is_masked_and_never_fetched(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    run = differing(shelf, "flow", "mean-flow")
    pictures = Ensemble(run.seal(CREATOR), heads(), shelf).sample(REQUEST)
    assert list(pictures[0].provenance["expert_weights"]) == ["0"]
    assert 0 < pictures[0].provenance["lost_mass"] < 1
    assert "expert 1 is trained with the objective 'mean-flow'" in caplog.text
    assert 1 not in {slot for slot, _ in shelf.asked}


def test_captions_are_read_as_long_as_the_longest(shelf: Shelf) -> None:
    ensemble = Ensemble(seal_tiny_run(shelf), heads(), shelf)
    text, null = ensemble._texts(["a", "the cat"])
    context = ensemble.text_encoder.context_length
    assert text.tokens.shape[1] == null.tokens.shape[1] == int(text.mask.sum(1).max()) < context
    assert len(text) == 2 and len(null) == 1


def test_the_same_seed_gives_the_same_picture(shelf: Shelf) -> None:
    one, two = (
        Ensemble(seal_tiny_run(shelf), heads(), shelf).sample(REQUEST)[0].image.tobytes()
        for _ in range(2)
    )
    assert one == two


def test_a_poisoned_head_is_passed_over_for_the_next(shelf: Shelf) -> None:
    liars = [row("poison", 10**9), row("nobody-has-it", 10**8), row("head-0", 3)]
    pictures = Ensemble(seal_tiny_run(shelf), heads(slot0=liars), shelf).sample(REQUEST)
    assert pictures[0].provenance["heads"]["expert 0"]["manifest"] == "head-0"
    assert pictures[0].provenance["lost_mass"] == 0


@pytest.mark.parametrize("bad", ["poison", "enormous-0", "explosive-0"])
def test_a_head_that_is_worth_nothing_is_condemned_and_the_next_one_drawn_with(
    shelf: Shelf, bad: str
) -> None:
    candidates = heads(slot0=[row(bad, 10**9), row("head-0")])
    pictures = Ensemble(seal_tiny_run(shelf), candidates, shelf).sample(REQUEST)
    expected = Ensemble(seal_tiny_run(shelf), heads(), shelf).sample(REQUEST)
    assert list(shelf.condemned) == [bad]
    assert pictures[0].provenance == expected[0].provenance
    assert pictures[0].image.tobytes() == expected[0].image.tobytes()


@pytest.mark.parametrize("bad", ["poison", "explosive-0"])
def test_where_no_candidate_is_left_after_a_liar_another_search_finds_the_honest_head(
    shelf: Shelf, bad: str
) -> None:
    shelf.found_later = {0: [row(bad), row("head-0")]}
    pictures = Ensemble(seal_tiny_run(shelf), heads(slot0=[row(bad)]), shelf).sample(REQUEST)
    assert pictures[0].provenance["heads"]["expert 0"]["manifest"] == "head-0"
    assert pictures[0].provenance["lost_mass"] == 0
    assert shelf.asked.count((0, ["head-0"])) == 1
    assert list(shelf.condemned) == [bad]


def test_heads_are_looked_for_again_once_and_only_after_a_liar(shelf: Shelf) -> None:
    shelf.found_later = {0: [row("enormous-0")]}
    candidates = heads(slot0=[row("explosive-0")], slot1=[row("head-1")])
    Ensemble(seal_tiny_run(shelf), candidates, shelf).sample(REQUEST)
    Ensemble(seal_tiny_run(shelf), heads(slot0=[row("nobody-has-it")]), shelf).sample(REQUEST)
    assert shelf.searched == [0]


@dataclass
class RottingShelf(Shelf):
    """A shelf whose `rotten` file is made again, sound, when it is to be condemned."""

    rotten: str = ""
    told: list[str] = field(default_factory=list)
    """The authors of heads that were to be condemned."""
    heals: bool = True

    def fetch(self, content: str) -> Path:
        return super().fetch("poison" if content == self.rotten else content)

    def condemn(self, head: HeadRow, reason: str) -> bool:
        self.told.append(head["author"])
        if self.heals:
            self.rotten = ""
        return False


def test_a_head_whose_file_rotted_here_is_drawn_with_once_the_file_is_made_again(
    full_shelf: Shelf,
) -> None:
    shelf = RottingShelf(full_shelf.folder, rotten="head-0")
    same = [row("head-0"), {**row("head-0"), "author": "12D3KooWxyz"}]
    pictures = Ensemble(seal_tiny_run(shelf), heads(slot0=same), shelf).sample(REQUEST)
    assert pictures[0].provenance["heads"]["expert 0"]["manifest"] == "head-0"
    assert pictures[0].provenance["lost_mass"] == 0
    assert shelf.told == ["12D3KooWabc"]


def test_a_head_that_fails_again_is_done_without_although_it_is_not_condemned(
    full_shelf: Shelf,
) -> None:
    shelf = RottingShelf(full_shelf.folder, rotten="head-0", heals=False)
    pictures = Ensemble(seal_tiny_run(shelf), heads(), shelf).sample(REQUEST)
    assert list(pictures[0].provenance["expert_weights"]) == ["1"]
    assert len(shelf.told) == 2


def test_a_router_that_answers_with_what_is_not_finite_is_condemned_too(shelf: Shelf) -> None:
    candidates = {**heads(), "-1": [row("explosive--1", 10**9), row("head--1")]}
    pictures = Ensemble(seal_tiny_run(shelf), candidates, shelf).sample(REQUEST)
    assert list(shelf.condemned) == ["explosive--1"]
    assert pictures[0].provenance["heads"]["router"]["manifest"] == "head--1"


def test_where_every_head_of_an_expert_is_worth_nothing_it_is_masked(shelf: Shelf) -> None:
    candidates = heads(slot0=[row("explosive-0"), row("enormous-0")])
    pictures = Ensemble(seal_tiny_run(shelf), candidates, shelf).sample(REQUEST)
    assert list(shelf.condemned) == ["explosive-0", "enormous-0"]
    assert list(pictures[0].provenance["expert_weights"]) == ["1"]
    assert 0 < pictures[0].provenance["lost_mass"] < 1


def test_where_nothing_is_worth_anything_nothing_is_drawn(shelf: Shelf) -> None:
    candidates = heads(slot0=[row("explosive-0")], slot1=[row("explosive-1")])
    with pytest.raises(NotAvailable, match="no expert"):
        Ensemble(seal_tiny_run(shelf), candidates, shelf).sample(REQUEST)


def test_a_decoder_that_makes_no_finite_picture_draws_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble = Ensemble(seal_tiny_run(shelf), heads(), shelf)
    nowhere = torch.full((2, 3, 16, 16), torch.nan)
    monkeypatch.setattr(ensemble.autoencoder, "decode", lambda latents: nowhere)
    with pytest.raises(BadContent, match="finite"):
        ensemble.sample(REQUEST)
    assert not shelf.condemned


def test_what_cannot_be_had_is_asked_for_once(shelf: Shelf) -> None:
    candidates = heads(slot0=[row("nobody-has-it")], slot1=[row("explosive-1"), row("head-1")])
    Ensemble(seal_tiny_run(shelf), candidates, shelf).sample(REQUEST)
    assert [contents for slot, contents in shelf.asked if slot == 0] == [["nobody-has-it"]]


def test_a_missing_expert_is_masked_and_its_mass_reported(shelf: Shelf) -> None:
    for candidates in ([], [row("nobody-has-it")]):
        pictures = Ensemble(seal_tiny_run(shelf), heads(slot0=candidates), shelf).sample(REQUEST)
        assert pictures[0].provenance["lost_mass"] > 0
        assert list(pictures[0].provenance["expert_weights"]) == ["1"]


def test_without_a_router_nothing_can_be_drawn(shelf: Shelf) -> None:
    with pytest.raises(NotAvailable, match="router"):
        Ensemble(seal_tiny_run(shelf), {"-1": [], "0": [], "1": []}, shelf)


def test_an_encoder_from_a_hub_never_comes_from_the_working_directory(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "autoencoder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadContent, match="never come from it"):
        ensemble._encoder(Artefact("hub", "owner/autoencoder"), shelf, fail, fail)


def fail(where: object) -> Any:
    raise AssertionError(f"{where} was loaded")


@pytest.fixture
def reading(full_shelf: Shelf) -> Shelf:
    """The shelf with a reading router that gives every caption to expert 1."""
    run = make_reading_run(full_shelf)
    router = build_router(run.router, LATENTS, run.clusters)
    assert router.reader is not None
    with torch.no_grad():
        for part, bias in ((router.reader.cluster, [0.0, 30.0]), (router.reader.trust, [30.0])):
            part[-1].weight.zero_()  # type: ignore[operator]
            part[-1].bias.copy_(torch.tensor(bias))  # type: ignore[operator]
    full_shelf.save("reader", router)
    return Shelf(full_shelf.folder)


def make_reading_run(shelf: Shelf) -> RunManifest:
    run = make_tiny_run(shelf)
    return replace(run, router=replace(run.router, caption_width=run.text_width))


READER = {"-1": [row("reader")]}


def test_one_expert_is_fetched_for_a_prompt_that_the_router_reads(reading: Shelf) -> None:
    sealed = make_reading_run(reading).seal(CREATOR)
    request = SampleRequest(("a red apple",), steps=2)
    origin = Ensemble(sealed, heads() | READER, reading).sample(request)[0].provenance
    assert [slot for slot, _ in reading.asked] == [ROUTER, 1]
    assert origin["expert_weights"] == {"1": 1.0}
    assert (origin["strategy"], origin["router"]) == ("once", "reads the prompt")
    assert origin["guidance_routing"] == "shared"


def test_an_expert_that_cannot_matter_is_not_fetched(reading: Shelf) -> None:
    sealed = make_reading_run(reading).seal(CREATOR)
    request = replace(REQUEST, strategy="top-2")
    Ensemble(sealed, heads() | READER, reading).sample(request)
    assert [slot for slot, _ in reading.asked] == [ROUTER, 1]


@pytest.mark.parametrize("prompt", ["", " ", "\u732b", "\U0001f600" * 40, "a" * 1000, "\x00\n"])
def test_any_prompt_is_drawn(reading: Shelf, prompt: str) -> None:
    sealed = make_reading_run(reading).seal(CREATOR)
    request = SampleRequest((prompt,), steps=1)
    assert len(Ensemble(sealed, heads() | READER, reading).sample(request)) == 1


def test_an_empty_prompt_is_routed_as_by_a_blind_router(reading: Shelf) -> None:
    run = make_reading_run(reading)
    drawn = Ensemble(run.seal(CREATOR), heads() | READER, reading)
    blind = drawn.router.read(drawn._texts([""])[0])
    assert not blind.any()


def test_a_blind_router_mixes_two(shelf: Shelf) -> None:
    request = SampleRequest(("a",), steps=1)
    origin = Ensemble(seal_tiny_run(shelf), heads(), shelf).sample(request)[0].provenance
    assert (origin["strategy"], origin["router"]) == ("top-2", "blind")


def test_a_text_encoder_of_another_width_is_refused(shelf: Shelf) -> None:
    run = make_tiny_run(shelf)
    wide = replace(run, text_width=64, expert=replace(run.expert, caption_width=64))
    with pytest.raises(BadContent, match="tokens of width 32, and its networks read 64"):
        Ensemble(wide.seal(CREATOR), heads(), shelf)
