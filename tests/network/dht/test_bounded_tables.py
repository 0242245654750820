"""hivemind's tables under a flood: ours hold where the library's own would grow or break."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any
from uuid import uuid4

import pytest

from paris_p2p.network.dht.bounded_tables import (
    MAX_BLACKLISTED,
    BoundedBlacklist,
    BoundedTable,
    OpenCalls,
    UnfinishedTasks,
    bind_tables,
)
from paris_p2p.network.dht.hardening import BUCKET, node_id_of
from paris_p2p.network.p2pd.daemon import peer_id

NEIGHBOURS = 20_000


def made_up() -> tuple[Any, Any]:
    """A node with a key of its own: its id, its PeerID."""
    peer = peer_id(os.urandom(32))
    return node_id_of(peer), peer


def test_made_up_nodes_do_not_fill_the_blacklist() -> None:
    blacklist = BoundedBlacklist(5.0, 2.0)
    for _ in range(MAX_BLACKLISTED + 10):
        blacklist.register_failure(os.urandom(8))
    assert len(blacklist.ban_counter) <= MAX_BLACKLISTED
    assert len(blacklist) <= MAX_BLACKLISTED


def test_who_does_not_answer_is_left_out_longer_and_longer_whatever_the_wall_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    blacklist = BoundedBlacklist(5.0, 2.0, clock=lambda: now)
    for wait in (5.0, 10.0, 20.0, 40.0, 40.0):
        blacklist.register_failure("a")
        blacklist.register_failure("a")
        monkeypatch.setattr(time, "time", lambda: -3600.0)
        now += wait - 0.1
        assert "a" in blacklist and "b" not in blacklist
        now += 0.2
        assert "a" not in blacklist
    blacklist.register_failure("a")
    blacklist.register_success("a")
    assert "a" not in blacklist


@pytest.mark.process
def test_made_up_nodes_do_not_fill_the_routing_table() -> None:
    table = BoundedTable(made_up()[0], BUCKET, depth_modulo=5)
    doubted = [table.add_or_update_node(*made_up()) for _ in range(NEIGHBOURS)]
    held = sum(len(b.nodes_to_peer_id) + len(b.replacement_nodes) for b in table.buckets)
    assert held <= 2 * BUCKET * len(table.buckets) < NEIGHBOURS / 4
    assert len(table.uid_to_peer_id) == len(table.peer_id_to_uid) == held
    for node_id, _ in filter(None, doubted):
        if node_id in table:
            del table[node_id]
    assert sum(len(b.nodes_requested_for_ping) for b in table.buckets) == 0


async def test_a_request_cancelled_before_it_begins_is_forgotten() -> None:
    tasks = UnfinishedTasks()
    ran = asyncio.create_task(asyncio.sleep(0))
    cancelled = asyncio.create_task(asyncio.sleep(60))
    tasks[1], tasks[2] = ran, cancelled
    cancelled.cancel()
    await asyncio.gather(ran, cancelled, return_exceptions=True)
    await asyncio.sleep(0)
    assert tasks == {}


@pytest.mark.parametrize("bounded", [True, False])
async def test_an_answer_to_a_call_just_given_up(bounded: bool) -> None:
    """The library's own connection ends over it: nothing from p2pd is read any more."""
    control = Connection()
    if bounded:
        bind_tables(control.control)
    given_up, awaited = control.call(), control.call()
    control.calls[given_up].cancel()
    await control.hears(given_up, awaited)
    assert control.calls[awaited].done() is bounded


class Connection:
    """hivemind's end of the connection to p2pd, and p2pd's end in our hand."""

    def __init__(self) -> None:
        from hivemind.p2p.p2p_daemon_bindings.control import ControlClient, DaemonConnector
        from hivemind.proto import p2pd_pb2

        self._messages = p2pd_pb2
        self.control = ControlClient(DaemonConnector(), _initialized_with_create=True)
        self.calls: dict[Any, asyncio.Future[bytes]] = {}

    def call(self) -> Any:
        """A call under way; its id."""
        call_id = uuid4()
        self.calls[call_id] = asyncio.get_running_loop().create_future()
        self.control._pending_calls[call_id] = self.calls[call_id]
        return call_id

    async def hears(self, *answered: Any) -> None:
        """p2pd hands on these answers, and hangs up."""
        reader = asyncio.StreamReader()
        for call_id in answered:
            message = self._messages.PersistentConnectionResponse(
                callId=call_id.bytes,
                callUnaryResponse=self._messages.CallUnaryResponse(response=b"answer"),
            )
            data = message.SerializeToString()
            reader.feed_data(bytes([len(data)]) + data)
        reader.feed_eof()
        await asyncio.gather(
            self.control._read_from_persistent_conn(reader), return_exceptions=True
        )


def test_an_open_call_is_one_that_still_waits() -> None:
    loop = asyncio.new_event_loop()
    calls = OpenCalls({1: loop.create_future(), 2: loop.create_future()})
    calls[2].cancel()
    assert 1 in calls and 2 not in calls and 3 not in calls
    assert calls.pop(2, None) is not None
    loop.close()
