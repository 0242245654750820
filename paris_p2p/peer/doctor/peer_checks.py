"""Rows of a checkup: each measurement gets a state and, if something is wrong, a remedy.

These are pure functions of the measurements that `peer_probes` makes of a running peer and its
swarm. `machine_checks` judges this computer.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from paris_p2p.identity import PeerId
from paris_p2p.network.reach.dial_back import Dial, DialBackAnswer
from paris_p2p.network.reach.reachability_types import Nat, Reachability, ReachState
from paris_p2p.records.address import ip_of, is_public

SKEW_NOTED = 2.0
"""Seconds of clock skew from which on there is a warning."""


class CheckState(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, but less well than it could."""
    BAD = "bad"
    """Something does not work until it is fixed."""


@dataclass(frozen=True)
class Row:
    """One line of a checkup."""

    check: str
    state: CheckState
    seen: str
    remedy: str = ""


def report(rows: Iterable[Row], training_bytes: int | None) -> dict[str, Any]:
    """The answer of the local API: rows, and the least memory to train an expert (None: never)."""
    return {"rows": [asdict(row) for row in rows], "training_bytes": training_bytes}


def peers_row(peers: int) -> Row:
    if peers:
        return Row("peers", CheckState.OK, f"{peers} other peers known")
    remedy = "Join a swarm with --bootstrap ADDRESS; the first peer of a swarm waits for others"
    return Row("peers", CheckState.WARNING, "no other peer is known", remedy)


def clock_row(skew: float | None, limit: float) -> Row:
    """`skew` : our clock minus the other peers', in seconds; None without peers.

    `limit` : the skew from which on leases and records suffer.
    """
    if skew is None:
        return Row(
            "clock", CheckState.WARNING, "no peer to compare with", "Join a swarm, then try again"
        )
    seen = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the other peers' median"
    remedy = "If it is wrong, have a time server set it: timedatectl set-ntp true"
    if abs(skew) > limit:
        return Row("clock", CheckState.BAD, seen, f"{remedy}; records expire at the wrong time")
    if abs(skew) > SKEW_NOTED:
        return Row("clock", CheckState.WARNING, seen, remedy)
    return Row("clock", CheckState.OK, seen)


def identity_rows(doubled: bool) -> list[Row]:
    """`doubled` : whether another node was heard with this node's key."""
    if not doubled:
        return []
    remedy = "Stop one of the two, and give the copy a home of its own with a new identity"
    return [Row("identity", CheckState.BAD, "another node runs with this node's identity", remedy)]


def reachability_rows(reach: Reachability) -> list[Row]:
    """Whether others can dial this peer. If not: its NAT, its relays, and hole punching."""
    if reach.state is ReachState.PUBLIC:
        relaying = "; serves as a relay" if reach.serves_relay else ""
        mapped = f"; the router forwards {reach.upnp}" if reach.upnp else ""
        return [Row("reachability", CheckState.OK, f"others can dial this peer{mapped}{relaying}")]
    if reach.state is ReachState.UNKNOWN:
        remedy = "Join a swarm with --bootstrap ADDRESS, or try again in a minute"
        return [Row("reachability", CheckState.WARNING, "not known: nobody could be asked", remedy)]
    return [_unreachable_row(reach), _nat_row(reach.nat), _relay_row(reach), _punching_row(reach)]


_FORWARD = (
    "Open the TCP port in the firewall and forward it on the router to this machine; "
    "--upnp asks the router to forward it"
)


def _unreachable_row(reach: Reachability) -> Row:
    state = CheckState.WARNING if reach.relays else CheckState.BAD
    missed = f" ({reach.missed_by} peers tried)" if reach.missed_by else ""
    return Row("reachability", state, f"others cannot dial this peer{missed}", _FORWARD)


def _nat_row(nat: Nat) -> Row:
    match nat:
        case Nat.SYMMETRIC:
            seen = "symmetric: the router uses another port for every peer; no hole punching"
            return Row("NAT", CheckState.WARNING, seen, _FORWARD)
        case Nat.CONE:
            return Row("NAT", CheckState.OK, "the router uses one port for all peers")
        case Nat.NONE:
            seen = "none: others see this machine's own address, so a firewall blocks them"
            return Row("NAT", CheckState.WARNING, seen, "Open the TCP port in the firewall")
        case Nat.UNKNOWN:
            return Row("NAT", CheckState.OK, "kind unknown: too few peers to compare")


def _relay_row(reach: Reachability) -> Row:
    if reach.relays:
        return Row("relay", CheckState.OK, f"reached over {', '.join(map(short, reach.relays))}")
    remedy = "Name one with --relay ADDRESS; every peer that others can dial is one by default"
    return Row("relay", CheckState.BAD, "no relay has accepted this peer", remedy)


def _punching_row(reach: Reachability) -> Row:
    if reach.hole_punching:
        return Row("hole punching", CheckState.OK, "direct connections are possible")
    remedy = "Transfers work without it, but are slower over a relay"
    return Row("hole punching", CheckState.WARNING, "not possible here", remedy)


