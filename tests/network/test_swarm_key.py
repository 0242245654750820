"""The key of a private swarm as a file: it comes back, and nothing else passes for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.network import swarm_key as module
from paris_p2p.network.swarm_key import SwarmKey

KEY = SwarmKey(bytes(range(32)))
OTHER_KEY = SwarmKey(bytes(32))


def test_a_swarm_key_file_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "swarm.key"
    KEY.save(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("/key/swarm/psk/1.0.0/\n/base16/\n")
    loaded = SwarmKey.load(file)
    assert loaded.proof(b"", b"", b"", b"") == KEY.proof(b"", b"", b"", b"")


def test_a_swarm_key_never_replaces_a_file(tmp_path: Path) -> None:
    KEY.save(tmp_path / "swarm.key")
    with pytest.raises(UsageProblem, match="exists already"):
        OTHER_KEY.save(tmp_path / "swarm.key")


NOT_KEYS = {
    "empty": "",
    "only digits": "ab" * 32,
    "too short": module._FILE_HEAD + "ab" * 31,
    "too long": module._FILE_HEAD + "ab" * 33,
    "not hex": module._FILE_HEAD + "xy" * 32,
    "another version": module._FILE_HEAD.replace("1.0.0", "2.0.0") + "ab" * 32,
    "not text": "\xff\xfe",
}


@pytest.mark.parametrize("content", NOT_KEYS.values(), ids=NOT_KEYS.keys())
def test_what_is_no_swarm_key_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "swarm.key"
    file.touch(mode=0o600)
    file.write_text(content)
    with pytest.raises(BadContent, match="not a swarm key file"):
        SwarmKey.load(file)


def test_a_swarm_key_open_to_others_or_absent_is_refused(tmp_path: Path) -> None:
    KEY.save(tmp_path / "swarm.key")
    (tmp_path / "swarm.key").chmod(0o644)
    with pytest.raises(UsageProblem, match="chmod 600"):
        SwarmKey.load(tmp_path / "swarm.key")
    with pytest.raises(UsageProblem, match="cannot read the swarm key"):
        SwarmKey.load(tmp_path / "none.key")
