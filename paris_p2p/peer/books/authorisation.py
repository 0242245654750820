"""Whose word counts in a run: its lists, and the heirs of those they name."""

from __future__ import annotations

from paris_p2p.errors import NotAvailable
from paris_p2p.identity import Author
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.key_handover import HandoverBook, follow
from paris_p2p.records.handover import in_force
from paris_p2p.records.run import RunManifest


class Roster:
    """The lists of one run as this home knows them to stand. Everybody counts until `take_up`."""

    def __init__(self, book: HandoverBook) -> None:
        self.book = book
        self._members: frozenset[Author] = frozenset()
        self._publishers: frozenset[Author] = frozenset()

    def take_up(self, run: RunManifest, author: Author) -> RunManifest:
        """From now on the lists of `run` hold; returns it with its lists in force.

        Raises NotAvailable when it lists members and `author` is none of them.
        """
        now = self._in_force(run)
        if not self.lists(author):
            raise NotAvailable(
                f"the run {run.name} is for its members only, and this peer is none of them",
                "Take part as one of them (paris-peer identity import), or in another run",
            )
        return now

    def lists(self, author: Author) -> bool:
        """Whether `author` may take part."""
        return not self._members or author in self._members

    def publishes(self, author: Author) -> bool:
        """Whether the heads, resume states and claims of `author` count."""
        return not self._publishers or author in self._publishers

    async def follow(self, swarm: Swarm, run: RunManifest) -> RunManifest:
        """`run` with its lists in force, after asking `swarm` for heirs of those they name.

        It must be one in which everybody is heard: an heir is not listed before this.
        """
        await follow(swarm, self.book, {*run.members, *run.trusted_authors})
        return self._in_force(run)

    def _in_force(self, run: RunManifest) -> RunManifest:
        now = in_force(run, self.book.all())
        self._members = frozenset(now.members)
        self._publishers = frozenset(now.trusted_authors)
        return now
