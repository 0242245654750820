"""Whom to believe about being reachable: made-up answers, the right verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.reach.dial_back import (
    DIALBACK_PROTOCOL,
    Budget,
    Dial,
    DialBackAnswer,
    DialbackServer,
)
from paris_p2p.network.reach.reachability_types import Nat, ReachState
from paris_p2p.network.reach.witnesses import IpAddress, hear_witnesses, judge

LAN = "/ip4/192.168.1.2/tcp/4001"
ROUTER = "/ip4/45.0.0.9/tcp/4001"
OWN = "/ip4/45.0.0.7/tcp/4001"
PROXY = "/ip4/45.0.0.200/tcp/50000"


def is_ours(host: IpAddress) -> bool:
    return str(host) in ("192.168.1.2", "45.0.0.7")


def told(seen: str, verdict: str) -> DialBackAnswer:
    return DialBackAnswer((seen,) if seen else (), (Dial(seen or LAN, verdict),))


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([], ReachState.UNKNOWN),
        ([told(LAN, "reached")], ReachState.PUBLIC),
        ([told(LAN, "failed")], ReachState.PRIVATE),
        ([told(LAN, "refused"), told(LAN, "busy")], ReachState.UNKNOWN),
        ([told(ROUTER, "failed")] * 2 + [told(ROUTER, "reached")], ReachState.PRIVATE),
        ([told(ROUTER, "failed")] + [told(ROUTER, "reached")] * 2, ReachState.PUBLIC),
        ([told(LAN, "reached")] * 4 + [told(ROUTER, "failed")], ReachState.PRIVATE),
        ([told(LAN, "failed")] * 4 + [told(ROUTER, "reached")], ReachState.PUBLIC),
        ([told("", "failed")], ReachState.PRIVATE),
        ([told(OWN, "reached")] * 2 + [told(PROXY, "failed")], ReachState.PUBLIC),
        ([told(OWN, "failed")] * 2 + [told(LAN, "reached")] * 3, ReachState.PRIVATE),
    ],
)
def test_the_majority_of_those_outside_is_believed(
    answers: list[DialBackAnswer], state: ReachState
) -> None:
    assert judge(answers, is_ours).state is state


@pytest.mark.parametrize(
    ("seen", "nat"),
    [
        ([], Nat.UNKNOWN),
        ([LAN], Nat.NONE),
        ([ROUTER], Nat.UNKNOWN),
        ([ROUTER, ROUTER], Nat.CONE),
        ([ROUTER, ROUTER.replace("4001", "50000")], Nat.SYMMETRIC),
        ([LAN, ROUTER, ROUTER], Nat.CONE),
        ([ROUTER, ROUTER, PROXY], Nat.CONE),
        ([OWN, PROXY], Nat.NONE),
    ],
)
def test_the_router_in_between(seen: Sequence[str], nat: Nat) -> None:
    assert judge([told(place, "failed") for place in seen], is_ours).nat is nat


@given(st.lists(st.sampled_from(["reached", "failed", "refused", "busy"]), max_size=5))
def test_nobody_is_counted_twice(verdicts: list[str]) -> None:
    answer = DialBackAnswer((ROUTER,), tuple(Dial(ROUTER, verdict) for verdict in verdicts))
    verdict = judge([answer], is_ours)
    assert verdict.reached_by + verdict.missed_by <= 1
    assert (verdict.reached_by == 1) == ("reached" in verdicts)


@pytest.mark.asyncio
async def test_our_port_is_tried_where_we_are_seen() -> None:
    """A router may forward our port although we do not know its address."""
    network = MemoryNetwork()
    peer, witness, silent = (network.join(Identity.generate().author) for _ in "abc")
    for other in (witness, silent):
        await peer.connect(other.addresses()[0])
    dialled: list[str] = []

    async def seen_at(author: bytes) -> list[str]:
        return [ROUTER]

    async def announced_by(author: bytes) -> list[str]:
        return []

    async def dial_at(transport: str) -> bytes:
        dialled.append(transport)
        if transport.endswith("/31337"):
            return peer.author
        raise Unreachable("nobody there")

    server = DialbackServer(seen_at, announced_by, Budget(lambda: 0.0), dial_at)
    await witness.serve(DIALBACK_PROTOCOL, server)
    answers = await hear_witnesses(peer.open, [witness.author, silent.author], [LAN], 31337)
    assert dialled == ["/ip4/45.0.0.9/tcp/31337"]
    verdict = judge(answers, is_ours)
    assert (verdict.state, verdict.observed) == (ReachState.PUBLIC, (ROUTER,))

    dialled.clear()
    told = await hear_witnesses(peer.open, [witness.author], [LAN], None)
    assert (dialled, judge(told, is_ours).state) == ([], ReachState.UNKNOWN)
