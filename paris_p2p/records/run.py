"""A run: the signed description of one training effort, which all its peers agree on.

The sealed manifest is content like any other. Its BLAKE3 is the run's id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from blake3 import blake3

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.identity import Author
from paris_p2p.records.fields import (
    AuthorKey,
    Bytes,
    Checked,
    Count,
    Integer,
    Many,
    Maybe,
    Number,
    OneOf,
    Part,
    Signed,
    Text,
    Time,
)
from paris_p2p.records.objectives import FLOW, OBJECTIVES

ROUTER = -1
"""The router's slot number. An expert's slot number is its cluster."""

MAX_CLUSTERS = 4096

MAX_AUTHORS = 1024
"""Most authors in one of a run's lists."""

CHECKPOINTS_PER_RESUME = 4
"""A resume state, eight times as large, is published with every fourth checkpoint."""

MAX_SEEDS = 8
MAX_URL = 256
"""Most web servers a run may name, and most characters of each address."""

CHECKPOINT_HEADER = 1 << 20
"""Most bytes for the names and shapes in a checkpoint file."""

_WORD = "[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_HUB_NAME = re.compile(f"(?:{_WORD}/|timm:)?{_WORD}")
_FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".onnx", ".json")
"""Endings of the names of weight and settings files."""

Slot = Annotated[int, Integer(ROUTER, MAX_CLUSTERS - 1)]
"""One of a run's networks: an expert's cluster, or ROUTER."""

Width = Annotated[int, Integer(1, 8192)]
"""Width of a network's layer, or of a token."""

Depth = Annotated[int, Integer(1, 128)]
"""Number of layers, or of attention heads."""

Patch = Annotated[int, Integer(1, 16)]
"""Side of the square of latent pixels that makes one token."""

RUN_NAME = Text(64, shortest=1)

Fraction = Annotated[float, Number(0.0, 1.0)]


def slot_name(expert: int) -> str:
    """The slot in words: "router", or "expert 3"."""
    return "router" if expert == ROUTER else f"expert {expert}"


def check_name(name: str) -> None:
    """BadContent for a name that no run may have."""
    try:
        RUN_NAME.read(name)
    except BadContent as error:
        raise BadContent(f"name: {error.message}", "choose another name") from error


def run_id(sealed: bytes) -> bytes:
    """The 32-byte id of the run with this sealed manifest."""
    return blake3(sealed).digest()


@dataclass(frozen=True)
class ExpertSpec(Checked):
    """The shape of an expert; `caption_width` is the width of its text tokens."""

    hidden: Width
    depth: Depth
    heads: Depth
    patch: Patch
    caption_width: Width

    def check(self) -> None:
        _expect_even_heads(self.hidden, self.heads)


@dataclass(frozen=True)
class ExpertSlot(Checked):
    """One expert of a run whose experts differ: its shape, and the objective it is trained with.

    Any word may name an objective: a version that does not know it refuses that expert alone.
    """

    shape: Annotated[ExpertSpec, Part(ExpertSpec)]
    objective: Annotated[str, Text(64, shortest=1)] = FLOW


@dataclass(frozen=True)
class RouterSpec(Checked):
    """The shape of a run's router."""

    hidden: Width
    depth: Depth
    heads: Depth
    patch: Patch
    caption_width: Annotated[int, Integer(0, 8192)] = 0
    """Width of the text tokens it reads; 0 for a blind router, which sees the noisy latent only."""

    def check(self) -> None:
        _expect_even_heads(self.hidden, self.heads)


@dataclass(frozen=True)
class TrainingSpec(Checked):
    """The training recipe of all of a run's networks."""

    learning_rate: Annotated[float, Number(1e-9, 1.0)]
    batch: Annotated[int, Integer(1, 65536)]
    ema: Fraction
    caption_dropout: Fraction
    snapshot_every: Annotated[int, Integer(1, 10**9)]
    """Steps between two private snapshots."""
    publish_every: Annotated[int, Integer(1, 10**9)]
    """Steps between two published checkpoints."""
    warmup: Annotated[int, Integer(0, 10**9)]
    """Warm-up: steps until the full learning rate."""
    grad_clip: Annotated[float, Number(0.0, 1e6)]
    """Norm that gradients are clipped to; 0 for no clipping."""

    @property
    def resume_every(self) -> int:
        """Steps between two published resume states."""
        return CHECKPOINTS_PER_RESUME * self.publish_every


