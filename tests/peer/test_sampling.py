"""From a prompt to pictures, on a run of two tiny experts with random weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.model.encoders.autoencoder import (
    AutoencoderConfig,
    SmallAutoencoder,
    save_autoencoder,
)
from paris_p2p.model.encoders.clip import (
    ClipConfig,
    build_clip,
    build_tokenizer,
    load_text_encoder,
    save_clip,
)
from paris_p2p.model.expert import build_expert
from paris_p2p.model.router import build_router
from paris_p2p.model.weights import save_weights
from paris_p2p.peer import sampling
from paris_p2p.peer.request import SampleRequest
from paris_p2p.peer.sampling import Ensemble
from paris_p2p.records.run import ROUTER, Artefact, ExpertSpec, RouterSpec, RunManifest
from tests.peer.worlds import CREATOR, make_run

LATENTS = (4, 4, 4)
REQUEST = SampleRequest(("a red apple", "a cat"), steps=2, strategy="full", seed=5)


@dataclass
class Shelf:
    """Contents by name, as a peer would have fetched them."""

    folder: Path
    slow: str = ""
    """A content that comes to the patient only."""

    def fetch(self, content: str, patience: float | None = None) -> Path:
        path = self.folder / content
        if not path.exists() or (content == self.slow and patience is not None):
            raise NotAvailable(f"nobody serves {content}")
        return path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    torch.manual_seed(0)
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    small = AutoencoderConfig(
        image_px=16, width=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1), latent_channels=4
    )
    save_autoencoder(shelf.folder / ("a" * 64), SmallAutoencoder(small))
    clip = ClipConfig(
        image_px=16, image_width=32, image_layers=1, text_width=32, text_layers=1, features=16
    )
    tokenizer = build_tokenizer(["t h"], clip.context_length)
    save_clip(shelf.folder / ("b" * 64), build_clip(clip, tokenizer.vocab_size), clip, ["t h"])
    run = make_tiny_run(shelf)
    for slot in run.slots():
        network = (
            build_router(run.router, LATENTS, 2)
            if slot == ROUTER
            else build_expert(run.expert, LATENTS)
        )
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        save_weights(shelf.folder / f"head-{slot}", network, {}, torch.bfloat16)
    (shelf.folder / "poison").write_bytes(b"not weights at all")
    return shelf


def make_tiny_run(shelf: Shelf) -> RunManifest:
    text = load_text_encoder(shelf.fetch("b" * 64))
    return replace(
        RunManifest.unseal(make_run()),
        expert=ExpertSpec(hidden=32, depth=1, heads=2, patch=1, caption_width=text.width),
        router=RouterSpec(hidden=32, depth=1, heads=2, patch=1),
        latent_shape=LATENTS,
        autoencoder=Artefact("content", "a" * 64),
        text_encoder=Artefact("content", "b" * 64),
        text_context=text.context_length,
        text_width=text.width,
    )


def seal_tiny_run(shelf: Shelf) -> bytes:
    return make_tiny_run(shelf).seal(CREATOR)


def row(manifest: str, step: int = 3) -> dict[str, Any]:
    return {"manifest": manifest, "author": "12D3KooWabc", "step": step}


def heads(**changes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"-1": [row("head--1")], "0": [row("head-0")], "1": [row("head-1")]} | {
        name.removeprefix("slot"): rows for name, rows in changes.items()
    }


def test_prompts_become_pictures_that_say_where_they_come_from(shelf: Shelf) -> None:
    pictures = Ensemble(seal_tiny_run(shelf), heads(), shelf.fetch).sample(REQUEST)

    assert [picture.prompt for picture in pictures] == ["a red apple", "a cat"]
    assert pictures[0].image.size == (16, 16)
    origin = pictures[1].provenance
    assert origin["seed"] == 6
    assert origin["heads"]["expert 0"]["manifest"] == "head-0"
    assert sum(origin["expert_weights"].values()) == pytest.approx(1, abs=1e-3)


def test_the_same_seed_gives_the_same_picture(shelf: Shelf) -> None:
    one, two = (
        Ensemble(seal_tiny_run(shelf), heads(), shelf.fetch).sample(REQUEST)[0].image.tobytes()
        for _ in range(2)
    )
    assert one == two


def test_a_poisoned_head_is_passed_over_for_the_next(shelf: Shelf) -> None:
    liars = [row("poison", 10**9), row("nobody-has-it", 10**8), row("head-0", 3)]
    pictures = Ensemble(seal_tiny_run(shelf), heads(slot0=liars), shelf.fetch).sample(REQUEST)
    assert pictures[0].provenance["heads"]["expert 0"]["manifest"] == "head-0"
    assert pictures[0].provenance["lost_mass"] == 0


def test_what_is_not_at_hand_is_waited_for_when_there_is_nothing_else(shelf: Shelf) -> None:
    late = replace(shelf, slow="head-0")
    for candidates, used in (
        ([row("head-0", 9), row("head-1", 3)], "head-1"),
        ([row("nobody-has-it", 99), row("head-0", 9), row("poison", 3)], "head-0"),
    ):
        ensemble = Ensemble(seal_tiny_run(shelf), heads(slot0=candidates), late.fetch)
        assert ensemble.sample(REQUEST)[0].provenance["heads"]["expert 0"]["manifest"] == used


def test_a_missing_expert_is_masked_and_its_mass_reported(shelf: Shelf) -> None:
    for candidates in ([], [row("nobody-has-it")]):
        pictures = Ensemble(seal_tiny_run(shelf), heads(slot0=candidates), shelf.fetch).sample(
            REQUEST
        )
        assert pictures[0].provenance["lost_mass"] > 0
        assert list(pictures[0].provenance["expert_weights"]) == ["1"]


def test_without_a_router_nothing_can_be_drawn(shelf: Shelf) -> None:
    with pytest.raises(NotAvailable, match="router"):
        Ensemble(seal_tiny_run(shelf), {"-1": [], "0": [], "1": []}, shelf.fetch)


def test_an_encoder_from_a_hub_never_comes_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "autoencoder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadContent, match="another working directory"):
        sampling._encoder(
            Artefact("hub", "owner/autoencoder"), lambda content: tmp_path, fail, fail
        )


def fail(where: object) -> Any:
    raise AssertionError(f"{where} was loaded")
