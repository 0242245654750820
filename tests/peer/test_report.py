from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.peer.report import heads_report, replication_row, status_report
from paris_p2p.records.head import Head
from paris_p2p.records.presence import SEED
from tests.peer.worlds import PeerWorld, head_of, hold


@given(st.lists(st.integers(0, 9)), st.integers(1, 9))
def test_how_well_content_is_replicated(counts: list[int], replicas: int) -> None:
    row = replication_row([{"providers": count} for count in counts], replicas)
    assert row["contents"] == len(counts)
    assert row["below_replicas"] == sum(count < replicas for count in counts)
    assert row["single_provider"] == counts.count(1)
    assert row["without_provider"] == counts.count(0)


async def test_status_tells_role_quota_and_what_is_thin(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, seed = await world.join(), await world.join()
    seed.announcer.role = SEED
    seed.node.config = replace(seed.node.config, store_quota=12345, seed_only=True)
    await hold(one, 0)
    await hold(seed, 0)
    await hold(seed, 1)
    await one.announcer.everything()
    await seed.announcer.everything()

    report = await status_report(seed.node, [seed])
    (run,) = report["runs"]

    assert report["peer"]["role"] == "seed"
    assert report["peer"]["quota_bytes"] == 12345
    assert report["peer"]["store_bytes"] == seed.node.blobs.usage()
    assert run["replication"] == {
        "replicas": 3,
        "contents": 2,
        "without_provider": 0,
        "single_provider": 1,
        "below_replicas": 2,
    }
    roles = {row["role"] for row in (await status_report(one.node, [one]))["runs"][0]["peers"]}
    assert roles == {"peer", "seed"}


async def test_a_newcomer_is_told_of_the_older_head_when_the_newest_died_with_its_author(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    author, keeper, newcomer = [await world.join() for _ in range(3)]

    async def published(step: int) -> Head:
        content = author.node.blobs.add_bytes(bytes([step]), "checkpoint", "weights.safetensors").id
        head = head_of(author, 1, step, content, created=float(step))
        author.heads.add(head.seal(author.node.identity), own=True)
        await author.announcer.content(content)
        return head

    older = await published(40)
    await keeper.survey()
    await keeper.fetch(older.manifest)
    await keeper.announcer.content(older.manifest)
    newest = await published(80)
    world.network.drop(author.node.identity.author)

    rows = (await heads_report(newcomer))["heads"]["1"]

    assert [row["manifest"] for row in rows] == [newest.manifest.hex(), older.manifest.hex()]
    assert [row["held"] for row in rows] == [False, False]
    assert [row["held"] for row in (await heads_report(keeper))["heads"]["1"]] == [False, True]
