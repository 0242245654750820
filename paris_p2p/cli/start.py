"""`paris-peer start`: be a peer of the swarm until stopped."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paris_p2p import config
from paris_p2p.cli.options import (
    BootstrapOnlyOption,
    HomeOption,
    JsonOption,
    ReplicateOption,
    SeedShippedRunOption,
    home_of,
    with_settings,
)
from paris_p2p.cli.output import JsonLines, PlainLines
from paris_p2p.cli.signals import ending_signals, hear_only_ctrl_c
from paris_p2p.cli.terminal import Enduring
from paris_p2p.cli.training import show
from paris_p2p.errors import Interrupted, UsageProblem
from paris_p2p.home import Home
from paris_p2p.identity import peer_id_of

if TYPE_CHECKING:
    from paris_p2p.network.swarm import Swarm
    from paris_p2p.peer.bootstrap import Bootstrap
    from paris_p2p.peer.membership import Membership
    from paris_p2p.peer.node import Node
    from paris_p2p.peer.training.unattended import Tell

TRAINING_PERIOD = 60.0
"""Seconds between two plain lines about the progress of unattended training."""


@with_settings
def start(
    *,
    home: HomeOption = None,
    seed_shipped_run: SeedShippedRunOption = None,
    replicate: ReplicateOption = True,
    bootstrap_only: BootstrapOnlyOption = False,
    as_json: JsonOption = False,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True)] = False,
    **flags: object,
) -> None:
    """Join the swarm, serve what this peer holds, and stay.

    Without --bootstrap it rejoins through peers it met before; where there are none, it begins a
    new swarm. Either way it then serves the shipped run.

        paris-peer start

        paris-peer start --bootstrap /ip4/203.0.113.5/tcp/31337/p2p/12D3Koo...

        paris-peer start --train --bootstrap /ip4/203.0.113.5/tcp/31337/p2p/12D3Koo...

        paris-peer start --seed-only --store-quota "200 GB" --bootstrap /ip4/203.0.113.5/...

        paris-peer start --bootstrap-only --port 31337
    """
    place = home_of(home)
    chosen = config.load(place, flags)
    _refuse_contradictions(chosen, bootstrap_only, replicate)
    if bootstrap_only and not seed_shipped_run:
        asyncio.run(_be_bootstrap(place, chosen, as_json))
        return
    seed = seed_shipped_run if seed_shipped_run is not None else not chosen.bootstrap
    copies = replicate and not bootstrap_only
    asyncio.run(_live(place, chosen, seed, copies, as_json, until_stdin_closes))


def _refuse_contradictions(
    chosen: config.PeerConfig, bootstrap_only: bool, replicate: bool
) -> None:
    """UsageProblem for flags that ask for opposite things."""
    if chosen.seed_only and (bootstrap_only or not replicate):
        other = "--bootstrap-only" if bootstrap_only else "--no-replicate"
        raise UsageProblem(
            f"--seed-only and {other} exclude each other",
            "A seed copies and serves content: leave one of them out",
        )
    if bootstrap_only and chosen.train:
        raise UsageProblem(
            "--bootstrap-only and --train exclude each other", "A bootstrap never trains"
        )


async def _be_bootstrap(home: Home, chosen: config.PeerConfig, as_json: bool) -> None:
    """Host the bootstrap until a signal."""
    from paris_p2p.api.peer_process import host_bootstrap

    stop, ready = asyncio.Event(), asyncio.Event()

    def on_ready(bootstrap: Bootstrap) -> None:
        ready.set()
        _tell_bootstrap_ready(bootstrap, as_json)

    await _until_signal(host_bootstrap(home, chosen, stop, on_ready), stop, ready)


async def _live(
    home: Home,
    chosen: config.PeerConfig,
    seed: bool,
    replicate: bool,
    as_json: bool,
    until_stdin_closes: bool,
) -> None:
    """Host the peer until a signal, or until standard input closes and no command uses it."""
    from paris_p2p.api.peer_process import host_peer

    stop, leave, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def on_ready(node: Node[Membership]) -> None:
        ready.set()
        _tell_ready(node, as_json)

    hosting = host_peer(
        home,
        chosen,
        stop,
        leave,
        on_ready,
        seed=seed,
        replicate=replicate and not until_stdin_closes,
        train=_tell_training(as_json) if chosen.train and not until_stdin_closes else None,
    )
    await _until_signal(hosting, stop, ready, leave if until_stdin_closes else None)


async def _until_signal(
    host: Coroutine[Any, Any, None],
    stop: asyncio.Event,
    ready: asyncio.Event,
    leave: asyncio.Event | None = None,
) -> None:
    """Run `host` until it ends. A signal sets `stop` if the host is ready, else cancels it.

    A second Ctrl-C ends this process at once. The end of standard input does the same with `leave`.
    """
    hosting = asyncio.create_task(host)

    def end(way: asyncio.Event) -> None:
        """A ready peer leaves in good order; one that is still joining is cancelled."""
        if ready.is_set():
            way.set()
        else:
            hosting.cancel()

    def heard() -> None:
        hear_only_ctrl_c()
        end(stop)

    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, heard)
    if leave is not None:
        loop.add_reader(sys.stdin, _at_end, loop, lambda: end(leave))
    try:
        await hosting
    except asyncio.CancelledError as error:
        raise Interrupted("stopped before the peer was up") from error


def _at_end(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """Read some of standard input; at its end, `act`."""
    if not os.read(sys.stdin.fileno(), 1024):
        loop.remove_reader(sys.stdin)
        act()


def _tell_ready(node: Node[Membership], as_json: bool) -> None:
    name, memberships = peer_id_of(node.identity.author), list(node.memberships.values())
    served = len(set().union(*(one.announcer.served() for one in memberships)))
    if as_json:
        runs = [one.run_id.hex() for one in memberships]
        _tell_up(node.swarm, name, runs, served, node.alarms.all())
        return
    _output().say(
        f"peer {name} of run {', '.join(one.run.name for one in memberships)}, "
        f"home {node.home.path}",
        f"serves {served} contents; {node.swarm.peers()} other peers known",
        *_warnings(node.alarms.all()),
        *_how_to_join(node.swarm.addresses()),
    )


def _tell_training(as_json: bool) -> Tell:
    reporter = JsonLines(_output()) if as_json else PlainLines(_output(), TRAINING_PERIOD)
    return lambda event: show(reporter, event)


def _tell_bootstrap_ready(bootstrap: Bootstrap, as_json: bool) -> None:
    name = peer_id_of(bootstrap.identity.author)
    if as_json:
        runs = [run_id.hex() for run_id in bootstrap.runs]
        _tell_up(bootstrap.swarm, name, runs, 0, bootstrap.alarms.all())
        return
    _output().say(
        f"bootstrap {name}, home {bootstrap.home.path}",
        f"serves every run, holds no content; {bootstrap.swarm.peers()} other peers known",
        *_warnings(bootstrap.alarms.all()),
        *_how_to_join(bootstrap.swarm.addresses()),
    )


def _tell_up(
    swarm: Swarm, name: str, runs: Sequence[str], served: int, warnings: Sequence[str]
) -> None:
    """Write the JSON line that says that this peer is up."""
    ready = {
        "event": "ready",
        "peer": name,
        "addresses": swarm.addresses(),
        "runs": runs,
        "served": served,
        "online": swarm.online(),
        "warnings": list(warnings),
    }
    _output().say_json(ready)


def _warnings(warnings: Sequence[str]) -> list[str]:
    return [f"warning: {warning}" for warning in warnings]


def _how_to_join(addresses: Sequence[str]) -> list[str]:
    commands = [f"  paris-peer start --bootstrap {address}" for address in addresses]
    return ["others join with", *commands, "Ctrl-C leaves the swarm"]


def _output() -> Enduring:
    """Standard output; a reader that pauses must not stop the peer."""
    return Enduring(sys.stdout, waits=False)
