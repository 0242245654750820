"""Chunks from a web server that the run names: any static server over a copy of a store's folder.

The chunk `ab12...` lies at BASE/ab/ab12..., as in the store. The author of a run and the owner of
its server are strangers. So every chunk is checked by its hash, and no more bytes are read than a
chunk can have. Redirects and proxies are not used. Addresses outside the public internet are
refused (`is_public`), so that a run cannot make its peers contact hosts inside their own networks.
The checked address is the one that is dialled.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from paris_p2p.errors import Unreachable
from paris_p2p.network.chunk_protocol import PIECE, PIECE_PATIENCE, LyingProvider, ProviderBusy
from paris_p2p.network.pacing import Pacer
from paris_p2p.network.swarm import INACTIVITY, StreamClosed
from paris_p2p.records.address import IpAddress, is_public
from paris_p2p.records.manifest import content_id

HEAD_PATIENCE = 2 * INACTIVITY
"""Seconds that a server has to begin its answer: it could send "wait" (1xx) for ever."""

_OK = 200
_MISSING = (404, 410)


class SeedConversation:
    """Asks one web server for chunks, one after the other. Implements `Conversation`."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        on_piece: Callable[[], None],
        pacer: Pacer,
        allow_private: bool,
    ) -> None:
        self._client = client
        self._base = httpx.URL(url.rstrip("/"))
        self._on_piece = on_piece
        self._pacer = pacer
        self._allow_private = allow_private
        self._wanted: deque[bytes] = deque()

    @property
    def pending(self) -> int:
        return len(self._wanted)

    async def request(self, ids: Sequence[bytes]) -> None:
        """Queue chunks. The server is asked for each when its turn comes."""
        self._wanted.extend(ids)

    async def receive_into(self, buffer: memoryview) -> tuple[bytes, int | None]:
        """The next chunk and its size, verified, in `buffer`; None if the server lacks it.

        Raises LyingProvider for anything else than the chunk, ProviderBusy, Unreachable, and
        StreamClosed for a server that is silent or too slow.
        """
        chunk = self._wanted[0]
        try:
            async with self._get(chunk, await self._public_address()) as response:
                size = await self._body(response, buffer)
        except httpx.TimeoutException as error:
            raise StreamClosed("a web seed was silent") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise Unreachable(f"a web seed gave an invalid answer: {error!r:.200}") from error
        if size is not None and content_id(buffer[:size]) != chunk:
            raise LyingProvider("a web seed sent something that is not the chunk")
        return self._wanted.popleft(), size

    @asynccontextmanager
    async def _get(self, chunk: bytes, address: IpAddress) -> AsyncIterator[httpx.Response]:
        """The server's answer. It is dialled by address, and asked by the name in its URL."""
        name = chunk.hex()
        path = f"{self._base.path.rstrip('/')}/{name[:2]}/{name}"
        request = self._client.build_request(
            "GET",
            self._base.copy_with(host=str(address), path=path),
            headers={"Host": self._base.netloc.decode(), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": self._base.host},
        )
        try:
            async with asyncio.timeout(HEAD_PATIENCE):
                response = await self._client.send(request, stream=True)
        except TimeoutError as error:
            raise StreamClosed("a web seed did not begin its answer in time") from error
        try:
            yield response
        finally:
            await response.aclose()

    async def _public_address(self) -> IpAddress:
        """An address of the server that may be dialled. All of its addresses must be public."""
        try:
            async with asyncio.timeout(INACTIVITY):
                found = await _resolve(self._base.host, self._base.port or self._default_port())
        except (OSError, UnicodeError, TimeoutError) as error:
            raise Unreachable(f"the web seed {self._base.host} has no known address") from error
        if not self._allow_private and not all(map(is_public, found)):
            raise Unreachable(
                f"the web seed {self._base.host} is not on the public internet",
                "set allow_private_seeds = true to use it anyway",
            )
        return found[0]

    def _default_port(self) -> int:
        return 443 if self._base.scheme == "https" else 80

    async def _body(self, response: httpx.Response, buffer: memoryview) -> int | None:
        """Size of the server's unverified bytes in `buffer`; None if it lacks the chunk."""
        if response.status_code in _MISSING:
            return None
        if response.status_code != _OK:
            raise ProviderBusy(f"a web seed answers {response.status_code}")
        size = 0
        try:
            async with asyncio.timeout(PIECE_PATIENCE) as limit:
                async for part in response.aiter_raw():
                    end = size + len(part)
                    if end > len(buffer):
                        raise LyingProvider("a web seed sent more than a chunk can have")
                    buffer[size:end] = part
                    if size // PIECE != end // PIECE:
                        limit.reschedule(asyncio.get_running_loop().time() + PIECE_PATIENCE)
                        self._on_piece()
                    size = end
                    await self._pacer.let_pass(self._base.netloc, len(part))
        except TimeoutError as error:
            raise StreamClosed("a web seed is too slow") from error
        return size


@asynccontextmanager
async def converse_with_seed(
    url: str, on_piece: Callable[[], None], pacer: Pacer, allow_private: bool
) -> AsyncIterator[SeedConversation]:
    """A conversation with the web server at `url`.

    Parameters
    ----------
    on_piece : called for each piece of a chunk that arrives.
    allow_private : also use servers inside private networks and on this machine.
    """
    options: dict[str, Any] = {
        "timeout": INACTIVITY,
        "follow_redirects": False,
        "trust_env": False,
        "limits": httpx.Limits(max_connections=1),
    }
    async with httpx.AsyncClient(**options) as client:
        yield SeedConversation(client, url, on_piece, pacer, allow_private)


async def _resolve(host: str, port: int) -> list[IpAddress]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(place[0]) for *_, place in found]
