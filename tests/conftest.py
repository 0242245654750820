"""What every test needs of its process, and the processes that it starts inherit."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""The threads of torch fight for the cores, as pytest has a worker for each."""

signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""Under nohup it would be ignored, and tests end commands with it."""
