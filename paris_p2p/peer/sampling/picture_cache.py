"""The newest finished pictures, kept until the client has taken them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from paris_p2p.errors import NotAvailable
from paris_p2p.files import sweep_partial_files
from paris_p2p.home import Home

MOST_PICTURES: Final = 16
MOST_BYTES: Final = 256 << 20
"""Most pictures in the cache, and most bytes. The newest picture stays, however large it is."""


class PictureCache:
    """A folder of pictures by job id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, home: Home) -> PictureCache:
        """The cache of the peer that owns `home`."""
        return cls(home.cache_dir / "pictures")

    def place(self, job: str) -> Path:
        """The path for a job's picture. Deletes the oldest pictures beyond the limits first."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep()
        return self._folder / f"{job}.png"

    def find(self, job: str) -> Path:
        """The picture of a job. NotAvailable where it drew none, or it had to make room."""
        file = self._folder / f"{job}.png"
        if not file.is_file():
            raise NotAvailable(f"there is no picture of the job {job}", "Have it drawn again")
        return file

    def _sweep(self) -> None:
        sweep_partial_files(self._folder)
        by_age = sorted(
            ((path.stat().st_mtime_ns, path) for path in self._folder.glob("*.png")), reverse=True
        )
        size = 0
        for count, (_, path) in enumerate(by_age, 1):
            size += path.stat().st_size
            if count > 1 and (count >= MOST_PICTURES or size > MOST_BYTES):
                path.unlink(missing_ok=True)
