"""The contents of the store, the runs that name them, and the kept ones. Blocking.

Several runs of a node may name a content. It is of use while it is of use to one of them.
"""

from __future__ import annotations

from contextlib import suppress

from paris_p2p.errors import BadContent
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.transfer.providers import best_here, wanted
from paris_p2p.peer.upkeep.retention import Stored, own_content
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import Manifest
from paris_p2p.records.resume import Resume


def stored_contents(node: Node[Membership]) -> list[Stored]:
    """Every content in the store, whole or in part."""
    named = set[bytes]().union(*(one.contents() for one in node.memberships.values()))
    elsewhere = node.left_runs.contents() - named

    def describe(content: bytes, last_use: float) -> Stored:
        manifest = node.blobs.manifest(content)
        kind = manifest.kind if manifest else ""
        size = _bytes_here(node, manifest) if manifest else 0
        return Stored(content, kind, content in named, last_use, content in elsewhere, size)

    return [describe(content, last_use) for content, last_use in node.blobs.known().items()]


def naming(node: Node[Membership], content: bytes) -> list[Membership]:
    """The memberships whose run names a content."""
    return [one for one in node.memberships.values() if one.names(content)]


def _bytes_here(node: Node[Membership], manifest: Manifest) -> int:
    missing = set(node.blobs.missing(manifest))
    return sum(
        manifest.length(i) for i, chunk in enumerate(manifest.chunks) if chunk not in missing
    )


def size_here(node: Node[Membership], content: bytes) -> int:
    """Bytes of a content that are here."""
    manifest = node.blobs.manifest(content)
    return _bytes_here(node, manifest) if manifest is not None else 0


def kept_contents(node: Node[Membership]) -> set[bytes]:
    """The contents to keep: wanted content, the best content here, own work, and content in use.

    The best content here is kept because the first-ranked record may name nothing real.
    """
    here = {content for content in node.blobs.known() if node.blobs.complete(content)}
    current = set[bytes]()
    for membership in list(node.memberships.values()):
        current |= wanted(membership).keys() | best_here(membership, here).keys()
    return current | own_contents(node) | node.in_use.keys()


def own_contents(node: Node[Membership]) -> set[bytes]:
    """This author's newest contents in every slot, in current and left runs."""
    author, runs = node.identity.author, node.home.runs_dir
    own = set[bytes]()
    for membership in list(node.memberships.values()):
        own |= own_content(author, membership.heads, membership.resumes)
    for kind in (Head, Resume):
        for path in runs.rglob(f"*-{author.hex()}.{kind.KIND}"):
            with suppress(BadContent, OSError):
                own.add(kind.unseal(path.read_bytes()).manifest)
    return own


def needed_by_left(node: Node[Membership], run_id: bytes) -> set[bytes]:
    """Contents here that only this left run needs: no current run and no other left run does."""
    others = node.left_runs.contents(but=run_id) | own_contents(node) | node.in_use.keys()
    for membership in list(node.memberships.values()):
        others |= membership.contents()
    return (node.left_runs.contents_of(run_id) - others) & node.blobs.known().keys()


def unused_files(node: Node[Membership], before: float) -> list[tuple[int, bytes]]:
    """Bytes and contents of made files not used since `before`, the longest unused first."""
    used = node.blobs.files()
    unused = sorted(
        (content for content in used.keys() - node.in_use.keys() if used[content] < before),
        key=used.__getitem__,
    )
    manifests = [(content, node.blobs.manifest(content)) for content in unused]
    return [(made.size if made else 0, content) for content, made in manifests]


def run_records(node: Node[Membership]) -> set[bytes]:
    """The chunks that are run records, and so belong to no file."""
    return {*node.memberships, *node.left_runs.ids()}
