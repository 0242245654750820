"""The folder a peer owns: its paths, and its lock.

One process at a time owns a home (`Home.lock`).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from paris_p2p.errors import UsageProblem
from paris_p2p.files import lock_holder, locked, room_for

TALK = "Talk to that peer with any other command, or give this one another --home"


def default_home() -> Path:
    """$PARIS_HOME, or the platform's folder for user data."""
    chosen = os.environ.get("PARIS_HOME")
    if chosen:
        return Path(chosen)
    try:
        return platformdirs.user_data_path("paris-p2p", appauthor=False)
    except RuntimeError as error:
        raise _no_home_directory("this user") from error


def absolute(path: Path | str) -> Path:
    """`path` as an absolute path, `~` and `~name` replaced. UsageProblem if that is impossible."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise _no_home_directory(str(path)) from error
    except FileNotFoundError as error:
        raise UsageProblem(
            f"the current folder is gone, and {path} is relative to it",
            "Change to one that exists, or give an absolute path",
        ) from error


def _no_home_directory(whose: str) -> UsageProblem:
    return UsageProblem(
        f"there is no home directory for {whose}",
        "Set HOME, or give an absolute path with --home or PARIS_HOME",
    )


class Home:
    """The paths of one peer's folder. Making a Home touches no disk; `create` does."""

    def __init__(self, path: Path | str) -> None:
        self.path = absolute(path)

    @property
    def identity_file(self) -> Path:
        """The peer's key, mode 0600."""
        return self.path / "identity.key"

    @property
    def contributions_dir(self) -> Path:
        """The contribution logs of this home's identities, past and present."""
        return self.path / "contributions"

    @property
    def lock_file(self) -> Path:
        """Held by the process that owns this home; contains its pid."""
        return self.path / "lock"

    @property
    def config_file(self) -> Path:
        """The user's settings: see config.py."""
        return self.path / "config.toml"

    @property
    def store_dir(self) -> Path:
        """Content by hash: chunks and manifests."""
        return self.path / "store"

    @property
    def runs_dir(self) -> Path:
        """This peer's knowledge of its runs: the heads it has seen."""
        return self.path / "runs"

    @property
    def runs_file(self) -> Path:
        """The runs that this home has joined: see peer/run_choice.py."""
        return self.path / "runs.json"

    @property
    def snapshots_dir(self) -> Path:
        """Private training state, one folder per run and expert."""
        return self.path / "snapshots"

    @property
    def cache_dir(self) -> Path:
        """Files that may be deleted at any time: they are made again from the store."""
        return self.path / "cache"

    @property
    def import_dir(self) -> Path:
        """Where an import works. It is emptied at every start."""
        return self.cache_dir / "import"

    @property
    def api_file(self) -> Path:
        """Address and token of the running peer's local API."""
        return self.path / "api.json"

    @property
    def port_file(self) -> Path:
        """The port used last time, so that this peer's address stays the same."""
        return self.path / "port"

    @property
    def log_file(self) -> Path:
        return self.path / "peer.log"

    @property
    def reach_file(self) -> Path:
        """How others could reach the peer when it ran last: public, private or unknown."""
        return self.path / "reach"

    @property
    def refusals_file(self) -> Path:
        """Contents that were tried and refuted: they are never tried again."""
        return self.path / "refusals.json"

    @property
    def known_peers_file(self) -> Path:
        """Addresses that answered before: a way back in when every bootstrap is gone."""
        return self.path / "known-peers.json"

    def create(self) -> None:
        """Make the folder and its subfolders, mode 0700. Existing ones are left as they are.

        UsageProblem for a home of another user, who could not open the new files, and for one that
        everybody may write: anybody who plants files here controls this peer.
        """
        self._refuse_foreign()
        folders = (self.path, self.store_dir, self.runs_dir, self.snapshots_dir, self.cache_dir)
        try:
            with room_for(self.path):
                for folder in folders:
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageProblem(
                f"cannot make the home {self.path}: {error.strerror}",
                "Choose a folder of your own with --home or PARIS_HOME",
            ) from error
        if any(folder.stat().st_mode & 0o002 for folder in folders):
            raise UsageProblem(
                f"the home {self.path} can be written by everybody on this machine",
                f"Run: chmod -R o-w {self.path}",
            )

    def foreign_owner(self) -> str:
        """The user who owns this home, if not the one who runs this process; else ""."""
        try:
            owner = self.path.stat().st_uid
        except OSError:
            return ""
        return "" if owner == os.geteuid() else _user_name(owner)

    @contextmanager
    def lock(self, remedy: str = TALK) -> Iterator[None]:
        """Own this home inside the block. HomeBusy, with `remedy`, when another process does.

        UsageProblem for a home of another user.

        The kernel releases the lock when the process ends, however it does.
        """
        self._refuse_foreign()
        with locked(self.lock_file, f"the home {self.path}", remedy):
            yield

    def holder(self) -> int | None:
        """The process that owns this home now, as `files.lock_holder`; None for none."""
        return lock_holder(self.lock_file)

    def _refuse_foreign(self) -> None:
        if owner := self.foreign_owner():
            raise UsageProblem(
                f"the home {self.path} belongs to {owner}",
                "Run as that user, or name a folder inside it with --home",
            )


def _user_name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with the number {uid}"
