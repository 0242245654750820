"""A trainer's file becomes chunks, a signed record and DHT records that any peer can check."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paris_p2p.errors import BadContent
from paris_p2p.peer.books.contributions import note
from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.upkeep.garbage_collection import make_room
from paris_p2p.records.created_time import created_after
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import Manifest
from paris_p2p.records.progress_limits import impossible
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import slot_name
from paris_p2p.training.job import StartRefuted

log = logging.getLogger(__name__)

Event = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A trainer's weights to publish: the file, and the fields of its head."""

    path: Path
    expert: int
    step: int
    images: int
    train_loss: float
    held_out_loss: float
    parent: bytes | None
    """Manifest id of the checkpoint that this one continues."""


def checkpoint_name(expert: int) -> str:
    """The file name in a checkpoint's manifest: "expert-3.safetensors", "router.safetensors"."""
    return f"{slot_name(expert).replace(' ', '-')}.safetensors"


async def publish(membership: Membership, checkpoint: Checkpoint) -> Head:
    """Store the weights as chunks, sign their head, announce both. Returns the head.

    Raises DiskFull with nothing half-written, and StartRefuted as `_recordable` and
    `_check_possible` do. If this peer is offline, the next round announces the head from the book.
    The file is removed once its content is in the store.
    """
    async with membership.node.publishing:
        manifest = await _stored(membership, checkpoint.path, "checkpoint", checkpoint.expert)
        with _recordable():
            head = Head(
                run=membership.run_id,
                expert=checkpoint.expert,
                author=membership.node.identity.author,
                step=checkpoint.step,
                images=checkpoint.images,
                manifest=manifest.id,
                size=manifest.size,
                train_loss=checkpoint.train_loss,
                held_out_loss=checkpoint.held_out_loss,
                parent=checkpoint.parent,
                created=_created(membership, membership.heads, checkpoint.expert),
            )
            sealed = head.seal(membership.node.identity)
        _check_possible(membership, head)
        known = membership.heads.known(checkpoint.expert)
        await asyncio.to_thread(membership.heads.add, sealed, own=True)
    await note(membership.node.contributions, membership.node.identity, sealed, known)
    await asyncio.to_thread(checkpoint.path.unlink, missing_ok=True)
    await membership.announcer.content(manifest.id)
    return head


async def publish_resume(
    membership: Membership, path: Path, expert: int, step: int, images: int
) -> Resume:
    """Store a training state as chunks, sign its record, announce both, like `publish`."""
    async with membership.node.publishing:
        manifest = await _stored(membership, path, "resume", expert)
        with _recordable():
            resume = Resume(
                run=membership.run_id,
                expert=expert,
                author=membership.node.identity.author,
                step=step,
                images=images,
                manifest=manifest.id,
                size=manifest.size,
                created=_created(membership, membership.resumes, expert),
            )
            sealed = resume.seal(membership.node.identity)
        _check_possible(membership, resume)
        await asyncio.to_thread(membership.resumes.add, sealed, own=True)
    await asyncio.to_thread(path.unlink, missing_ok=True)
    await membership.announcer.content(manifest.id)
    return resume


def _created(membership: Membership, book: RecordBook[Record], expert: int) -> float:
    """The creation time for this peer's next record of a slot."""
    previous = book.newest(expert, membership.node.identity.author)
    return created_after(previous.created if previous else None, membership.node.clock())


def further_elsewhere(membership: Membership, expert: int, step: int) -> int | None:
    """The furthest step of a slot published under this peer's key, if it is beyond `step`.

    The user is warned: that step was published by another peer with the same key, or from a home
    that is lost. Readers that order an author's work by time will still take the new head.
    """
    own = membership.heads.by(expert, membership.node.identity.author)
    further = max((head.step for head in own), default=0)
    if further <= step:
        return None
    what = f"head of {slot_name(expert)} at step {step}"
    reason = f"this key has published step {further}; does another peer use this home's key?"
    membership.node.refusals.note(membership.node.identity.author, what, reason)
    log.warning("%s: %s", what, reason)
    return further


@contextlib.contextmanager
def _recordable() -> Iterator[None]:
    """StartRefuted if the counters or losses of the trained state do not fit in a record. Its start
    is useless then."""
    try:
        yield
    except BadContent as error:
        raise StartRefuted(f"the trained state cannot be published: {error.message}") from error


def _check_possible(membership: Membership, record: Head | Resume) -> None:
    """StartRefuted for a record that no peer would accept from any author.

    A book's other reasons to refuse a record, such as an unlisted author, do not blame the start.
    """
    if reason := impossible(record, membership.run):
        raise StartRefuted(f"the trained state cannot be published: {reason}")


async def _stored(membership: Membership, path: Path, kind: str, expert: int) -> Manifest:
    """Store the file as content. Room is made in the quota, but own work is stored anyway."""
    await make_room(membership.node, (await asyncio.to_thread(path.stat)).st_size, membership)
    return await asyncio.to_thread(
        membership.node.blobs.add_file, path, kind, checkpoint_name(expert)
    )


class Publisher:
    """Publishes one slot's files as its trainer writes them. The trainer does not wait for it.

    Parameters
    ----------
    parent : manifest id of the checkpoint that training continues.
    """

    def __init__(self, membership: Membership, expert: int, parent: bytes | None) -> None:
        self._membership = membership
        self._expert = expert
        self._parent = parent
        self._waiting: dict[str, Event] = {}
        self._news = asyncio.Event()
        self._ending = False

    def offer(self, written: Event) -> None:
        """Take a worker's "checkpoint" or "resume" event.

        It replaces a waiting file of the same kind.
        """
        late = self._waiting.pop(written["event"], None)
        if late is not None:
            log.info("%s is superseded before it was published", late["path"])
            Path(late["path"]).unlink(missing_ok=True)
        self._waiting[written["event"]] = written
        self._news.set()

    def finish(self) -> None:
        """Note that no more files will come."""
        self._ending = True
        self._news.set()

    async def published(self) -> AsyncGenerator[Event]:
        """An event per published file, up to the last one before `finish`. Raises DiskFull."""
        while not (self._ending and not self._waiting):
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                written = self._waiting.pop(next(iter(self._waiting)))
                try:
                    told = await self._publish(written)
                except FileNotFoundError:
                    log.info("%s was superseded before it was read", written["path"])
                else:
                    yield told

    async def _publish(self, written: Event) -> Event:
        if written["event"] == "resume":
            return await self._publish_resume(written)
        return await self._publish_checkpoint(written)

    async def _publish_checkpoint(self, written: Event) -> Event:
        checkpoint = Checkpoint(
            path=Path(written["path"]),
            expert=self._expert,
            step=int(written["step"]),
            images=int(written["images"]),
            train_loss=float(written["train_loss"]),
            held_out_loss=float(written["held_out_loss"]),
            parent=self._parent,
        )
        further = further_elsewhere(self._membership, self._expert, checkpoint.step)
        head = await publish(self._membership, checkpoint)
        self._parent = head.manifest
        told = {"event": "published", **_record_fields(head), "held_out_loss": head.held_out_loss}
        return told if further is None else {**told, "behind": further}

    async def _publish_resume(self, written: Event) -> Event:
        path, step, images = Path(written["path"]), int(written["step"]), int(written["images"])
        resume = await publish_resume(self._membership, path, self._expert, step, images)
        return {"event": "resume_published", **_record_fields(resume)}


def _record_fields(record: Head | Resume) -> Event:
    return {
        "slot": record.expert,
        "name": slot_name(record.expert),
        "step": record.step,
        "images": record.images,
        "manifest": record.manifest.hex(),
        "bytes": record.size,
    }
