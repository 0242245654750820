"""A run's lists of members and authors: whose peers may take part, and whose records count."""

from __future__ import annotations

from paris_p2p.errors import NotAvailable
from paris_p2p.identity import Author
from paris_p2p.records.run import RunManifest


class Authorisation:
    """The lists of one run. An empty list admits everyone."""

    def __init__(self, run: RunManifest) -> None:
        self._name = run.name
        self._members = frozenset(run.members)
        self._publishers = frozenset(run.publishers)

    def lists(self, author: Author) -> bool:
        """Whether `author` may take part."""
        return not self._members or author in self._members

    def publishes(self, author: Author) -> bool:
        """Whether the heads, resume states and claims of `author` count."""
        return not self._publishers or author in self._publishers

    def expect_member(self, author: Author) -> None:
        """NotAvailable if the run lists its members and `author` is not one of them."""
        if not self.lists(author):
            raise NotAvailable(
                f"the run {self._name} is for its members only, and this peer is not one of them",
                "Take part as one of them (paris-peer identity import), or in another run",
            )
