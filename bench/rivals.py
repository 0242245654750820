"""Other programs that move a file between two processes, for `bench.transfer`.

`python -m bench.rivals FILE` seeds FILE with libtorrent until its standard input ends. It first
prints one JSON line {"port"}.
"""

from __future__ import annotations

import http.server
import importlib
import json
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import ROOT
from paris_p2p import child

PIECE = 1 << 20
POLL = 0.002
TORRENT_SETTINGS = {
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
}
"""TCP only and no other peers; all other settings are libtorrent's defaults."""

Fetch = Callable[[Path], None]
"""Fetches the file into a folder."""


class Missing(Exception):
    """A program is not installed; the message says how to get it."""


@contextmanager
def torrent(file: Path) -> Iterator[Fetch]:
    """Move the file from one libtorrent process to another, over TCP."""
    try:
        libtorrent: Any = importlib.import_module("libtorrent")
    except ImportError as error:
        raise Missing("libtorrent is not installed: pip install 'paris-p2p[bench]'") from error
    command = child.command("bench.rivals", str(file))
    with subprocess.Popen(
        command,
        env=child.environment(ROOT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as seeder:
        assert seeder.stdin is not None and seeder.stdout is not None
        port = json.loads(seeder.stdout.readline())["port"]
        info = _torrent_of(libtorrent, file)

        def fetch(folder: Path) -> None:
            session = libtorrent.session(TORRENT_SETTINGS)
            handle = session.add_torrent({"ti": info, "save_path": str(folder)})
            handle.connect_peer(("127.0.0.1", port))
            while not handle.status().is_seeding:
                time.sleep(POLL)

        try:
            yield fetch
        finally:
            seeder.stdin.close()


def _torrent_of(libtorrent: Any, file: Path) -> Any:
    files = libtorrent.file_storage()
    libtorrent.add_files(files, str(file))
    made = libtorrent.create_torrent(files, PIECE)
    libtorrent.set_piece_hashes(made, str(file.parent))
    return libtorrent.torrent_info(made.generate())


def _seed(file: Path) -> None:
    libtorrent: Any = importlib.import_module("libtorrent")
    session = libtorrent.session(TORRENT_SETTINGS)
    given = {
        "ti": _torrent_of(libtorrent, file),
        "save_path": str(file.parent),
        "flags": libtorrent.torrent_flags.seed_mode,
    }
    session.add_torrent(given)
    print(json.dumps({"port": session.listen_port()}), flush=True)
    sys.stdin.read()


@contextmanager
def aria2(file: Path) -> Iterator[Fetch]:
    """Fetch the file with aria2 from a plain HTTP server: nginx if installed, else Python's.

    There is no encryption and no hashing.
    """
    if shutil.which("aria2c") is None:
        raise Missing("aria2 is not installed: apt-get install aria2")
    with web_server(file.parent) as port:

        def fetch(folder: Path) -> None:
            url = f"http://127.0.0.1:{port}/{file.name}"
            quiet = ("--quiet", "--no-conf", "--file-allocation=none", "--dir", str(folder))
            subprocess.run(["aria2c", *quiet, url], check=True)

        yield fetch


def web_server_name() -> str:
    return "nginx" if shutil.which("nginx") else "http.server"


@contextmanager
def web_server(folder: Path) -> Iterator[int]:
    """A web server over `folder`; yields its port on loopback."""
    with _nginx(folder) if shutil.which("nginx") else _python_server(folder) as port:
        yield port


@contextmanager
def _nginx(folder: Path) -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as probe:
        port = probe.server_port
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}\n"
        f"user root; http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; "
        f"root {folder}; }} }}\n"
    )
    server = subprocess.Popen(["nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        while not (folder / "nginx.pid").exists() and server.poll() is None:
            time.sleep(POLL)
        yield port
    finally:
        server.terminate()
        server.wait()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Log nothing: the output would mix with the figures."""


@contextmanager
def _python_server(folder: Path) -> Iterator[int]:
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


warnings.filterwarnings("ignore", category=DeprecationWarning, module=__name__)

if __name__ == "__main__":
    _seed(Path(sys.argv[1]))
