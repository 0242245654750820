"""The limit of open files: raised as far as it may be, never lowered."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from paris_p2p.network.open_files import WANTED, raised

ENDLESS = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "limit"),
    [
        (1024, 4096, 4096),
        (1024, 1 << 20, WANTED),
        (1024, ENDLESS, WANTED),
        (1 << 20, 1 << 20, 1 << 20),
        (ENDLESS, ENDLESS, ENDLESS),
        (256, 256, 256),
    ],
)
def test_the_limit_goes_up_and_never_down(soft: int, hard: int, limit: int) -> None:
    assert raised(soft, hard) == limit


@pytest.mark.process
def test_a_process_gets_the_limit_it_may_have() -> None:
    script = (
        "import resource as r\n"
        "from paris_p2p.network.open_files import allow_many\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (256, 512))\n"
        "allow_many()\n"
        "print(*r.getrlimit(r.RLIMIT_NOFILE))\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert told.stdout.split() == [b"512", b"512"]
