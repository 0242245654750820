"""The requests of other peers that a node answers: chunks, contribution logs and dial-backs."""

from __future__ import annotations

import asyncio
import time

from paris_p2p.identity import Author
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkServer
from paris_p2p.network.reach.dial_back import DIALBACK_PROTOCOL
from paris_p2p.network.swarm import Handler, Stream
from paris_p2p.peer.books.contributions import CONTRIBUTIONS_PROTOCOL, LogServer
from paris_p2p.peer.chunk_access import ChunkAccess
from paris_p2p.peer.doctor.dial_back_check import dialback_server
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.store.chunks import MissingChunk


async def serve(node: Node[Membership]) -> None:
    """Start to answer peers that may take part in one of the node's runs."""
    pacers, network_of = node.fetcher.pacers, node.swarm.network_of
    chunks = ChunkServer(ChunkReader(node), pacers=pacers, network_of=network_of)
    logs = LogServer(node.contributions, pacers=pacers, network_of=network_of)
    dialling_back = dialback_server(node.swarm, node.memberships.keys(), time.monotonic)
    await node.swarm.serve(CHUNK_PROTOCOL, _to_listed(node, chunks))
    await node.swarm.serve(CONTRIBUTIONS_PROTOCOL, _to_listed(node, logs))
    await node.swarm.serve(DIALBACK_PROTOCOL, _to_listed(node, dialling_back))


class ChunkReader:
    """Reads the chunks of one node's store for other peers."""

    def __init__(self, node: Node[Membership]) -> None:
        self._node = node
        self._access = ChunkAccess(node)

    async def __call__(self, author: Author, chunk: bytes) -> bytes | None:
        """A chunk for `author`; None if there is no sound copy, or `author` may not have it."""
        if not await self._access.may_have(author, chunk):
            return None
        try:
            data = await asyncio.to_thread(self._node.blobs.chunks.get, chunk)
        except MissingChunk:
            return None
        self._node.sent += len(data)
        return data


def _to_listed(node: Node[Membership], handler: Handler) -> Handler:
    async def answer(author: bytes, stream: Stream) -> None:
        runs = node.memberships.values()
        if not runs or any(one.authorisation.lists(author) for one in runs):
            await handler(author, stream)

    return answer
