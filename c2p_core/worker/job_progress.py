"""Estimates the progress of a job of several tasks, and the time that remains."""

from __future__ import annotations

import time

from c2p_core.api import Progress

# Start of each stage, as a fraction of one task; measured with the default number of steps on two processor cores.
_STAGE_STARTS = {"detect": 0.0, "load": 0.02, "prepare": 0.04, "search": 0.04, "paste": 0.92, "verify": 0.94}
_SEARCH_END = 0.92
# Steps before the time of a step can be estimated.
_MIN_STEPS = 3


class JobProgress:
    """The progress of one task of ``task_count``, with ``steps`` search steps per face."""

    def __init__(self, index: int, task_count: int, steps: int) -> None:
        self._index = index
        self._task_count = task_count
        self._steps = steps
        self._started_at: float | None = None

    def estimate(self, progress: Progress) -> tuple[float, float | None]:
        """Estimate the fraction 0..1 of the whole job, and the seconds left, None while unknown."""
        fraction = _STAGE_STARTS.get(progress.stage, 0.0)
        seconds_left = None
        if progress.stage in ("prepare", "search") and progress.faces:
            done = (progress.face - 1 + progress.fraction) / progress.faces
            fraction += done * (_SEARCH_END - fraction)
            seconds_left = self._estimate_seconds_left(progress)
        return (self._index + fraction) / self._task_count, seconds_left

    def _estimate_seconds_left(self, progress: Progress) -> float | None:
        done = (progress.face - 1) * self._steps + progress.step
        if progress.stage == "search" and self._started_at is None:
            self._started_at = time.monotonic()
        if self._started_at is None or done < _MIN_STEPS:
            return None
        seconds_per_step = (time.monotonic() - self._started_at) / done
        steps_left = progress.faces * self._steps - done
        # The tasks to come are assumed to have one face each.
        return seconds_per_step * (steps_left + (self._task_count - self._index - 1) * self._steps) / _SEARCH_END
