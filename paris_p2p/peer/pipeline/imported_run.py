"""An imported run: its manifest, its contents in the store, and its heads under this peer's key.

A run without data cannot be trained, so only the importer publishes in it. Its heads are at step 0:
this peer made no steps and measured no loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from paris_p2p.errors import BadContent
from paris_p2p.peer.joining import join, join_for_good, leave
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.sampling.worker_handle import Senseless
from paris_p2p.peer.upkeep.garbage_collection import make_room
from paris_p2p.peer.upkeep.store_quota import NoRoom
from paris_p2p.pipeline.layout import AUTOENCODER, TEXT_TOWER, checkpoint_file
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import Manifest
from paris_p2p.records.run import (
    ROUTER,
    Artefact,
    ExpertSlot,
    RouterSpec,
    RunManifest,
    TrainingSpec,
    run_id,
)

NEVER_USED: Final = TrainingSpec(
    learning_rate=1e-4,
    batch=1,
    ema=0.0,
    caption_dropout=0.0,
    snapshot_every=1,
    publish_every=1,
    warmup=0,
    grad_clip=0.0,
)
"""The recipe of a run that is never trained."""


@dataclass(frozen=True)
class Findings:
    """What the sampling process read in a folder: see `pipeline.reading.read_folder`."""

    name: str
    latent_shape: tuple[int, ...]
    text_context: int
    text_width: int
    router: RouterSpec
    experts: tuple[ExpertSlot, ...]
    present: tuple[int, ...]
    """The experts whose weights were in the folder."""

    @classmethod
    def of(cls, told: object) -> Findings:
        """The findings in a message of the process. Senseless if malformed."""
        try:
            assert isinstance(told, Mapping)
            experts = tuple(ExpertSlot.from_body(expert) for expert in told["experts"])
            present = tuple(told["present"])
            assert present and set(present) <= set(range(len(experts)))
            return cls(
                name=told["name"],
                latent_shape=tuple(told["latent_shape"]),
                text_context=told["text_context"],
                text_width=told["text_width"],
                router=RouterSpec.from_body(told["router"]),
                experts=experts,
                present=present,
            )
        except (AssertionError, LookupError, TypeError, AttributeError) as error:
            raise Senseless("its message is malformed") from error

    def files(self) -> dict[str, str]:
        """The files of the contents, each with its kind."""
        slots = (*self.present, ROUTER)
        encoders = dict.fromkeys((AUTOENCODER, TEXT_TOWER), "encoder")
        return encoders | {checkpoint_file(slot): "checkpoint" for slot in slots}


async def take_in(
    node: Node[Membership], folder: Path, findings: Findings, name: str | None
) -> Membership:
    """Make a run of the contents in `folder`, and join it for good.

    A run that this peer has made of the same contents before is joined again. Raises DiskFull,
    BadContent for what a run cannot be, UsageProblem where this peer has too many runs.
    """
    await _make_room(node, folder, findings)
    async with node.publishing, AsyncExitStack() as used:
        contents: dict[str, Manifest] = {}
        for file, kind in findings.files().items():
            manifest = await asyncio.to_thread(node.blobs.add_file, folder / file, kind, file)
            await used.enter_async_context(node.using([manifest.id]))
            contents[file] = manifest
        run = _manifest(node, findings, contents, name)
        for one in node.memberships.values():
            if replace(one.run, created=run.created) == run:
                return one
        sealed = run.seal(node.identity)
        await asyncio.to_thread(node.blobs.chunks.put, sealed)
        membership = await join(node, run_id(sealed))
        try:
            for slot in (*findings.present, ROUTER):
                head = _head(membership, slot, contents[checkpoint_file(slot)])
                await asyncio.to_thread(membership.heads.add, head.seal(node.identity), own=True)
            return await join_for_good(node, membership.run_id)
        except BaseException:
            await leave(membership)
            raise


async def _make_room(node: Node[Membership], folder: Path, findings: Findings) -> None:
    size = sum((folder / file).stat().st_size for file in findings.files())
    if not await make_room(node, size):
        raise NoRoom(
            f"the imported run needs {size / 1e6:.1f} MB and the store's quota of "
            f"{node.config.store_quota / 1e6:.1f} MB has no room for it",
            "set a larger store_quota in config.toml, or start the peer with --store-quota",
        )


def _manifest(
    node: Node[Membership], findings: Findings, contents: Mapping[str, Manifest], name: str | None
) -> RunManifest:
    def content(file: str) -> Artefact:
        return Artefact("content", contents[file].id.hex())

    shape = findings.experts[0].shape
    alike = set(findings.experts) == {ExpertSlot(shape)}
    return RunManifest(
        name=name or findings.name,
        created=node.clock(),
        author=node.identity.author,
        clusters=len(findings.experts),
        expert=shape,
        router=findings.router,
        recipe=NEVER_USED,
        latent_shape=findings.latent_shape,
        autoencoder=content(AUTOENCODER),
        text_encoder=content(TEXT_TOWER),
        image_encoder=None,
        text_context=findings.text_context,
        text_width=findings.text_width,
        shards=(),
        trusted_authors=(node.identity.author,),
        experts=() if alike else findings.experts,
    )


def _head(membership: Membership, slot: int, manifest: Manifest) -> Head:
    if manifest.size > membership.run.checkpoint_limit(slot):
        raise BadContent(f"{manifest.name} is larger than a checkpoint of its shape")
    return Head(
        run=membership.run_id,
        expert=slot,
        author=membership.node.identity.author,
        step=0,
        images=0,
        manifest=manifest.id,
        size=manifest.size,
        train_loss=0.0,
        held_out_loss=0.0,
        parent=None,
        created=membership.node.clock(),
    )


def report(membership: Membership, findings: Findings) -> dict[str, Any]:
    """What is told of an imported run."""
    return {
        "run": membership.run_id.hex(),
        "name": membership.run.name,
        "clusters": membership.run.clusters,
        "experts": list(findings.present),
    }
