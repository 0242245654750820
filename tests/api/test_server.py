"""The local API over its real routes, on peers of a memory network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from paris_p2p.api import server
from paris_p2p.api.events import decode_events, decode_numbered
from paris_p2p.api.requests import MAX_BODY
from paris_p2p.api.server import Api
from paris_p2p.errors import (
    BadContent,
    DiskFull,
    NotAvailable,
    ParisError,
    error_from,
)
from paris_p2p.peer.books.survey import read_claims
from paris_p2p.peer.doctor import machine_probes
from paris_p2p.peer.doctor.peer_checks import Row
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.sampling.picture_cache import PictureCache
from paris_p2p.peer.sampling.worker_handle import Sampler
from paris_p2p.records.codec import encode
from paris_p2p.records.keys import heads_key
from paris_p2p.records.manifest import CHUNK_SIZE, MAX_CHUNKS, MAX_SIZE, Manifest
from tests.peer.several_runs import another_run, in_both
from tests.peer.stand_in import install
from tests.peer.test_jobs import Errand
from tests.peer.worlds import PeerWorld, content_of, eventually, head_of, hold, manifest_of

TOKEN = "secret"


@asynccontextmanager
async def calling(
    called: Membership | Api, token: str = TOKEN, host: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    api = called if isinstance(called, Api) else Api(called.node, TOKEN)
    transport = httpx.ASGITransport(api.app)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url=f"http://{host}", headers=headers
    ) as client:
        yield client


async def test_a_request_without_the_token_is_refused(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer, token="wrong") as client:
        assert (await client.get("/v1/status")).status_code == 401


async def test_a_name_that_resolves_to_loopback_is_refused(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer, host="evil.example") as client:
        assert (await client.get("/v1/status")).status_code == 400


async def test_status_tells_every_slot_and_what_is_held(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    await hold(peer, 0)
    peer.heads.add(head_of(peer, 1, 7, manifest_of(0).id).seal(peer.node.identity))
    async with calling(peer) as client:
        (report,) = (await client.get("/v1/status")).json()["runs"]
    assert [slot["name"] for slot in report["slots"]] == ["expert 0", "expert 1", "router"]
    assert report["slots"][1]["head"]["step"] == 7
    assert report["slots"][1]["held"] is True
    assert report["slots"][0]["claim"] is None
    assert report["id"] == peer.run_id.hex()


async def test_fetch_streams_progress_and_ends_with_the_file(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    content = await hold(holder, 0)
    async with calling(peer) as client:
        response = await client.post("/v1/fetch", json={"contents": [content.hex()]})
    events = list(decode_events(response.text.splitlines()))
    assert {event["event"] for event in events} == {"fetching", "fetched"}
    assert events[-1]["paths"] == {content.hex(): str(peer.node.blobs.path(content))}
    assert peer.node.blobs.read(content) == content_of(0)


async def test_a_failed_fetch_ends_with_the_error_and_its_exit_code(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        response = await client.post("/v1/fetch", json={"contents": [manifest_of(0).id.hex()]})
    with pytest.raises(NotAvailable, match="no reachable peer"):
        list(decode_events(response.text.splitlines()))


async def test_a_head_that_is_only_heard_of_is_held_to_the_size_of_its_slot(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    liar, peer = await world.join(), await world.join()
    piece = liar.node.blobs.chunks.put(b"z" * CHUNK_SIZE)
    chunks = (piece, *(number.to_bytes(32, "big") for number in range(1, MAX_CHUNKS)))
    huge = Manifest(MAX_SIZE, CHUNK_SIZE, chunks, "checkpoint", "weights")
    liar.node.blobs.chunks.put(huge.encode())
    newer = head_of(liar, 0, 1, b"n" * 32, created=2000.0)
    older = head_of(liar, 0, 10**9, huge.id, created=1000.0)
    sealed = [newer.seal(liar.node.identity), older.seal(liar.node.identity)]
    await liar.swarm.store(heads_key(liar.run_id, 0), encode(sealed), liar.node.clock() + 100)
    await liar.announcer.content(huge.id)

    async with calling(peer) as client:
        offered = (await client.get("/v1/heads")).json()["heads"]["0"]
        response = await client.post("/v1/fetch", json={"contents": [huge.id.hex()]})

    assert huge.id.hex() in {head["manifest"] for head in offered}
    with pytest.raises(BadContent, match="over"):
        list(decode_events(response.text.splitlines()))
    assert not peer.node.blobs.chunks.has(piece)


async def test_a_head_that_was_offered_can_be_had_although_a_newer_one_took_its_place(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    content = holder.node.blobs.add_bytes(b"weights", "checkpoint", "weights").id
    head = head_of(holder, 0, 5, content)
    holder.heads.add(head.seal(holder.node.identity))
    await holder.announcer.everything()

    async with calling(peer) as client:
        await client.get("/v1/heads")
        peer.heads.forget(content, head.author)
        response = await client.post("/v1/fetch", json={"contents": [content.hex()]})

    assert list(decode_events(response.text.splitlines()))[-1]["event"] == "fetched"


async def test_a_fetch_that_the_quota_has_no_room_for_says_so(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    content = await hold(holder, 0)
    peer.node.config = replace(peer.node.config, store_quota=manifest_of(0).size)

    async with calling(peer) as client:
        response = await client.post("/v1/fetch", json={"contents": [content.hex()]})

    with pytest.raises(DiskFull, match=r"quota of 3\.1 MB has no room .* store_quota"):
        list(decode_events(response.text.splitlines()))


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/fetch", b"not json", "not JSON"),
        ("/v1/fetch", b"[" * 100_000, "not JSON"),
        ("/v1/fetch", b" " * (MAX_BODY + 1), "over 1048576 bytes"),
        ("/v1/fetch", b"[]", "not a JSON object"),
        ("/v1/fetch", b'{"contents": "x"}', "not a list"),
        ("/v1/fetch", b'{"contents": ["zz"]}', "not hex"),
        ("/v1/fetch", b'{"contents": ["00"]}', "not 32 bytes"),
        ("/v1/fetch", b'{"contents": [], "patience": -1}', "not a positive number"),
        ("/v1/fetch", b'{"contents": [], "patience": "x"}', "not a positive number"),
        ("/v1/jobs", b'{"kind": "painting"}', "not a kind of job"),
        ("/v1/jobs", b'{"kind": "training", "expert": "3"}', "expert is not a number"),
        ("/v1/jobs", b'{"kind": "training", "expert": true}', "expert is not a number"),
        ("/v1/jobs", b'{"kind": "training", "threads": 0}', "threads is not over 0"),
        ("/v1/jobs", b'{"kind": "training", "max_seconds": NaN}', "number NaN is out of range"),
        ("/v1/jobs", b'{"kind": "training", "max_seconds": 1e999}', "number 1e999 is out of range"),
        ("/v1/jobs", b'{"kind": "training", "max_steps": 1' + b"0" * 400 + b"}", "is out of range"),
        ("/v1/jobs", b'{"kind": "training", "expert": -1' + b"0" * 5000 + b"}", "is out of range"),
        ("/v1/fetch", b'{"contents": [], "patience": 1' + b"0" * 400 + b"}", "is out of range"),
        ("/v1/fetch", b'{"contents": [], "patience": Infinity}', "is out of range"),
        ("/v1/jobs", b'{"kind": 9007199254740994}', "is out of range"),
        ("/v1/jobs", b'{"kind": "training", "shell": 1}', "unknown field"),
        ("/v1/jobs", b'{"kind": "export"}', "folder is not a path"),
        ("/v1/jobs", b'{"kind": "export", "folder": "a\\u0000b"}', "folder is not a path"),
        ("/v1/jobs", b'{"kind": "export", "folder": "out"}', "out is not an absolute path"),
        ("/v1/jobs", b'{"kind": "export", "folder": "/"}', "/ exists"),
        ("/v1/jobs", b'{"kind": "import", "folder": "/nowhere"}', "there is no folder /nowhere"),
        ("/v1/jobs", b'{"kind": "import", "folder": "/", "name": 5}', "name is not text"),
        ("/v1/jobs", b'{"kind": "import", "folder": "/", "name": ""}', "name: must be text"),
    ],
)
async def test_a_bad_body_is_one_clear_line(
    tmp_path: Path, path: str, body: bytes, words: str
) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        response = await client.post(path, content=body)
    assert response.status_code == 400
    assert words in response.json()["message"]


async def test_a_body_of_unknown_length_is_read_no_further_than_allowed(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 100 * MAX_BODY:
            taken += 1 << 16
            yield bytes(1 << 16)

    async with calling(peer) as client:
        response = await client.post("/v1/fetch", content=endless())
    assert "over" in response.json()["message"]
    assert taken <= 2 * MAX_BODY


@pytest.mark.parametrize("length", ["²", "-1", "1e9"])
async def test_a_senseless_length_is_no_internal_error(tmp_path: Path, length: str) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        headers = {b"content-length": length.encode("latin-1")}
        assert (
            await client.post("/v1/fetch", content=b'{"contents": []}', headers=headers)
        ).status_code == 200


async def test_an_error_nobody_foresaw_ends_a_stream_with_its_reason_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(peer: Membership, content: bytes) -> int:
        raise RuntimeError("a hole in the floor")

    monkeypatch.setattr(server, "checkpoint_limit", broken)
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        response = await client.post("/v1/fetch", json={"contents": ["00" * 32]})
    with pytest.raises(ParisError, match="a hole in the floor"):
        list(decode_events(response.text.splitlines()))
    assert "Traceback" in caplog.text


async def test_an_error_nobody_foresaw_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(peer: Membership) -> None:
        raise RuntimeError("a hole in the floor")

    monkeypatch.setattr(server, "heads_report", broken)
    peer = await PeerWorld(tmp_path).join()
    transport = httpx.ASGITransport(Api(peer.node, TOKEN).app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        response = await client.get("/v1/heads", headers=headers)
    assert response.status_code == 500
    assert "a hole in the floor" in str(error_from(response.json()))


async def test_a_checkup_tells_how_many_files_the_peer_may_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> list[Row]:
        return []

    monkeypatch.setattr(server, "peer_checkup", nothing)
    monkeypatch.setattr(machine_probes, "open_files", lambda: 300)
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        (row,) = (await client.get("/v1/checkup")).json()["rows"]
    assert row["check"] == "open files" and row["seen"].startswith("300 ")


async def test_a_job_is_begun_at_once_and_its_error_is_told_to_whoever_follows(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        begun = await client.post("/v1/jobs", json={"kind": "training", "expert": 77})
        identifier = begun.json()["id"]
        response = await client.get(f"/v1/jobs/{identifier}/events")
        row = (await client.get(f"/v1/jobs/{identifier}")).json()
    with pytest.raises(NotAvailable, match="no expert 77"):
        list(decode_events(response.text.splitlines()))
    assert (row["kind"], row["slot"], row["outcome"]) == ("training", 77, "failed")
    assert row["error"]["exit_code"] == NotAvailable.exit_code
    assert row["started"] <= row["ended"]


async def test_a_peer_that_is_leaving_begins_no_job(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    api = Api(peer.node, TOKEN)
    await api.close()
    async with calling(api) as client:
        response = await client.post("/v1/jobs", json={"kind": "training"})
    assert response.status_code == 400 and "is leaving" in response.json()["message"]
    assert peer.training == set()


@pytest.mark.parametrize(
    ("request_to_draw", "words"),
    [
        ({}, "no prompt"),
        ({"prompts": []}, "0 images"),
        ({"prompts": "apple"}, "prompts has the wrong type"),
        ({"prompts": [7]}, "prompts has the wrong type"),
        ({"prompts": ["apple"], "steps": "3"}, "steps has the wrong type"),
        ({"prompts": ["apple"], "steps": True}, "steps has the wrong type"),
        ({"prompts": ["apple"], "scale": 99}, "scale of 99"),
        ({"prompts": ["apple"], "output": "/etc/passwd"}, "unknown field 'output'"),
    ],
)
async def test_what_cannot_be_drawn_begins_no_job(
    tmp_path: Path, request_to_draw: dict[str, Any], words: str
) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        response = await client.post("/v1/jobs", json={"kind": "sampling", **request_to_draw})
        jobs = (await client.get("/v1/jobs")).json()["jobs"]
    assert response.status_code == 400 and words in response.json()["message"]
    assert jobs == []


async def test_training_is_given_the_memory_of_networks_that_wait_for_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gave_way: list[bool] = []

    async def give_way(self: Sampler) -> None:
        gave_way.append(True)

    monkeypatch.setattr(Sampler, "give_way", give_way)
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        await client.post("/v1/jobs", json={"kind": "training", "expert": 77})
    assert gave_way == [True]


async def test_a_seed_begins_no_training(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    peer.node.config = replace(peer.node.config, seed_only=True)
    async with calling(peer) as client:
        response = await client.post("/v1/jobs", json={"kind": "training"})
    assert response.status_code == 400 and "is a seed" in response.json()["message"]


async def test_a_job_goes_on_without_a_listener_until_it_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    api = Api(peer.node, TOKEN)
    async with calling(api) as client:
        begun = await client.post("/v1/jobs", json={"kind": "training", "expert": 0})
        path = f"/v1/jobs/{begun.json()['id']}"
        job = api.jobs.named(begun.json()["id"])
        listener = job.follow()
        async for _, event in listener:
            if event["event"] == "published":
                break
        await listener.aclose()
        assert (await client.get(path)).json()["ended"] is None
        (told,) = (await client.get("/v1/status")).json()["runs"][0]["jobs"]

        assert (await client.delete(path)).json()["id"] == job.id
        whole = list(decode_numbered((await client.get(f"{path}/events")).text.splitlines()))
        (row,) = (await client.get("/v1/jobs")).json()["jobs"]
        number = next(n for n, event in whole if event["event"] == "released")
        rest = await client.get(f"{path}/events", headers={"last-event-id": str(number - 1)})
        same = await client.get(f"{path}/events", params={"after": number - 1})
        none = await client.get(f"{path}/events", params={"after": 10**6})

    assert told["slot"] == 0
    assert [event["event"] for _, event in whole[-2:]] == ["released", "ended"]
    assert whole[0] == (1, {**whole[0][1], "event": "claimed", "job": job.id})
    assert (row["outcome"], row["last"]["event"], row["newest"]) == ("stopped", "released", number)
    assert rest.text == same.text
    assert [event["event"] for event in decode_events(rest.text.splitlines())] == [
        "released",
        "ended",
    ]
    assert [event["event"] for event in decode_events(none.text.splitlines())] == ["ended"]
    assert await read_claims(peer.swarm, peer.run_id, 0) == []


async def test_a_peer_that_leaves_lets_its_jobs_end_in_good_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    api = Api(peer.node, TOKEN)
    async with calling(api) as client:
        begun = await client.post("/v1/jobs", json={"kind": "training", "expert": 0})
    job = api.jobs.named(begun.json()["id"])
    await eventually(lambda: peer.training)
    await api.close()
    assert (job.outcome, job.last["event"]) == ("stopped", "released")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/jobs/none", "has no job 'none'"),
        ("/v1/jobs/none/events", "has no job 'none'"),
    ],
)
async def test_a_job_that_there_is_not_is_one_clear_line(
    tmp_path: Path, path: str, words: str
) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        response = await client.get(path)
    assert response.status_code == 400 and words in response.json()["message"]


@pytest.mark.parametrize("number", ["-1", "x", "²", "1" * 40])
async def test_a_senseless_event_id_is_refused(tmp_path: Path, number: str) -> None:
    peer = await PeerWorld(tmp_path).join()
    async with calling(peer) as client:
        begun = await client.post("/v1/jobs", json={"kind": "training", "expert": 77})
        path = f"/v1/jobs/{begun.json()['id']}/events"
        response = await client.get(path, params={"after": number})
    assert response.status_code == 400 and "is no number" in response.json()["message"]


async def test_runs_are_listed_joined_and_left(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder = await world.join()
    sealed = another_run("another-run")
    other = await world.take_part(holder.node, sealed)
    await other.announcer.everything()
    peer = await world.join()
    async with calling(peer) as client:
        assert (await client.get("/v1/ping")).json() == {
            "runs": [{"id": peer.run_id.hex(), "name": "test-run"}]
        }
        joined = (await client.post("/v1/runs", json={"run": other.run_id.hex()})).json()
        assert (joined["name"], joined["training"]) == ("another-run", [])
        rows = (await client.get("/v1/runs")).json()["runs"]
        assert [row["name"] for row in rows] == ["test-run", "another-run"]
        report = (await client.get("/v1/status")).json()
        assert [run["name"] for run in report["runs"]] == ["test-run", "another-run"]
        report = (await client.get("/v1/status", params={"run": "another-run"})).json()
        assert [run["id"] for run in report["runs"]] == [other.run_id.hex()]

        left = await client.delete(f"/v1/runs/{other.run_id.hex()[:10]}")
        assert left.json() == {"left": other.run_id.hex()}
        assert list(peer.node.memberships) == [peer.run_id]


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "/v1/runs", {"run": "xyz"}, "'xyz' is not a run's id"),
        ("POST", "/v1/runs", {"run": [7]}, "'[7]' is not a run's id"),
        ("POST", "/v1/runs", {}, "is not a run's id"),
        ("DELETE", "/v1/runs/nothing", None, "no run 'nothing'"),
        ("GET", "/v1/status?run=nothing", None, "no run 'nothing'"),
        ("GET", "/v1/ping?run=nothing", None, "no run 'nothing'"),
        ("GET", "/v1/heads", None, "several runs"),
        ("POST", "/v1/jobs", {"kind": "training"}, "several runs"),
    ],
)
async def test_what_names_no_run_or_not_which_is_told_the_choices(
    tmp_path: Path, method: str, path: str, body: dict[str, Any] | None, words: str
) -> None:
    peer, _ = await in_both(PeerWorld(tmp_path), another_run("another-run"))
    async with calling(peer) as client:
        response = await client.request(method, path, json=body)
    assert response.status_code == 400
    assert words in response.json()["message"]


async def test_a_job_tells_its_run_and_each_run_its_jobs(tmp_path: Path) -> None:
    peer, _ = await in_both(PeerWorld(tmp_path), another_run("another-run"))
    async with calling(peer) as client:
        body = {"kind": "training", "expert": 77}
        begun = await client.post("/v1/jobs", params={"run": "another-run"}, json=body)
        assert begun.status_code == 200
        for name, count in (("test-run", 0), ("another-run", 1)):
            rows = (await client.get("/v1/jobs", params={"run": name})).json()["jobs"]
            assert len(rows) == count
            assert all(row["run"] != peer.run_id.hex() for row in rows)


@pytest.mark.real_time  # starlette reads files in threads of its own
async def test_the_picture_of_a_job_can_be_had_while_it_is_kept(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    api = Api(peer.node, TOKEN)
    api.jobs.begin("sampling", Errand("drawn"))
    async with calling(api) as client:
        early = await client.get("/v1/jobs/drawn/picture")
        file = PictureCache.of(peer.node.home).place("drawn")
        file.write_bytes(b"a picture")
        there = await client.get("/v1/jobs/drawn/picture")
        other = await client.get("/v1/jobs/never/picture")
    assert early.status_code == 400 and "no picture of the job drawn" in early.json()["message"]
    assert (there.content, there.headers["content-type"]) == (b"a picture", "image/png")
    assert other.status_code == 400 and "never" in other.json()["message"]
    await api.close()
