"""The peers of these tests live on a clock that jumps: no test waits for what only takes time."""

from tests.jumping import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
