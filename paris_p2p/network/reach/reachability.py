"""A peer's reachability: whether it can be dialled, its relays, and the addresses it announces.

    witnesses say   routing tables   relays        p2pd's mode, once no stream would break
    public          in them          serves        RELAY
    private         out of them      uses two      PUNCH
    nothing         in them          none          unchanged

The last session's result is believed until witnesses say otherwise.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from paris_p2p.identity import peer_id_of
from paris_p2p.network.host import Host
from paris_p2p.network.p2pd.daemon import author_in
from paris_p2p.network.p2pd.listening import (
    MAX_ADDRESSES,
    dialable_from_here,
    is_loopback,
    is_ours,
    tellable,
)
from paris_p2p.network.p2pd.process import Mode
from paris_p2p.network.reach.reachability_types import Nat, Reachability, ReachState
from paris_p2p.network.reach.relay_self_test import SelfTest, limit_of
from paris_p2p.network.reach.relays import Relays, circuit_through, reserve_at
from paris_p2p.network.reach.witnesses import Verdict, hear_witnesses, judge
from paris_p2p.records.address import Address, ip_of, is_public

ASK_PERIOD = 600.0
"""Seconds until witnesses are asked again. Without a verdict they are asked every round."""


def first_mode(announced: bool, was: ReachState, serve_relay: bool) -> Mode:
    """The mode to begin in, before witnesses could be asked."""
    return fitting_mode(ReachState.PUBLIC if announced else was, serve_relay)


def fitting_mode(state: ReachState, serve_relay: bool) -> Mode:
    """The mode for a reachability."""
    if state is ReachState.PUBLIC and serve_relay:
        return Mode.RELAY
    return Mode.PUNCH if state is ReachState.PRIVATE else Mode.PLAIN


class ReachabilityKeeper:
    """Finds out one host's reachability and acts on it. Call `look` every heal period.

    Parameters
    ----------
    was : the result of the last session.
    serve_relay : whether to relay others when publicly reachable.
    named : relays that the user named.
    clock : seconds of any epoch.
    """

    def __init__(
        self,
        host: Host,
        was: ReachState,
        serve_relay: bool,
        named: tuple[Address, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._serve_relay = serve_relay
        self._clock = clock
        self._verdict = Verdict(ReachState.PUBLIC if host.listen_config.announce else was)
        self._asked: tuple[float, tuple[str, ...]] = (-ASK_PERIOD, ())
        self._transports: list[str] = []
        self._relays = Relays(named, lambda relay: reserve_at(host.daemon, relay))
        self._always_relayed = bool(named)
        self._self_test = SelfTest(host, limit_of)

    def addresses(self) -> list[str]:
        """The addresses to announce: direct ones first, relayed ones last."""
        own = self._host.listen_config.identity.peer_id
        relayed = [circuit_through(relay, own) for relay in self._relays.in_use()]
        direct = self._transports
        if self._verdict.state is ReachState.PRIVATE and not self._host.listen_config.announce:
            direct = [transport for transport in direct if dialable_from_here(transport)]
        told = [str(Address(transport, own)) for transport in direct]
        return [*told[: MAX_ADDRESSES - len(relayed)], *relayed]

    def transports(self) -> list[str]:
        """Where we listen, or announce that we do, and where others see us."""
        hosts = ((transport, ip_of(transport)) for transport in self._verdict.observed)
        return [*self._transports, *(t for t, host in hosts if host and is_public(host))]

    def reachability(self) -> Reachability:
        """See `Swarm.reachability`."""
        verdict = self._verdict
        return Reachability(
            state=verdict.state,
            addresses=tuple(self.addresses()),
            observed=verdict.observed,
            relays=tuple(map(str, self._relays.in_use())),
            serves_relay=self._host.mode is Mode.RELAY,
            nat=verdict.nat,
            hole_punching=self._host.mode is Mode.PUNCH and verdict.nat is Nat.CONE,
            upnp=self._mapped(),
            reached_by=verdict.reached_by,
            missed_by=verdict.missed_by,
        )

    async def note_addresses(self) -> None:
        """Ask p2pd where it listens now. Raises `Unreachable` when it does not answer."""
        self._transports = tellable(
            self._host.listen_config.announce or await self._host.daemon.transports()
        )

    async def look(self) -> None:
        """Note our addresses, ask witnesses when that is due, and act on their verdict."""
        await self.note_addresses()
        if self._due():
            await self._ask()
        self._host.hide(self._verdict.state is ReachState.PRIVATE and bool(self._host.neighbours()))
        await self._take_mode()
        if self._verdict.state is ReachState.PRIVATE or self._always_relayed:
            await self._relays.keep(await self._candidates(), random.SystemRandom())
        else:
            self._relays.leave()
        if self._host.ready.is_set():
            await self._self_test.run()

    def _due(self) -> bool:
        """Whether to ask witnesses: after ASK_PERIOD, and when our addresses have changed."""
        asked, transports = self._asked
        changed = transports != tuple(self._transports)
        return changed or self._clock() - asked >= ASK_PERIOD

    async def _ask(self) -> None:
        others = [author for author in map(author_in, self._host.neighbours()) if author]
        port = None if self._host.listen_config.announce else self._host.listen_config.port
        answers = await hear_witnesses(self._host.open, others, self._transports, port)
        verdict = judge(answers, is_ours)
        if verdict.state is not ReachState.UNKNOWN:
            self._verdict = verdict
            self._asked = (self._clock(), tuple(self._transports))

    async def _candidates(self) -> list[Address]:
        """Neighbours as relays, each at the addresses where we are connected to it."""
        found = []
        for author in filter(None, map(author_in, self._host.neighbours())):
            transports = tellable(await self._host.daemon.seen_at(author))
            found += [Address(transport, peer_id_of(author)) for transport in transports]
        return found

    async def _take_mode(self) -> None:
        """Switch p2pd to the mode for our reachability, before the old one makes reservations.

        A peer that listens only on loopback has nobody to relay.
        """
        if self._host.busy() or is_loopback(self._host.listen_config.transport):
            return
        self._host.switch(fitting_mode(self._verdict.state, self._serve_relay))
        await self._host.until_ready()

    def _mapped(self) -> str:
        """The transport that leads to us by UPnP: no interface has its address."""
        if not self._host.listen_config.upnp or self._verdict.state is not ReachState.PUBLIC:
            return ""
        hosts = ((transport, ip_of(transport)) for transport in self._transports)
        return next((t for t, host in hosts if host is not None and not is_ours(host)), "")
