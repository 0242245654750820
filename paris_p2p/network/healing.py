"""Joining the swarm and staying in it, whatever happens to the peer, the machine, or the others.

    what happens                              what is done, every heal period
    a neighbour dies                          it misses a ping and is forgotten
    no neighbour is left                      all known peers are dialled, six times as often
    new neighbours, another swarm joins ours  our records near them are stored there too
    the machine slept, the clock was set      all of this at once; every record is stored again
    our addresses change                      they are looked up again and announced
    the swarm is partitioned                  some known peers outside the routing table are dialled
    nobody can dial us                        we leave others' routing tables and find relays
    p2pd dies or hangs                        restarted (`host.py`), then all known are dialled

The stock hivemind node does none of this; alone, its stores reach nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import author_of, peer_id_of
from paris_p2p.network.host import Host
from paris_p2p.network.own_records import OwnRecords
from paris_p2p.network.p2pd.daemon import AnotherKey
from paris_p2p.network.periodic import attempt, pause, spread
from paris_p2p.network.private_swarm import NotAdmitted
from paris_p2p.network.reach.reachability import ReachabilityKeeper
from paris_p2p.records.address import Address, parse_address

logger = logging.getLogger(__name__)

HEAL_PERIOD = 30.0
"""Seconds between rounds, +-20%; a sixth of it while alone."""

JOIN_PAUSES = (0.5, 1.5)
"""Seconds before each retry of the first contact: the other peer's p2pd may still be starting."""

EXPLORE_TIMEOUT = 5.0

PINGED = 16
"""Neighbours pinged per heal period."""

REDIALLED = 4
"""Known peers outside the routing table that are dialled per heal period."""

_LASTING = (NotAdmitted, AnotherKey)
"""Failures that a retry cannot change."""

MAX_KNOWN = 256
"""Addresses remembered for rejoining."""


