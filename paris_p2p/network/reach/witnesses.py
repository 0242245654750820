"""Can strangers dial us? Several witnesses dial back, and the majority is believed.

Goal: know within seconds of meeting peers, because an unreachable peer must not hold other peers'
records and needs a relay. Non-goal: certainty. Witnesses may be wrong or lie. A lie costs us a
detour over a relay, or records of which one replica of eight cannot be reached.

A witness that sees us at a private address is on our side of the router, and says little about the
other side. If any sees us at a global address, only those count. A witness behind a proxy sees us
at the proxy's address; the majority corrects that.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from paris_p2p.errors import ParisError
from paris_p2p.network.reach.dial_back import DIALBACK_PROTOCOL, Dial, DialBackAnswer
from paris_p2p.network.reach.dial_back_client import dialled_back
from paris_p2p.network.reach.reachability_types import Nat, ReachState
from paris_p2p.network.swarm import Stream
from paris_p2p.records.address import IpAddress, ip_of, is_public

Open = Callable[[bytes, str], Awaitable[Stream]]
IsOurs = Callable[[IpAddress], bool]

WITNESSES = 5
"""Peers asked to dial us back."""


@dataclass(frozen=True)
class Verdict:
    """The combined result of all witnesses."""

    state: ReachState = ReachState.UNKNOWN
    nat: Nat = Nat.UNKNOWN
    observed: tuple[str, ...] = ()
    reached_by: int = 0
    missed_by: int = 0


async def hear_witnesses(
    open_: Open, others: Sequence[bytes], transports: Sequence[str], port: int | None
) -> list[DialBackAnswer]:
    """The answers of some of `others`, each as from `dialled_back`. Peers that do not answer are
    left out."""
    asked = random.sample(others, min(WITNESSES, len(others)))
    heard = await asyncio.gather(*(_hear(open_, one, transports, port) for one in asked))
    return [answer for answer in heard if answer is not None]


async def _hear(
    open_: Open, witness: bytes, transports: Sequence[str], port: int | None
) -> DialBackAnswer | None:
    try:
        return await dialled_back(partial(open_, witness, DIALBACK_PROTOCOL), transports, port)
    except ParisError:
        return None


def judge(answers: Sequence[DialBackAnswer], is_ours: IsOurs) -> Verdict:
    """The majority's verdict. `is_ours` tells whether an IP is this machine's."""
    counted = [answer for answer in answers if _from_outside(answer)] or answers
    reached = sum(_reached(answer.dials) for answer in counted)
    missed = sum(_missed(answer.dials) for answer in counted)
    state = ReachState.UNKNOWN
    if reached or missed:
        state = ReachState.PUBLIC if reached >= missed else ReachState.PRIVATE
    observed = tuple(dict.fromkeys(place for answer in answers for place in answer.seen))
    return Verdict(state, _nat(counted, is_ours), observed, reached, missed)


def _from_outside(answer: DialBackAnswer) -> bool:
    hosts = [host for host in map(ip_of, answer.seen) if host is not None]
    return any(map(is_public, hosts))


def _reached(dials: Iterable[Dial]) -> bool:
    return any(dial.verdict == "reached" for dial in dials)


def _missed(dials: Sequence[Dial]) -> bool:
    return not _reached(dials) and any(dial.verdict == "failed" for dial in dials)


def _nat(answers: Sequence[DialBackAnswer], is_ours: IsOurs) -> Nat:
    """The kind of NAT: whether two witnesses see us at the same address and port."""
    places = Counter(place for answer in answers for place in set(answer.seen))
    hosts = [host for host in map(ip_of, places) if host is not None]
    if any(map(is_ours, hosts)):
        return Nat.NONE
    if sum(bool(answer.seen) for answer in answers) < 2:
        return Nat.UNKNOWN
    return Nat.CONE if max(places.values()) > 1 else Nat.SYMMETRIC