def dialback_rows(
    announced: Sequence[str], answers: Mapping[PeerId, DialBackAnswer | str], relayed: bool
) -> list[Row]:
    """Rows for the dial-backs of other peers to our addresses.

    Parameters
    ----------
    announced : our own transports, without PeerID.
    answers : by the asked peer; a text says why there is no answer.
    relayed : whether others can reach us over a relay.
    """
    heard = [answer for answer in answers.values() if isinstance(answer, DialBackAnswer)]
    if not heard:
        return [_unheard_row(answers)]
    tried = _verdicts(heard)
    believed = min(2, len(heard))
    reached = {
        transport
        for transport, dials in tried.items()
        if _reached(dials) >= (1 if transport in announced else believed)
    }
    rows = [_reached_row(transport, tried[transport], announced) for transport in reached]
    missed = [transport for transport in tried if transport not in reached]
    announced_ones = [transport for transport in missed if transport in announced]
    failed = [
        _failed_row(transport, tried[transport], bool(reached), relayed)
        for transport in announced_ones or ([] if reached else missed)
    ]
    return sorted(rows, key=lambda row: row.seen) + (failed or ([] if rows else [_untried(heard)]))


def _unheard_row(answers: Mapping[PeerId, DialBackAnswer | str]) -> Row:
    reasons = ", ".join(sorted({str(answer) for answer in answers.values()}))
    seen = f"none of {len(answers)} peers answered: {reasons}" if answers else "no peer to ask"
    return Row("dial back", CheckState.WARNING, seen, "Join a swarm, or try again in a minute")


def _verdicts(answers: Iterable[DialBackAnswer]) -> dict[str, list[Dial]]:
    """Every transport that a peer dialled, with the results."""
    tried: dict[str, list[Dial]] = {}
    for answer in answers:
        for dial in answer.dials:
            if dial.verdict in ("reached", "failed"):
                tried.setdefault(dial.transport, []).append(dial)
    return tried


def _reached(dials: Iterable[Dial]) -> int:
    return sum(dial.verdict == "reached" for dial in dials)


def _reached_row(transport: str, dials: Sequence[Dial], announced: Sequence[str]) -> Row:
    seen = f"{transport} reached by {_reached(dials)} of {len(dials)} peers"
    if transport not in announced:
        return Row(
            "dial back",
            CheckState.WARNING,
            f"{seen}, but this peer does not announce it",
            f"Start with --announce {transport}",
        )
    host = ip_of(transport)
    if host is not None and not is_public(host):
        where = "this machine" if host.is_loopback else "this network"
        remedy = f"To be reached from elsewhere: {_FORWARD[0].lower()}{_FORWARD[1:]}"
        return Row("dial back", CheckState.WARNING, f"{seen}, all on {where}", remedy)
    return Row("dial back", CheckState.OK, seen)


def _failed_row(transport: str, dials: Sequence[Dial], other: bool, relayed: bool) -> Row:
    state = CheckState.WARNING if other or relayed else CheckState.BAD
    reasons = ", ".join(sorted({dial.reason for dial in dials if dial.reason}))
    seen = f"{transport} not reached by {len(dials)} peers: {reasons}"
    remedy = "Announce only what works, with --announce" if other else _FORWARD
    return Row("dial back", state, seen, remedy)


def _untried(answers: Iterable[DialBackAnswer]) -> Row:
    """The row for no attempts: no peer sees or can dial any of our addresses."""
    hosts = {str(ip_of(transport)) for answer in answers for transport in answer.seen}
    seen = f"no address of this peer could be tried; others see it at {', '.join(sorted(hosts))}"
    return Row("dial back", CheckState.WARNING, seen if hosts else seen.split(";")[0], _FORWARD)


def run_row(name: str, run: bytes, heads: int, slots: int) -> Row:
    """`heads` : slots of the run with a known checkpoint."""
    seen = f"{name} ({run.hex()[:12]}), checkpoints of {heads} of {slots} slots known"
    if heads < slots:
        return Row(
            "run", CheckState.WARNING, seen, "Join peers that hold the others, or train them"
        )
    return Row("run", CheckState.OK, seen)


def store_row(checked: int, damaged: int, held: int) -> Row:
    """Of `held` chunks, `checked` were hashed again, and `damaged` of these did not match."""
    seen = f"{checked} of {held} chunks hashed again, {damaged} damaged"
    if damaged:
        remedy = "Damaged ones were removed and are fetched again; check the disk (smartctl -a)"
        return Row("store", CheckState.BAD, seen, remedy)
    return Row("store", CheckState.OK, seen)


def short(address: str) -> str:
    """An address with only the end of its PeerID."""
    transport, _, peer = address.partition("/p2p/")
    return f"{transport}/p2p/..{peer[-6:]}" if peer else address
