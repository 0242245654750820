"""`paris-peer doctor`: what works here, what does not, and how to fix it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from paris_p2p import config
from paris_p2p.cli.options import BootstrapOption, HomeOption, JsonOption, RunOption, home_of
from paris_p2p.cli.terminal import Cell, write_json, write_table
from paris_p2p.errors import ParisError
from paris_p2p.home import Home

if TYPE_CHECKING:
    from paris_p2p.api.calling import Client
    from paris_p2p.peer.doctor.peer_checks import Row

BAD_EXIT = 1
"""Exit code when a line is bad."""

COLOURS = {"ok": "green", "warning": "yellow", "bad": "red"}


def doctor(
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    run: RunOption = None,
    local: Annotated[
        bool, typer.Option("--local", help="Check only this machine, and start no peer.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this machine and this home's peer: port, reachability, clock, disk, memory, GPU.

    Asks the running peer, or starts one for the check. Other peers are asked to dial back. The
    exit code is 1 when a line is bad, otherwise 0. Every bad line has a remedy.

        paris-peer doctor

        paris-peer doctor --bootstrap /ip4/203.0.113.5/tcp/31337/p2p/12D3Koo...
    """
    place = home_of(home)
    chosen = config.load(place, {"bootstrap": bootstrap})
    rows = list(_examine(place, chosen, run, local))
    _print(rows, as_json)
    if any(row.state == "bad" for row in rows):
        raise typer.Exit(BAD_EXIT)


def _examine(home: Home, chosen: config.PeerConfig, run: str | None, local: bool) -> Iterator[Row]:
    """All rows: this machine's, then those that need a peer, then those about training."""
    from paris_p2p.api.client import running_client
    from paris_p2p.peer.doctor import machine_checks, machine_probes

    client = running_client(home)
    yield from _machine_rows(home, chosen, running=client is not None)
    rows, need = ([], 0) if local else _peer_rows(home, chosen, run, client)
    if all(row.check != machine_checks.FILES for row in rows):
        yield machine_checks.files_row(machine_probes.open_files())
    yield from rows
    yield machine_checks.memory_row(machine_probes.available_memory(), need or 0)
    if need is not None:
        yield machine_checks.gpu_row(machine_probes.training_devices(), need)


def _machine_rows(home: Home, chosen: config.PeerConfig, running: bool) -> Iterator[Row]:
    from paris_p2p.peer.doctor import machine_checks, machine_probes

    yield machine_checks.version_row(machine_probes.versions())
    yield machine_checks.disk_row(
        machine_probes.free_space(home), machine_probes.store_size(home), chosen.store_quota
    )
    yield _sync_row(home)
    if not running:
        yield machine_checks.port_row(
            chosen.port, machine_probes.port_trouble(chosen.listen, chosen.port)
        )
    yield machine_checks.udp_row(machine_probes.udp_trouble(chosen.listen))
    yield from machine_checks.bootstrap_rows(
        asyncio.run(machine_probes.bootstrap_troubles(chosen.bootstrap))
    )


def _sync_row(home: Home) -> Row:
    from paris_p2p.peer.doctor import machine_checks, machine_probes

    if owner := home.foreign_owner():
        return machine_checks.untried_row(owner)
    try:
        return machine_checks.sync_row(machine_probes.sync_time(home))
    except ParisError as error:
        return machine_checks.sync_row(None, error.message)
    except OSError as error:
        return machine_checks.sync_row(None, f"{error.filename or home.path}: {error.strerror}")


def _peer_rows(
    home: Home, chosen: config.PeerConfig, run: str | None, client: Client | None
) -> tuple[list[Row], int | None]:
    """The rows from this home's peer, and the bytes of memory that its run's experts take.

    0 bytes when the run is not known, None for a bootstrap, which never trains. If no peer runs,
    one is started for the check. If that fails, a row says so.
    """
    from paris_p2p.api.client import connected
    from paris_p2p.peer.doctor.peer_checks import CheckState, Row

    try:
        if client is not None:
            return _ask(replace(client, run=run) if run else client)
        with connected(home, chosen.bootstrap, run, _traceless(home, chosen)) as started:
            return _ask(started)
    except ParisError as error:
        return [Row("peer", CheckState.BAD, error.message, error.remedy)], 0


def _traceless(home: Home, chosen: config.PeerConfig) -> list[str]:
    """Options of a peer that stores no content in the home and does not change its port."""
    from paris_p2p.peer import last_session
    from paris_p2p.peer.doctor import machine_probes

    port = chosen.port or machine_probes.free_port(chosen.listen, last_session.read_port(home))
    return ["--no-seed-shipped-run", "--port", str(port)]


def _ask(client: Client) -> tuple[list[Row], int | None]:
    from paris_p2p.peer.doctor.peer_checks import CheckState, Row

    report = client.get("/v1/checkup")
    rows = [Row(**{**row, "state": CheckState(row["state"])}) for row in report["rows"]]
    return rows, report["training_bytes"]


def _print(rows: list[Row], as_json: bool) -> None:
    if as_json:
        write_json([asdict(row) for row in rows])
        return
    table: list[tuple[Cell, ...]] = []
    for row in rows:
        words = row.seen if row.state == "ok" or not row.remedy else f"{row.seen}\n{row.remedy}"
        table.append((row.check, (row.state, COLOURS[row.state]), words))
    write_table(("check", "state", "found, and what to do about it"), table)
