"""Runs what has no row yet: every face x strength x held-out family, several processes side by side."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import connection
from pathlib import Path
from typing import Literal

from benchmarks import rows
from benchmarks.data import Places
from benchmarks.measure import Done, Task, measure
from benchmarks.methods import SEARCHED
from benchmarks.rows import NATURAL_FILE, NO_FAMILY, PROTECT_FILE, ProtectRow, Setting
from c2p_core.models.store import ModelStore

Suite = Literal["protect", "natural", "all"]

FAMILIES = ("dlib", "faceres", "mobileface")


@dataclass(frozen=True)
class Plan:
    """What a run covers; see `rows.Setting` for the fields of the same name."""

    photos: tuple[Path, ...]
    methods: tuple[str, ...]
    strengths: tuple[float, ...]
    hold_out: tuple[str, ...]
    prompt: str
    prior: str
    steps: int | None
    seed: int
    suite: Suite


@dataclass(frozen=True)
class Outcome:
    """How a run ended: settings measured now, already there before, and failed."""

    measured: int
    kept: int
    failed: int


def settings(plan: Plan) -> list[tuple[Path, Setting]]:
    """All settings of a plan; a face's families follow each other, so that a cut run holds whole faces."""
    found = []
    for method in plan.methods:
        searched = method in SEARCHED
        # What a method does not know of makes no other setting of it.
        prompt, prior, steps = (plan.prompt, plan.prior, plan.steps) if searched else ("", "", None)
        for strength in plan.strengths:
            for photo in plan.photos:
                for family in plan.hold_out if searched else (NO_FAMILY,):
                    setting = Setting(photo.stem, method, strength, family, prompt, prior, steps, plan.seed)
                    found.append((photo, setting))
    return found


def tasks(plan: Plan, places: Places, code: str) -> list[Task]:
    """What of a plan has no row yet."""
    protected = rows.by_setting(rows.read(places.rows / PROTECT_FILE, rows.protect_row))
    natural = rows.by_setting(rows.read(places.rows / NATURAL_FILE, rows.natural_row))
    todo = []
    for photo, setting in settings(plan):
        # A picture without a row of its own (a kill between the two) is made again, so that both tell of the same.
        protect = plan.suite != "natural" and setting not in protected
        judge = plan.suite != "protect" and (protect or setting not in natural)
        if protect or judge:
            todo.append(Task(photo, setting, protect, judge, places, code))
    return todo


def _start_worker(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever, holding its models."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@lru_cache(maxsize=1)
def _store() -> ModelStore:
    # One a process: it remembers which files it has checked.
    return ModelStore()


def _work(task: Task) -> Done:
    return measure(task, _store())


def pool(workers: int) -> Executor:
    """Processes with one torch thread each: here pictures per hour count, not the latency of one."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(1,))


def run(
    plan: Plan,
    places: Places,
    code: str,
    executor: Executor,
    say: Callable[[str], None],
    work: Callable[[Task], Done] = _work,
) -> Outcome:
    """Measure what has no row yet and append each row as soon as it is known. One failure does not stop the others.

    Args:
        say: prints a line.
        work: measures one task; replaced in tests.
    """
    for name in (PROTECT_FILE, NATURAL_FILE):
        rows.drop_torn_end(places.rows / name)
    todo = tasks(plan, places, code)
    kept = len(settings(plan)) - len(todo)
    _warn_of_other_code(places, code, say)
    say(f"{len(todo)} settings to measure, {kept} already there, rows in {places.rows}")
    started, failed = time.monotonic(), 0
    futures = {executor.submit(work, task): task for task in todo}
    try:
        for count, future in enumerate(as_completed(futures), start=1):
            task = futures[future]
            error = future.exception()
            if error is not None:
                failed += 1
                say(f"{_name(task.setting)} failed:\n{''.join(traceback.format_exception(error))}")
                continue
            done = future.result()
            _keep(places, done)
            left = (time.monotonic() - started) / count * (len(todo) - count) / 60
            say(f"[{count}/{len(todo)}, {left:.0f} min left] {_name(task.setting)}: {_summary(done)}")
    finally:
        # After an interrupt nothing that has not begun should begin.
        executor.shutdown(wait=False, cancel_futures=True)
    return Outcome(measured=len(todo) - failed, kept=kept, failed=failed)


def _keep(places: Places, done: Done) -> None:
    # Naturalness first: a kill between the two then leaves the setting without its deciding row.
    if done.natural is not None:
        rows.append(places.rows / NATURAL_FILE, done.natural)
    if done.protect is not None:
        rows.append(places.rows / PROTECT_FILE, done.protect)


def _warn_of_other_code(places: Places, code: str, say: Callable[[str], None]) -> None:
    other = sum(row.code != code for row in rows.read(places.rows / PROTECT_FILE, rows.protect_row))
    if other:
        say(f"Note: {other} rows in {places.rows} were measured with other code than today's and are kept;")
        say("      delete the files there, or name another --out, to start afresh.")


def _name(setting: Setting) -> str:
    held = "" if setting.hold_out == NO_FAMILY else f" without {setting.hold_out}"
    return f"{setting.face} {setting.method} {setting.strength:g}{held}"


def _summary(done: Done) -> str:
    parts = [_protection(done.protect)] if done.protect else []
    if done.natural:
        parts.append(f"{done.natural.psnr:.1f} dB, SSIM {done.natural.ssim:.3f}")
    return "; ".join(parts)


def _protection(row: ProtectRow) -> str:
    if not row.face_before:
        return "no face in the original"
    if not row.face_after:
        return "no face in the protected picture"

    def below(role: str) -> str:
        scores = [s for s in row.scores if s.role == role]
        return f"{sum(s.after < s.far1 for s in scores)}/{len(scores)}"

    return f"held-out {below('held-out')}, white-box {below('white-box')} below FAR 1 %, {row.seconds:.0f} s"


def quick(photos: Sequence[Path]) -> tuple[Path, ...]:
    """Six faces spread over a list."""
    return tuple(photos[:: max(1, len(photos) // 6)][:6])
