from __future__ import annotations

import errno
import os
import pwd
import threading
from pathlib import Path

import pytest

from paris_p2p.errors import DiskFull, HomeBusy, UsageProblem
from paris_p2p.home import Home, default_home
from tests.test_files import failing, start, stop

HOLD_LOCK = """
import sys
from paris_p2p.home import Home
with Home(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def test_everything_lies_in_the_home(home: Home) -> None:
    places = [name for name in dir(Home) if name.endswith(("_file", "_dir"))]
    paths = {getattr(home, name) for name in places}
    assert len(paths) == len(places)
    assert all(home.path in path.parents for path in paths)


def test_a_home_is_private(home: Home) -> None:
    for folder in (home.path, home.store_dir, home.runs_dir, home.snapshots_dir, home.cache_dir):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_making_a_home_again_changes_nothing(home: Home) -> None:
    (home.runs_dir / "kept").touch()
    home.create()
    assert (home.runs_dir / "kept").exists()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageProblem, match="cannot make the home"):
        Home(tmp_path / "file").create()


def test_the_default_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARIS_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("PARIS_HOME")
    assert default_home().name == "paris-p2p"


def test_without_a_home_directory_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user id that nobody knows, in a container."""
    for name in ("PARIS_HOME", "HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for path in ("~/.paris", "~nosuchuser/x"):
        with pytest.raises(UsageProblem, match=r"there is no home directory for ~.* HOME"):
            Home(path)
    with pytest.raises(UsageProblem, match="there is no home directory for "):
        Home(default_home())


def unknown(user: int) -> pwd.struct_passwd:
    raise KeyError(user)


def test_a_relative_home_in_a_folder_that_is_gone_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageProblem, match="the current folder is gone"):
        Home("home")
    assert Home("/home").path == Path("/home")


def test_a_second_process_is_told_who_holds_the_home(home: Home) -> None:
    holder = start(HOLD_LOCK, home.path)
    try:
        with pytest.raises(HomeBusy) as refusal, home.lock():
            pass
        assert refusal.value.message == f"the home {home.path} is in use by process {holder.pid}"
        assert "--home" in refusal.value.remedy
    finally:
        stop(holder)


def test_a_killed_process_leaves_the_home_free(home: Home) -> None:
    stop(start(HOLD_LOCK, home.path))
    with home.lock():
        assert home.lock_file.read_text() == str(os.getpid())


def test_who_holds_a_home_is_seen_without_taking_it(home: Home) -> None:
    assert home.holder() is None
    holder = start(HOLD_LOCK, home.path)
    try:
        assert home.holder() == holder.pid
    finally:
        stop(holder)
    assert home.holder() is None
    with home.lock():
        assert home.holder() == os.getpid()


def test_who_only_looks_keeps_nobody_from_taking_the_home(home: Home) -> None:
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            home.holder()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            with home.lock():
                pass
    finally:
        ended.set()
        looking.join()


def test_a_home_of_another_user_is_neither_made_nor_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    assert home.foreign_owner() == "" == Home(tmp_path / "not-yet").foreign_owner()
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(UsageProblem, match="belongs to"):
        home.create()
    with pytest.raises(UsageProblem, match="belongs to"), home.lock():
        pass
    assert list(tmp_path.iterdir()) == []
    Home(tmp_path / "inside").create()


def test_the_lock_is_taken_and_given_back_within_a_process(home: Home) -> None:
    with home.lock(), pytest.raises(HomeBusy), home.lock():
        pass
    with home.lock():
        pass


@pytest.mark.parametrize("call", ["open", "write"])
def test_a_full_disk_at_the_lock_is_said(
    home: Home, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(DiskFull, match="no room left on the disk"), home.lock():
        pass
    monkeypatch.undo()
    with home.lock():
        pass


def test_a_home_that_everybody_may_write_is_refused(home: Home) -> None:
    home.store_dir.chmod(0o777)
    with pytest.raises(UsageProblem, match=r"by everybody .*chmod -R o-w"):
        home.create()
