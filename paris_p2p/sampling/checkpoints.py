"""The network of each slot of a run, from the best of its heads that can be had and proves sound.

Heads are proven only here and in use: a head whose weights do not load, or give values that are not
finite, is refuted, and the next one takes its place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.model.expert import Expert, LatentShape, build_expert
from paris_p2p.model.router import Router, build_router
from paris_p2p.model.weights import load_into
from paris_p2p.records.run import ROUTER, RunManifest, slot_name
from paris_p2p.sampling.contents import Contents, HeadRow
from paris_p2p.sampling.networks import Networks

log = logging.getLogger(__name__)

Network = Expert | Router
Key = tuple[str, str]
"""Identifies a built network: run and slot, or the kind of encoder; and the content."""


class Checkpoints:
    """The networks of a run's slots.

    Parameters
    ----------
    heads : per slot (as text) its candidate heads, best first; a refuted candidate is passed over.
    networks : networks that were built before and may be used again.
    """

    def __init__(
        self,
        run: RunManifest,
        run_id: bytes,
        heads: Mapping[str, Sequence[HeadRow]],
        contents: Contents,
        networks: Networks,
    ) -> None:
        self._run = run
        self._run_id = run_id
        self._heads = {slot: list(heads[str(slot)]) for slot in run.slots()}
        self._contents = contents
        self._networks = networks
        self.used: dict[int, HeadRow] = {}
        """The head that each slot was loaded from."""
        self._given_again: set[str] = set()
        """Contents that failed once without being condemned."""
        self._refuted: dict[int, set[str]] = {slot: set() for slot in run.slots()}
        """The contents of each slot that are not used again."""
        self._looked_again: set[int] = set()
        """The slots whose heads were looked up a second time."""

    @property
    def latent_shape(self) -> LatentShape:
        channels, height, width = self._run.latent_shape
        return channels, height, width

    def known(self, slot: int) -> bool:
        """Whether any head of the slot is left to try."""
        return bool(self._heads[slot])

    def give_up(self, slot: int) -> None:
        """Try no head of the slot any more."""
        self._heads[slot] = []

    def network(self, slot: int) -> Network:
        """The best network of a slot that can be had and has valid weights.

        NotAvailable when there is none. When heads were refuted and none is left, heads are looked
        up once more: slow or busy ones may have been passed over while a worthless one could be
        had.
        """
        try:
            return self._first_sound(slot)
        except NotAvailable:
            refuted = self._refuted[slot]
            if not refuted or slot in self._looked_again:
                raise
            self._looked_again.add(slot)
            found = self._contents.heads(slot)
            self._heads[slot] = [head for head in found if head["manifest"] not in refuted]
            return self._first_sound(slot)

    def file(self, slot: int) -> Path:
        """The checkpoint that the slot's network was loaded from."""
        _, path = self._contents.fetch_head(slot, [self.used[slot]["manifest"]])
        return path

    def refute(self, slot: int, error: BadContent) -> None:
        """Have the used head condemned, and drop it; one not condemned is tried once more."""
        head = self.used.pop(slot)
        log.warning("%s of %s: %s", slot_name(slot), head["author"][-8:], error)
        content = head["manifest"]
        self._networks.drop(self._key(slot, content))
        same = [other for other in self._heads[slot] if other["manifest"] == content]
        condemned = all(self._contents.condemn(other, error.message) for other in same)
        if condemned or content in self._given_again:
            self._refuted[slot].add(content)
            self._heads[slot] = [h for h in self._heads[slot] if h["manifest"] != content]
        self._given_again.add(content)

    def _first_sound(self, slot: int) -> Network:
        """The first known head's network of a slot that can be had and has valid weights."""
        while heads := {head["manifest"]: head for head in reversed(self._heads[slot])}:
            best_first = list(dict.fromkeys(head["manifest"] for head in self._heads[slot]))
            if (kept := self._kept(slot, best_first[0])) is not None:
                self.used[slot] = heads[best_first[0]]
                return kept
            try:
                content, path = self._contents.fetch_head(slot, best_first)
            except NotAvailable as error:
                log.info("%s: %s", slot_name(slot), error)
                break
            self.used[slot] = heads[content]
            try:
                return self._loaded(slot, content, path)
            except BadContent as error:
                self.refute(slot, error)
        raise NotAvailable(
            f"nobody has a usable checkpoint of {slot_name(slot)}",
            f"wait for one, or train it: paris-peer claim-expert {_option(slot)}",
        )

    def _kept(self, slot: int, content: str) -> Network | None:
        """The network of a slot, if it was built from this content before."""
        network = self._networks.get(self._key(slot, content))
        return network if isinstance(network, Expert | Router) else None

    def _loaded(self, slot: int, content: str, path: Path) -> Network:
        """The network of a slot with the weights in a file. BadContent if they do not fit."""
        if (kept := self._kept(slot, content)) is not None:
            return kept
        network = self._built(slot)
        load_into(network, path)
        self._networks.keep(self._key(slot, content), network.eval())
        return network

    def _key(self, slot: int, content: str) -> Key:
        return f"{self._run_id.hex()} {slot}", content

    def _built(self, slot: int) -> Network:
        if slot == ROUTER:
            return build_router(self._run.router, self.latent_shape, self._run.clusters)
        return build_expert(self._run.expert_spec(slot), self.latent_shape)


def _option(slot: int) -> str:
    return "--router" if slot == ROUTER else f"--expert {slot}"