class Healer:
    """Keeps one host in the swarm. Run `forever` beside it.

    Parameters
    ----------
    period : seconds between rounds.
    """

    def __init__(
        self,
        host: Host,
        records: OwnRecords,
        reachability_keeper: ReachabilityKeeper,
        period: float,
    ) -> None:
        self._host = host
        self._records = records
        self._reachability_keeper = reachability_keeper
        self._period = period
        self._known: dict[Address, None] = {}
        self._own_end = "/p2p/" + peer_id_of(host.listen_config.identity.author)

    def online(self) -> bool:
        """Whether anybody is in our routing table."""
        return bool(self._host.neighbours())

    def known(self) -> list[str]:
        """Addresses to rejoin through: those given and those met, the latest first."""
        return [str(address) for address in reversed(self._known)]

    # Joining

    async def join(self, addresses: Sequence[str], required: bool) -> None:
        """Join through the peers that answer at `addresses`.

        With `required`, raises `Unreachable` when addresses are given and none answers.
        """
        failures = await self._introduce_all(addresses)
        for wait in JOIN_PAUSES if required else ():
            hopeful = [address for address, failure in failures.items() if _may_pass(failure)]
            if self.online() or not hopeful:
                break
            await asyncio.sleep(wait)
            lasting = {a: failure for a, failure in failures.items() if a not in hopeful}
            failures = lasting | await self._introduce_all(hopeful)
        if failures and required and not self.online():
            raise _no_contact(list(failures.values()))
        await self._explore()

    async def connect(self, address: str) -> None:
        """Dial one address, explore from there, and store our records at new neighbours."""
        await self._host.until_ready()
        await self._introduce(address)
        await self._explore()
        await self._records.say_to_newcomers()

    async def meet(self, address: Address) -> None:
        """Dial and remember one more peer. Raises `Unreachable`."""
        await self._host.until_ready()
        await self._introduce(str(address))

    async def rejoin(self) -> None:
        """Dial all known peers, and store all our records again. Never raises."""
        await attempt(self._rejoin)

    async def _rejoin(self) -> None:
        await self._introduce_all(self.known())
        await self._explore()
        await self._records.say_all_again()

    async def _introduce_all(self, addresses: Sequence[str]) -> dict[str, Unreachable]:
        """Dial the peers at `addresses`; return those that did not answer, and why."""
        others = [a for a in dict.fromkeys(addresses) if not a.endswith(self._own_end)]
        self._remember(parse_all(others))
        results = await asyncio.gather(*map(self._try_introduce, others))
        pairs = zip(others, results, strict=True)
        failures = {address: failure for address, failure in pairs if failure}
        if failures:
            logger.info("%s", unanswered(list(failures.values()), len(others)))
        return failures

    async def _try_introduce(self, address: str) -> Unreachable | None:
        try:
            await self._introduce(address)
        except Unreachable as error:
            logger.debug("%s", error)
            return error
        return None

    async def _introduce(self, text: str) -> None:
        """Dial an address and exchange a ping. A peer that cannot be dialled, and so is in no
        routing table, introduces us to its neighbours instead. Raises `Unreachable`."""
        try:
            address = parse_address(text)
        except BadContent as error:
            raise Unreachable(error.message, error.remedy) from error
        author = author_of(address.peer_id)
        await self._host.daemon.dial(address)
        await self._host.membership.ensure(author)
        if not (await self._host.ping(author) or await self._host.meet_through(author)):
            await self._host.membership.explain(author)
            raise Unreachable(f"what answers at {address} is not a paris-p2p peer")
        self._known.pop(address, None)
        self._remember([address])

    def _remember(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._known.setdefault(address)
        for address in list(self._known)[:-MAX_KNOWN]:
            del self._known[address]

    async def _explore(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(EXPLORE_TIMEOUT):
                await self._host.node.explore()

    # Staying in

    async def settle(self) -> None:
        """Find out our reachability, and act on it, before anything else begins."""
        await attempt(self._reachability_keeper.look)
        await self._host.until_ready()

    async def forever(self) -> None:
        """Heal every period until cancelled; check our reachability at once."""
        await attempt(self._reachability_keeper.look)
        while True:
            period = self._period if self.online() else self._period / 6
            jumped = await pause(spread(period, random.SystemRandom()))
            await self._host.ready.wait()
            await attempt(partial(self.heal, jumped))

    async def heal(self, jumped: bool = False) -> None:
        """One round. After `jumped` (the machine slept) we rejoin and store everything again."""
        neighbours = self._host.neighbours()
        chosen = random.sample(neighbours, min(PINGED, len(neighbours)))
        await asyncio.gather(*map(self._host.node.protocol.call_ping, chosen))
        if jumped or not self.online():
            await self.rejoin()
        else:
            await self._introduce_all(self._strayed())
            await self._explore()
            await self._records.say_to_newcomers()
        await self._reachability_keeper.look()
        self._records.forget_expired()

    def _strayed(self) -> list[str]:
        """Some known peers outside the routing table: the swarm may be partitioned."""
        near = {peer.to_base58() for peer in self._host.neighbours()}
        lost = [str(address) for address in self._known if address.peer_id not in near]
        return random.sample(lost, min(REDIALLED, len(lost)))


def unanswered(failures: Sequence[Unreachable], asked: int) -> str:
    """One line: how many of the dialled peers did not answer, and why the first did not."""
    more = f"; and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"{len(failures)} of {asked} known peers do not answer: {failures[0].message}{more}"


def _may_pass(failure: Unreachable) -> bool:
    """Whether a retry may succeed: not if another peer answers there, or refuses us."""
    return not isinstance(failure, _LASTING)


def _no_contact(failures: Sequence[Unreachable]) -> Unreachable:
    """Why no peer could be joined. A refusal to admit us comes before other reasons."""
    for failure in failures:
        if isinstance(failure, NotAdmitted) or (len(failures) == 1 and not _may_pass(failure)):
            return failure
    reasons = "; ".join(failure.message for failure in failures)
    return Unreachable(
        f"none of the {len(failures)} given addresses answers: {reasons}",
        "Check that a peer runs there, or give another --bootstrap",
    )


def parse_all(addresses: Iterable[str]) -> list[Address]:
    """The well-formed ones of `addresses`."""
    parsed = []
    for text in addresses:
        with suppress(BadContent):
            parsed.append(parse_address(text))
    return parsed
