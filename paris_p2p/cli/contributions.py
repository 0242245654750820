"""`paris-peer contributions`: what an author's peers published, signed and checked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from paris_p2p.cli.options import BootstrapOption, HomeOption, JsonOption, RunOption, home_of
from paris_p2p.cli.terminal import write, write_json
from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.home import Home
from paris_p2p.identity import AUTHOR_LENGTH, Author, Identity, author_of

PROVEN = (
    "Proven: this author signed these heads, in this order. Not proven: that the steps were made."
)


def contributions(
    author: Annotated[
        str | None, typer.Argument(help="PeerID or author key in hex (default: this peer).")
    ] = None,
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the checkpoints that an author's peers published, from its contribution log.

    Another author's log is fetched and checked: every signature, and that no entry is missing.

        paris-peer contributions

        paris-peer contributions 12D3KooW... --json
    """
    place = home_of(home)
    if author is None:
        log = _own(place)
    else:
        from paris_p2p.api.client import connected

        wanted = _author(author)
        with connected(place, bootstrap or [], run) as client:
            log = client.get(f"/v1/contributions?author={wanted.hex()}")
    if as_json:
        write_json(log)
    else:
        write(*_lines(log), PROVEN)


def _own(place: Home) -> dict[str, Any]:
    """This home's log; no peer is needed to read it."""
    from paris_p2p.peer.books.contribution_logs import ContributionLogs
    from paris_p2p.peer.books.contributions import Reading, told

    if not place.identity_file.exists():
        raise UsageProblem(
            f"there is no identity in {place.path}", "paris-peer start makes one; so does a claim"
        )
    author = Identity.load(place.identity_file).author
    entries = ContributionLogs(place.contributions_dir).entries(author)
    return told(Reading(author, entries, fresh=True))


def _author(text: str) -> Author:
    """The key in a PeerID or in hex."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) == AUTHOR_LENGTH:
        return raw
    try:
        return author_of(text)
    except BadContent as error:
        raise UsageProblem(
            f"{text[:80]!r} is neither a PeerID nor an author's key",
            "12D3KooW..., or 64 hex digits",
        ) from error


def _lines(log: dict[str, Any]) -> Iterator[str]:
    entries = log["entries"]
    gained = sum(entry["gained"] for entry in entries)
    stale = "" if log["fresh"] else " (as read before: no peer with it can be asked now)"
    heads = "1 head" if len(entries) == 1 else f"{len(entries)} heads"
    yield f"peer {log['peer']}: {heads}, {gained} steps{stale}"
    for entry in entries:
        created = datetime.fromtimestamp(entry["created"], UTC)
        yield (
            f"  {created:%Y-%m-%d %H:%M}  {entry['name']:<10} step {entry['step']:<8} "
            f"+{entry['gained']:<7} loss {entry['held_out_loss']:.4f}  {entry['manifest'][:12]}"
        )
