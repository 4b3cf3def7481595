"""The priority of this program's work against other programs."""

from __future__ import annotations

import os
import sys

MAX_NICE = 19
"""The lowest priority."""


def lower_priority(nice: int) -> None:
    """Lower the priority of the calling thread, and of all threads and processes that it starts afterwards.

    On Windows it is that of the whole process.

    Args:
        nice: from 0, not at all, to ``MAX_NICE``; a priority that is lower already stays.
    """
    if not nice:
        return
    if sys.platform == "win32":
        import psutil

        is_low = nice > MAX_NICE // 2
        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS if is_low else psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
