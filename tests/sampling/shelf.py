"""Contents of a tiny run, two experts with random weights, as a peer would have fetched them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from paris_p2p.errors import NotAvailable
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
from paris_p2p.model.weights import Published, save_weights
from paris_p2p.records.run import ROUTER, Artefact, ExpertSpec, RouterSpec, RunManifest
from paris_p2p.sampling.contents import HeadRow
from tests.peer.worlds import make_run

LATENTS = (4, 4, 4)


@dataclass
class Shelf:
    """Contents by name, as a peer would have fetched them."""

    folder: Path
    condemned: dict[str, str] = field(default_factory=dict)
    """What was refuted, and why."""
    asked: list[tuple[int, list[str]]] = field(default_factory=list)
    """The candidates of each slot that were asked for."""
    found_later: dict[int, list[HeadRow]] = field(default_factory=dict)
    """The heads of a slot that another search finds."""
    searched: list[int] = field(default_factory=list)
    """The slots whose heads were looked for again."""

    def fetch(self, content: str) -> Path:
        path = self.folder / content
        if not path.exists():
            raise NotAvailable(f"nobody serves {content}")
        return path

    def fetch_head(self, slot: int, contents: Sequence[str]) -> tuple[str, Path]:
        self.asked.append((slot, list(contents)))
        for content in contents:
            with suppress(NotAvailable):
                return content, self.fetch(content)
        raise NotAvailable("none can be had")

    def heads(self, slot: int) -> Sequence[HeadRow]:
        self.searched.append(slot)
        return self.found_later.get(slot, [])

    def condemn(self, head: HeadRow, reason: str) -> bool:
        self.condemned[head["manifest"]] = reason
        return True

    def save(self, name: str, network: Published, dtype: torch.dtype = torch.bfloat16) -> None:
        save_weights(self.folder / name, network, {}, dtype)


@pytest.fixture(scope="module")
def full_shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
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
        shelf.save(f"head-{slot}", network)
        for name, size in (("enormous", 3e38), ("explosive", 6e4)):
            for parameter in network.parameters():
                torch.nn.init.constant_(parameter, size)
            shelf.save(f"{name}-{slot}", network)
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
