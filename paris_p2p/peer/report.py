"""Reports on a peer and its runs, as JSON-able dictionaries with a stable shape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from paris_p2p.identity import peer_id_of
from paris_p2p.peer.books.refusals import Refusal
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.transfer.providers import learn_providers, wanted
from paris_p2p.records.claim import Claim, SlotState
from paris_p2p.records.device_fit import least_memory
from paris_p2p.records.head import Head, ranked_heads
from paris_p2p.records.presence import PEER, SEED, Presence
from paris_p2p.records.run import ROUTER, RunManifest, slot_name

Report = dict[str, Any]


async def status_report(node: Node[Membership], memberships: Sequence[Membership]) -> Report:
    """The storage and traffic of this peer, and the state of each of these runs."""
    runs = await asyncio.gather(*map(_run_report, memberships))
    announcers = [one.announcer for one in node.memberships.values()]
    served = await asyncio.gather(*(asyncio.to_thread(one.served) for one in announcers))
    return {
        "peer": {
            "id": peer_id_of(node.identity.author),
            "addresses": node.swarm.addresses(),
            "home": str(node.home.path),
            "role": SEED if node.config.seed_only else PEER,
            "online": node.swarm.online(),
            "held": len(set().union(*served)),
            "store_bytes": await asyncio.to_thread(node.blobs.usage),
            "quota_bytes": node.config.store_quota,
            "sent_bytes": node.sent,
            "received_bytes": sum(node.fetcher.received.values()),
        },
        "runs": runs,
        "warnings": node.alarms.all(),
        "refused": [refusal_row(refusal) for refusal in node.refusals.all()],
    }


async def run_row(membership: Membership) -> Report:
    """A run, with the content that this node holds and the slots that it trains."""
    run = membership.run
    return {
        "id": membership.run_id.hex(),
        "name": run.name,
        "clusters": run.clusters,
        "members_only": bool(run.members),
        "held": len(await asyncio.to_thread(membership.announcer.served)),
        "training": sorted(membership.training),
    }


async def _run_report(membership: Membership) -> Report:
    """The slots, peers and contents of a run."""
    slots, peers, held = await asyncio.gather(
        membership.survey(),
        read_peers(membership.swarm, membership.run_id),
        asyncio.to_thread(membership.announcer.served),
    )
    rows = await asyncio.gather(*(_slot_row(membership, slot, held) for slot in slots))
    contents = await _contents(membership, held)
    return {
        **await run_row(membership),
        "slots": rows,
        "contents": contents,
        "replication": replication_row(contents, membership.node.config.replicas),
        "peers": [_peer_row(presence) for presence in peers],
    }


async def heads_report(membership: Membership) -> Report:
    """The data that sampling needs: the sealed run, and the candidate heads per slot, best first.

    Older heads that are still announced are included: nobody may serve the newest any more.
    """
    await membership.survey()
    candidates = known_heads(membership)
    held = await asyncio.to_thread(held_contents, membership, candidates.values())
    sealed = await asyncio.to_thread(membership.node.blobs.chunks.get, membership.run_id)
    return {
        "run": membership.run_id.hex(),
        "sealed_run": sealed.hex(),
        "heads": {
            str(slot): [{**head_row(head), "held": head.manifest in held} for head in heads]
            for slot, heads in candidates.items()
        },
    }


def known_heads(membership: Membership) -> dict[int, list[Head]]:
    """The heads of every slot that this peer keeps or has heard of, best first.

    The caller may request each of them, even if a newer one supersedes it meanwhile.
    """
    trusted = membership.run.publishers
    ranked = {
        slot: ranked_heads(membership.heads.known(slot), trusted) for slot in membership.run.slots()
    }
    membership.offers.append({head.manifest: head for heads in ranked.values() for head in heads})
    return ranked


def held_contents(membership: Membership, slots: Iterable[Sequence[Head]]) -> set[bytes]:
    """The contents of these heads that are complete in the store."""
    contents = {head.manifest for heads in slots for head in heads}
    return {content for content in contents if membership.node.blobs.complete(content)}


def head_row(head: Head) -> Report:
    return {
        "slot": head.expert,
        "author": peer_id_of(head.author),
        "step": head.step,
        "images": head.images,
        "manifest": head.manifest.hex(),
        "bytes": head.size,
        "train_loss": head.train_loss,
        "held_out_loss": head.held_out_loss,
        "created": head.created,
    }


def refusal_row(refusal: Refusal) -> Report:
    """One refusal. `condemned` : whether it is a content that is refused for good."""
    author = bytes.fromhex(refusal.author)
    return {
        "what": refusal.what,
        "by": peer_id_of(author) if author else None,
        "reason": refusal.reason,
        "content": refusal.content or None,
        "condemned": bool(refusal.content),
        "time": refusal.time,
        "times": refusal.times,
    }


async def _contents(membership: Membership, held: set[bytes]) -> list[Report]:
    """The contents of this run that the swarm should keep, with their numbers of providers."""
    await learn_providers(membership)
    return [
        {
            "content": content.hex(),
            "providers": len(membership.providers.get(content, ())),
            "held": content in held,
        }
        for content in sorted(wanted(membership))
    ]


def replication_row(contents: Sequence[Report], replicas: int) -> Report:
    """How many contents have no provider, a single one, and fewer than `replicas`."""
    providers = [content["providers"] for content in contents]
    return {
        "replicas": replicas,
        "contents": len(providers),
        "without_provider": providers.count(0),
        "single_provider": providers.count(1),
        "below_replicas": sum(count < replicas for count in providers),
    }


async def _slot_row(membership: Membership, slot: SlotState, held: set[bytes]) -> Report:
    head = slot.head
    providers = await membership.fetcher.providers(head.manifest) if head else []
    holds = head is not None and head.manifest in held
    return {
        "slot": slot.expert,
        "name": slot_name(slot.expert),
        "words": _words(membership.run, slot.expert),
        "objective": None if slot.expert == ROUTER else membership.run.objective(slot.expert),
        "needs_bytes": least_memory(membership.run, slot.expert),
        "claim": _claim_row(slot.winner, membership) if slot.winner else None,
        "head": head_row(head) if head else None,
        "providers": len(providers) + holds,
        "held": holds,
    }


def _words(run: RunManifest, slot: int) -> list[str]:
    """The words that describe an expert's data."""
    return [] if slot == ROUTER else [word for shard in run.shards_of(slot) for word in shard.words]


def _claim_row(claim: Claim, membership: Membership) -> Report:
    return {
        "by": peer_id_of(claim.author),
        "mine": claim.author == membership.node.identity.author,
        "step": claim.step,
        "seconds_left": max(0.0, claim.expires - membership.node.clock()),
    }


def _peer_row(presence: Presence) -> Report:
    return {
        "id": peer_id_of(presence.author),
        "addresses": list(presence.addresses),
        "agent": presence.agent,
        "role": presence.role,
    }
