from __future__ import annotations

from pathlib import Path

from paris_p2p.peer.training.snapshots import (
    MOST_KEPT,
    prune,
    set_aside,
    snapshots,
    sweep_unfinished,
)
from paris_p2p.training.worker import alone_in


def files(folder: Path, *steps: int) -> list[Path]:
    made = [folder / f"snapshot-{step:09d}.safetensors" for step in steps]
    for path in made:
        path.write_bytes(path.name.encode())
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_all_states_count_the_furthest_first_and_strange_files_do_not(tmp_path: Path) -> None:
    few, many = files(tmp_path, 5, 2**40)
    for name in ("snapshot-x", "checkpoint-000000099", "failed-000000099"):
        (tmp_path / f"{name}.safetensors").touch()
    assert snapshots(tmp_path) == [many, few]


def test_a_bounded_number_stays_however_often_a_slot_was_taken_over(tmp_path: Path) -> None:
    made = files(tmp_path, *range(10, 100, 10))
    prune(tmp_path)
    assert snapshots(tmp_path) == made[::-1][:MOST_KEPT]


def test_the_last_that_failed_is_kept_under_another_name(tmp_path: Path) -> None:
    sound, first, second, third = files(tmp_path, 1, 2, 3, 4)
    assert set_aside(tmp_path, [first]) == tmp_path / "failed-000000002.safetensors"
    kept = set_aside(tmp_path, [third, second])
    assert kept is not None and kept.read_bytes() == third.name.encode()
    assert names(tmp_path) == ["failed-000000004.safetensors", sound.name]
    assert set_aside(tmp_path, [first]) is None


def test_what_killed_workers_left_half_written_goes_except_where_one_is_at_work(
    tmp_path: Path,
) -> None:
    killed, busy = tmp_path / "run" / "slot-0", tmp_path / "run" / "slot-1"
    for folder in (killed, busy):
        folder.mkdir(parents=True)
    (whole,) = files(killed, 10)
    with alone_in(busy):
        for folder in (killed, busy):
            (folder / ".snapshot-000000020.safetensors.0a.partial").write_bytes(b"half")
        sweep_unfinished(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.partial")] == [
        ".snapshot-000000020.safetensors.0a.partial"
    ]
    assert (busy / ".snapshot-000000020.safetensors.0a.partial").exists() and whole.exists()
    with alone_in(busy):
        assert not list(busy.glob(".*.partial"))