@dataclass(frozen=True)
class Artefact(Checked):
    """A frozen network the run builds on: a manifest id (hex) in the swarm, or a name on a hub."""

    kind: Annotated[str, OneOf(("content", "hub"))]
    reference: Annotated[str, Text(128, shortest=1)]

    def check(self) -> None:
        if self.kind == "content" and not re.fullmatch("[0-9a-f]{64}", self.reference):
            raise BadContent("reference: must be a manifest id, 64 lower-case hex digits")
        if self.kind == "hub" and not _is_hub_name(self.reference):
            raise BadContent("reference: must be a name on a hub, never a path on this machine")


@dataclass(frozen=True)
class ShardRef(Checked):
    """One cluster's samples: manifest id, number of samples, and words that describe them."""

    manifest: Annotated[bytes, Bytes(32)]
    train: Count
    held_out: Count
    words: Annotated[tuple[str, ...], Many(Text(32, shortest=1), most=16)]


class WebFolder:
    """An http:// or https:// address in ASCII, without user, query or fragment."""

    def read(self, value: object) -> object:
        url = Text(MAX_URL, shortest=1).read(value)
        try:
            parts = urlsplit(str(url))
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            sound = False
        if not sound or set(str(url)) & set(" \\@?#") or not str(url).isascii():
            raise BadContent("must be a plain http:// or https:// address of a folder")
        return url


