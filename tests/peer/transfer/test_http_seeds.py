"""Web seeds: any static server over a store's folder; whatever else it does, nothing breaks."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paris_p2p.errors import NotAvailable, Unreachable
from paris_p2p.network.chunk_protocol import LyingProvider, ProviderBusy
from paris_p2p.network.pacing import Pacer
from paris_p2p.network.swarm import StreamClosed
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.transfer import http_seeds
from paris_p2p.peer.transfer.chunk_sources import Seed
from paris_p2p.peer.transfer.fetching import Fetcher
from paris_p2p.peer.transfer.http_seeds import converse_with_seed
from paris_p2p.records.manifest import CHUNK_SIZE, MAX_SIZE, content_id
from tests.peer.worlds import PeerWorld, content_of, hold, manifest_of

WANTED = b"the chunk that is wanted"


class Folder(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with `answer`, which writes what it likes."""

    answer: Callable[[Handler], None]

    def do_GET(self) -> None:
        with suppress(OSError):
            self.answer()

    def log_message(self, *words: object) -> None:
        pass

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def answering(answer: Callable[[Handler], None]) -> Iterator[str]:
    with serving(type("Answering", (Handler,), {"answer": answer})) as url:
        yield url


def folder_of(peer: Membership) -> Callable[..., BaseHTTPRequestHandler]:
    return partial(Folder, directory=str(peer.node.home.store_dir))


def with_seeds(peer: Membership, *urls: str, allow_private: bool = True) -> Fetcher:
    fetcher = Fetcher(
        peer.swarm, peer.node.blobs, first_wait=0.01, allow_private_seeds=allow_private
    )
    fetcher.seeds = tuple(map(Seed, urls))
    return fetcher


async def ask(url: str, chunk: bytes = WANTED, allow_private: bool = True) -> bytes | None:
    async with converse_with_seed(url, lambda: None, Pacer(None), allow_private) as seed:
        await seed.request([content_id(chunk)])
        assert seed.pending == 1
        buffer = memoryview(bytearray(CHUNK_SIZE))
        _, size = await seed.receive_into(buffer)
        assert seed.pending == 0
        return None if size is None else bytes(buffer[:size])


async def test_content_that_no_peer_has_comes_from_a_copy_of_a_store(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    gone, seeker = await world.join(), await world.join()
    content = await hold(gone, 0)
    await gone.announcer.withdraw()
    with serving(folder_of(gone)) as url:
        fetcher = with_seeds(seeker, url + "/")
        await fetcher.fetch(content, most=MAX_SIZE)
    assert seeker.node.blobs.read(content) == content_of(0)
    assert sum(fetcher.received.values()) == len(content_of(0)) + len(manifest_of(0).encode())


async def test_a_seed_is_left_alone_while_peers_deliver(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    asked: list[str] = []
    with answering(lambda handler: asked.append(handler.path)) as url:
        await with_seeds(seeker, url).fetch(content, most=MAX_SIZE)
    assert seeker.node.blobs.complete(content) and not asked


async def test_a_lying_seed_is_dropped_for_another(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    gone, seeker = await world.join(), await world.join()
    content = await hold(gone, 0)
    await gone.announcer.withdraw()
    lies: list[str] = []

    def lie(handler: Handler) -> None:
        lies.append(handler.path)
        handler.begin()
        handler.wfile.write(b"something else")

    with answering(lie) as liar, serving(folder_of(gone)) as honest:
        fetcher = with_seeds(seeker, liar)
        with pytest.raises(NotAvailable):
            await fetcher.fetch(content, patience=0.5, most=MAX_SIZE)
        fetcher.seeds = (*fetcher.seeds, Seed(honest))
        await fetcher.fetch(content, most=MAX_SIZE)
    assert seeker.node.blobs.complete(content)
    assert len(lies) == 1
    assert fetcher.received[liar.encode()] == 0


async def test_a_server_that_says_wait_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_seeds, "HEAD_PATIENCE", 0.3, raising=False)
    left = threading.Event()

    def wait(handler: Handler) -> None:
        while not left.wait(0.02):
            handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")

    with answering(wait) as url:
        try:
            async with asyncio.timeout(10):
                with pytest.raises(StreamClosed, match="did not begin its answer in time"):
                    await ask(url)
        finally:
            left.set()


async def test_a_chunk_arrives_verified() -> None:
    def give(handler: Handler) -> None:
        name = content_id(WANTED).hex()
        assert handler.path == f"/copy/{name[:2]}/{name}"
        handler.begin(Content_Length=str(len(WANTED)))
        handler.wfile.write(WANTED)

    with answering(give) as url:
        assert await ask(url + "/copy/") == WANTED


async def test_what_a_seed_lacks_is_missing() -> None:
    with answering(lambda handler: handler.begin(404)) as url:
        assert await ask(url) is None


async def test_an_endless_body_is_cut_off() -> None:
    sent = 0

    def pour(handler: Handler) -> None:
        nonlocal sent
        handler.begin()
        while True:
            sent += handler.wfile.write(bytes(1 << 16))

    with answering(pour) as url, pytest.raises(LyingProvider, match="more than a chunk"):
        await ask(url)
    assert sent < 64 * CHUNK_SIZE


async def test_a_redirect_is_not_followed() -> None:
    followed: list[str] = []
    with (
        answering(lambda handler: followed.append(handler.path)) as elsewhere,
        answering(lambda handler: handler.begin(302, Location=elsewhere)) as url,
        pytest.raises(ProviderBusy, match="302"),
    ):
        await ask(url)
    assert not followed


async def test_a_seed_that_trickles_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_seeds, "PIECE_PATIENCE", 0.3)
    stop = threading.Event()

    def trickle(handler: Handler) -> None:
        handler.begin()
        while not stop.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    with answering(trickle) as url:
        with pytest.raises(StreamClosed, match="slow"):
            await ask(url)
        stop.set()


async def test_a_silent_seed_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_seeds, "INACTIVITY", 0.2)
    stop = threading.Event()
    with answering(lambda handler: stop.wait(60)) as url:
        with pytest.raises(StreamClosed, match="silent"):
            await ask(url)
        stop.set()


async def test_nobody_listens() -> None:
    with answering(lambda handler: None) as url:
        pass
    with pytest.raises(Unreachable):
        await ask(url)


async def test_a_seed_inside_a_private_network_is_refused_unasked(tmp_path: Path) -> None:
    asked: list[str] = []
    world = PeerWorld(tmp_path)
    seeker = await world.join()
    with answering(lambda handler: asked.append(handler.path)) as url:
        with pytest.raises(Unreachable, match="not on the public internet"):
            await ask(url.replace("127.0.0.1", "localhost"), allow_private=False)
        fetcher = with_seeds(seeker, url, allow_private=False)
        with pytest.raises(NotAvailable):
            await fetcher.fetch(bytes(32), most=MAX_SIZE, patience=0.5)
    assert not asked


async def test_the_address_that_was_checked_is_the_one_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that resolves to somewhere else the second time gains nothing by it."""
    hosts: list[str] = []

    def give(handler: Handler) -> None:
        hosts.append(handler.headers["Host"])
        handler.begin()
        handler.wfile.write(WANTED)

    async def resolve(host: str, port: int) -> list[ipaddress.IPv4Address]:
        return [ipaddress.IPv4Address("127.0.0.1")]

    monkeypatch.setattr(http_seeds, "_resolve", resolve)
    with answering(give) as url:
        named = url.replace("127.0.0.1", "seed.invalid")
        assert await asyncio.wait_for(ask(named), 20) == WANTED
    assert hosts == [named.removeprefix("http://")]
