"""How far a job of several tasks is, and how long it will take."""

from __future__ import annotations

import time

from c2p_core.api import Progress

# Where a stage begins, as a share of one task; measured with the usual number of steps on two processor cores.
_BEGINS = {"detect": 0.0, "load": 0.02, "prepare": 0.04, "search": 0.04, "paste": 0.92, "verify": 0.94}
_SEARCH_ENDS = 0.92
# Steps before the time of one is known well enough.
_SOME_STEPS = 3


class JobProgress:
    """One task of ``task_count``, which takes ``steps`` search steps a face."""

    def __init__(self, index: int, task_count: int, steps: int) -> None:
        self._index = index
        self._task_count = task_count
        self._steps = steps
        self._began: float | None = None

    def estimate(self, progress: Progress) -> tuple[float, float | None]:
        """Fraction 0..1 of the whole job, and seconds left, None while that is unknown."""
        fraction = _BEGINS.get(progress.stage, 0.0)
        left = None
        if progress.stage in ("prepare", "search") and progress.faces:
            done = (progress.face - 1 + progress.fraction) / progress.faces
            fraction += done * (_SEARCH_ENDS - fraction)
            left = self._seconds_left(progress)
        return (self._index + fraction) / self._task_count, left

    def _seconds_left(self, progress: Progress) -> float | None:
        done = (progress.face - 1) * self._steps + progress.step
        if progress.stage == "search" and self._began is None:
            self._began = time.monotonic()
        if self._began is None or done < _SOME_STEPS:
            return None
        step = (time.monotonic() - self._began) / done
        in_task = progress.faces * self._steps - done
        # Of the tasks to come no more is known than that each has a face.
        return step * (in_task + (self._task_count - self._index - 1) * self._steps) / _SEARCH_ENDS