@dataclass(frozen=True)
class RunManifest(Signed):
    """The description of a run: what its peers agree on."""

    KIND: ClassVar[str] = "run"
    LIMIT: ClassVar[int] = 1 << 20
    ITEMS: ClassVar[int] = 43 * MAX_CLUSTERS
    """A shard has at most 25 values and an expert's slot 15; two authors a cluster, and the rest,
    fit into three more."""

    name: Annotated[str, RUN_NAME]
    created: Time
    author: AuthorKey
    clusters: Annotated[int, Integer(1, MAX_CLUSTERS)]
    expert: Annotated[ExpertSpec, Part(ExpertSpec)]
    """The shape of every expert, unless `experts` gives each its own."""
    router: Annotated[RouterSpec, Part(RouterSpec)]
    recipe: Annotated[TrainingSpec, Part(TrainingSpec)]
    latent_shape: Annotated[tuple[int, ...], Many(Integer(1, 1024), fewest=3, most=3)]
    """(channels, height, width) of one encoded image."""
    autoencoder: Annotated[Artefact, Part(Artefact)]
    text_encoder: Annotated[Artefact, Part(Artefact)]
    image_encoder: Annotated[Artefact | None, Maybe(Part(Artefact))]
    """What the clusters were made with; None in a run without data."""
    text_context: Annotated[int, Integer(1, 1024)]
    """Text tokens per caption."""
    text_width: Width
    shards: Annotated[tuple[ShardRef, ...], Many(Part(ShardRef), most=MAX_CLUSTERS)]
    """Each cluster's samples; () in a run without data, which is sampled and never trained."""
    trusted_authors: Annotated[tuple[Author, ...], Many(Bytes(32), most=MAX_AUTHORS)]
    """Who may publish heads; () lets all members, or anyone where there are none."""
    members: Annotated[tuple[Author, ...], Many(Bytes(32), most=MAX_AUTHORS)] = ()
    """The peers that may take part: serve and be served, claim, announce. () lets anyone."""
    http_seeds: Annotated[tuple[str, ...], Many(WebFolder(), most=MAX_SEEDS)] = ()
    """Web folders with a copy of a store's chunks, for when no peer delivers."""
    experts: Annotated[tuple[ExpertSlot, ...], Many(Part(ExpertSlot), most=MAX_CLUSTERS)] = ()
    """Each expert's own shape and objective; () where all are like `expert` and flow-matched."""
    base: Annotated[bytes | None, Maybe(Bytes(32))] = None
    """The checkpoint that the training of every expert starts from; None for fresh weights."""

    @classmethod
    def unseal(cls, sealed: bytes, expect_id: bytes | None = None) -> RunManifest:
        """The manifest in a sealed envelope. BadContent also when it is not the run `expect_id`."""
        if expect_id is not None and run_id(sealed) != expect_id:
            raise BadContent(f"this is run {run_id(sealed).hex()}, not {expect_id.hex()}")
        return super().unseal(sealed)

    def check(self) -> None:
        if len(self.shards) not in (0, self.clusters):
            raise BadContent(f"shards: {len(self.shards)} of them for {self.clusters} clusters")
        if len(self.experts) not in (0, self.clusters):
            raise BadContent(f"experts: {len(self.experts)} of them for {self.clusters} clusters")
        if self.members and not set(self.trusted_authors) <= set(self.members):
            raise BadContent("trusted_authors: names an author who is not among the members")
        if self.router.caption_width not in (0, self.text_width):
            raise BadContent(
                f"router: it reads captions of width {self.router.caption_width}, and the run's "
                f"text_width is {self.text_width}"
            )
        self._check_tiling("router", self.router.patch)
        self._check_shape("expert", self.expert)
        for number, slot in enumerate(self.experts):
            self._check_shape(slot_name(number), slot.shape)
            if self.base is not None and slot.shape != self.expert:
                raise BadContent(f"{slot_name(number)}: the run's base does not have its shape")

    @property
    def publishers(self) -> tuple[Author, ...]:
        """Whose heads, resume states and claims count; () for everybody's."""
        return self.trusted_authors or self.members

    def slots(self) -> tuple[int, ...]:
        """All slots to train: the experts, then the router."""
        return (*range(self.clusters), ROUTER)

    def shards_of(self, slot: int) -> tuple[ShardRef, ...]:
        """The shards that the training of a slot reads: its own, or all for the router."""
        return self.shards if slot == ROUTER else self.shards[slot : slot + 1]

    def check_data(self) -> None:
        """Raise NotAvailable when no slot of this run can be trained."""
        if not self.shards:
            raise NotAvailable(
                f"the run {self.name} was imported without data: it can be sampled, not trained",
                "train in another run",
            )

    def expert_spec(self, expert: int) -> ExpertSpec:
        """The shape of one expert."""
        return self.experts[expert].shape if self.experts else self.expert

    def objective(self, expert: int) -> str:
        """The name of the objective that one expert is trained with: see `objectives`."""
        return self.experts[expert].objective if self.experts else FLOW

    def check_objective(self, expert: int) -> None:
        """Raise NotAvailable when this version cannot train or sample an expert."""
        if (objective := self.objective(expert)) not in OBJECTIVES:
            raise NotAvailable(
                f"{slot_name(expert)} is trained with the objective {objective!r}, which this "
                "version does not know",
                "update paris-p2p",
            )

    def checkpoint_limit(self, slot: int) -> int:
        """Most bytes of a checkpoint of this slot, whatever its head says.

        Counted from the shape: 4 bytes a weight for attention, feed-forward and modulation of every
        layer, and for the embeddings. Doubled, because this is a bound and not an exact size.
        """
        spec = self.router if slot == ROUTER else self.expert_spec(slot)
        channels, height, width = self.latent_shape
        pixels = channels * spec.patch**2
        layer = 24 * spec.hidden**2 + 64 * spec.hidden
        ends = (8 * spec.hidden + 4 * pixels + 4 * self.text_width + 1024) * spec.hidden
        places = height * width * spec.hidden + 2 * self.clusters * spec.hidden
        return 2 * 4 * (spec.depth * layer + ends + places) + CHECKPOINT_HEADER

    def resume_limit(self, slot: int) -> int:
        """Most bytes of a resume state of this slot, whatever its record says.

        Four values a weight (itself, its EMA, the optimizer's two moments), and the order of the
        samples.
        """
        order = 8 * sum(shard.train for shard in self.shards_of(slot))
        return 4 * self.checkpoint_limit(slot) + order

    def content_ids(self) -> set[bytes]:
        """Manifest ids of the run's own parts: shards, encoders and base."""
        encoders = (self.autoencoder, self.text_encoder, self.image_encoder)
        shipped = {
            bytes.fromhex(part.reference)
            for part in encoders
            if part is not None and part.kind == "content"
        }
        base = {self.base} if self.base is not None else set()
        return shipped | base | {shard.manifest for shard in self.shards}

    def _check_shape(self, name: str, shape: ExpertSpec) -> None:
        if shape.caption_width != self.text_width:
            raise BadContent(f"{name}: its caption_width is not the run's text_width")
        self._check_tiling(name, shape.patch)

    def _check_tiling(self, name: str, patch: int) -> None:
        _, height, width = self.latent_shape
        if height % patch or width % patch:
            raise BadContent(f"{name}: patches of {patch} do not tile {height}x{width} latents")


def _expect_even_heads(hidden: int, heads: int) -> None:
    if hidden % heads:
        raise BadContent(f"hidden: {hidden} does not divide into {heads} heads")


def _is_hub_name(text: str) -> bool:
    """Whether the text is OWNER/NAME, NAME or timm:NAME, which no loader takes for a local path."""
    looks_like_a_file = text.lower().endswith(_FILES)
    return bool(_HUB_NAME.fullmatch(text)) and ".." not in text and not looks_like_a_file
