"""Measures the settings without a row, every face x strength x held-out family, in several processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import rows
from benchmarks.data import RunFolders
from benchmarks.fingerprint import fingerprint_embedding
from benchmarks.methods.catalogue import PRODUCT_METHODS, SEARCH_METHODS
from benchmarks.methods.strengths import ROBUSTNESS_STRENGTHS
from benchmarks.recognisers import open_store
from benchmarks.rows import NO_FAMILY, PROTECT_FILE, ProtectRow, Setting
from benchmarks.suites import demographics, gallery
from benchmarks.suites.measurement import Task, TaskRows, measure

AnyTask = TypeVar("AnyTask")
AnyResult = TypeVar("AnyResult")
_AnyRow = TypeVar("_AnyRow", bound=rows.AnyRow | None)

# The file of each kind of row; the deciding row comes last, so that after a kill in between the setting is repeated.
_FILES: dict[str, tuple[str, type[Any]]] = {
    "natural": (rows.NATURAL_FILE, rows.NaturalRow),
    "robustness": (rows.ROBUSTNESS_FILE, rows.RobustnessRow),
    "pairs": (rows.PAIRS_FILE, rows.PairRow),
    "extra": (rows.EXTRA_FILE, rows.ExtraRow),
    "protect": (PROTECT_FILE, rows.ProtectRow),
}


@dataclass(frozen=True)
class Plan:
    """What a run covers; see `rows.Setting` for the fields of the same name.

    Attributes:
        photos, methods, strengths: measured in all combinations.
        curves: strengths of methods that are measured only on ``curve_photos``.
        suites: "protect", "natural" and "robustness", or some of them.
        pairs: photos of one person; part of the suite "protect".
        extra: ``module:function`` of an external recogniser.
        search_among: other people for identification; part of the suite "protect".
    """

    photos: tuple[Path, ...]
    methods: tuple[str, ...]
    strengths: tuple[float, ...]
    hold_out: tuple[str, ...]
    prompt: str
    prior: str
    steps: int | None
    seed: int
    suites: frozenset[str]
    curves: Mapping[str, tuple[float, ...]]
    curve_photos: tuple[Path, ...] = ()
    pairs: tuple[Path, ...] = ()
    extra: str = ""
    search_among: tuple[Path, ...] = ()


@dataclass(frozen=True)
class PlannedSetting:
    """One setting of a plan, its photo, and the names of the rows that it should have."""

    photo: Path
    setting: Setting
    rows: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """Numbers of tasks that a run measured, that had a row before, and that failed."""

    measured: int
    done_before: int
    failed: int

    def __str__(self) -> str:
        return f"{self.measured} measured, {self.done_before} were there, {self.failed} failed."


def list_settings(plan: Plan) -> list[PlannedSetting]:
    """All settings of a plan, grouped by face, so that an interrupted run has complete faces."""
    usual_rows = plan.suites | ({"extra"} if plan.extra else set())
    planned: dict[tuple[Setting, bool], PlannedSetting] = {}

    def add_settings(photo: Path, method: str, strength: float, row_names: frozenset[str], pair: bool = False) -> None:
        for setting in _list_held_out_settings(plan, photo, method, strength):
            planned.setdefault((setting, pair), PlannedSetting(photo, setting, row_names))

    for method in plan.methods:
        for strength in plan.strengths:
            for photo in plan.photos:
                add_settings(photo, method, strength, usual_rows)
    for photo in plan.pairs if "protect" in plan.suites else ():
        add_settings(photo, "c2p", plan.strengths[0], frozenset({"pairs"}), pair=True)
    for method, strengths in plan.curves.items():
        for strength in strengths:
            degraded = ROBUSTNESS_STRENGTHS.get(method) == strength
            for photo in plan.curve_photos:
                add_settings(photo, method, strength, usual_rows if degraded else usual_rows - {"robustness"})
    return [entry for entry in planned.values() if entry.rows]


def _list_held_out_settings(plan: Plan, photo: Path, method: str, strength: float) -> list[Setting]:
    # Options that a method ignores do not make a separate setting.
    prompt, prior = (plan.prompt, plan.prior) if method in PRODUCT_METHODS else ("", "")
    steps = plan.steps if method in SEARCH_METHODS else None
    families = plan.hold_out if method in SEARCH_METHODS else (NO_FAMILY,)
    return [Setting(photo.stem, method, strength, family, prompt, prior, steps, plan.seed) for family in families]


def list_tasks(plan: Plan, folders: RunFolders, code: str, people_file: Path | None = None) -> list[Task]:
    """List the tasks of a plan: settings that lack rows.

    Args:
        people_file: the gallery for identification.
    """
    stored = {
        name: rows.index_by_setting(rows.read(folders.rows / file, kind)) for name, (file, kind) in _FILES.items()
    }
    # Each external recogniser has rows of its own.
    stored["extra"] = {s: row for s, row in stored["extra"].items() if row.source == plan.extra}
    todo = []
    for planned in list_settings(plan):
        missing = {name for name in planned.rows if planned.setting not in stored[name]}
        # If a picture is made again, because it or its deciding row is missing (after a kill), all its rows are
        # measured again, so that they describe the same picture.
        remake = "protect" in missing or not (folders.pictures / planned.setting.picture).exists()
        if missing and remake and "pairs" not in planned.rows:
            rows_stored = {name for name, stored_rows in stored.items() if planned.setting in stored_rows}
            missing = set(planned.rows) | rows_stored - {"pairs"}
        if missing:
            others = tuple(photo for photo in plan.pairs if photo != planned.photo) if "pairs" in missing else ()
            row_names = frozenset(missing)
            todo.append(Task(planned.photo, planned.setting, row_names, folders, code, people_file, others, plan.extra))
    return todo


def _start_worker(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Without its parent, a worker would wait for work for ever, with its models in memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _measure_task(task: Task) -> TaskRows:
    return measure(task, open_store())


def _describe_person(photo: Path) -> rows.Person:
    return demographics.describe_person(photo, open_store())


def start_pool(workers: int) -> Executor:
    """Processes with one torch thread each: throughput matters here, not latency."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(1,))


def run(
    plan: Plan,
    folders: RunFolders,
    code: str,
    executor: Executor,
    log: Callable[[str], None],
    measure_task: Callable[[Task], TaskRows] = _measure_task,
) -> Outcome:
    """Measure the settings without rows and append each row once complete; a failure does not stop the others.

    Args:
        log: prints a line.
        measure_task: measures one task; replaced in tests.
    """
    for name in (*(file for file, _ in _FILES.values()), rows.PEOPLE_FILE):
        rows.drop_incomplete_line(folders.rows / name)
    todo = list_tasks(plan, folders, code)
    if plan.search_among and any("protect" in task.missing for task in todo):
        people = {photo.stem: photo for photo in plan.search_among}
        file = gallery.build(people, folders.pictures, fingerprint_embedding(), executor, log)
        todo = list_tasks(plan, folders, code, file)
    done_before = len(list_settings(plan)) - len(todo)
    _warn_of_other_code(folders, code, log)

    def store_rows(task_rows: TaskRows) -> str:
        _append_rows(folders, task_rows)
        return _summarise(task_rows)

    return run_missing(
        todo,
        done_before,
        folders.rows,
        measure_task,
        store_rows,
        lambda task: name_setting(task.setting),
        executor,
        log,
    )


def run_missing(
    todo: Sequence[AnyTask],
    done_before: int,
    folder: Path,
    run_task: Callable[[AnyTask], AnyResult],
    store_result: Callable[[AnyResult], str],
    describe_task: Callable[[AnyTask], str],
    executor: Executor,
    log: Callable[[str], None],
) -> Outcome:
    """Run tasks in parallel and store each result as soon as it is complete; a failure does not stop the others.

    Args:
        todo: tasks without a row.
        done_before: number of tasks with one.
        folder: of the rows.
        run_task: runs a task, in any process.
        store_result: stores a result, in this process, and describes it in a few words.
        describe_task: names a task in log lines.
        log: prints a line.
    """
    log(f"{len(todo)} to measure, {done_before} already there, rows in {folder}")
    started, failed = time.monotonic(), 0
    futures = {executor.submit(run_task, task): describe_task(task) for task in todo}
    try:
        for count, future in enumerate(as_completed(futures), start=1):
            error = future.exception()
            if error is not None:
                failed += 1
                log(f"{futures[future]} failed:\n{''.join(traceback.format_exception(error))}")
                continue
            outcome = store_result(future.result())
            left = (time.monotonic() - started) / count * (len(todo) - count) / 60
            log(f"[{count}/{len(todo)}, {left:.0f} min left] {futures[future]}: {outcome}")
    finally:
        # After an interrupt, no further task should start.
        executor.shutdown(wait=False, cancel_futures=True)
    return Outcome(measured=len(todo) - failed, done_before=done_before, failed=failed)


def store_row(path: Path, summarise: Callable[[_AnyRow], str], row: _AnyRow) -> str:
    """Append a row to its file, None to none; returns its summary. A ``store_result`` once the path is given."""
    if row is not None:
        rows.append(path, row)
    return summarise(row)


def describe_people(
    photos: Sequence[Path], folders: RunFolders, executor: Executor, log: Callable[[str], None]
) -> None:
    """Add the people without a row in people.jsonl."""
    path = folders.rows / rows.PEOPLE_FILE
    described = {person.face for person in rows.read(path, rows.Person)}
    missing = [photo for photo in photos if photo.stem not in described]
    if missing:
        log(f"Looking at {len(missing)} people, once.")
    for person in executor.map(_describe_person, missing):
        rows.append(path, person)


def _append_rows(folders: RunFolders, task_rows: TaskRows) -> None:
    for name, (file, _) in _FILES.items():
        row = getattr(task_rows, name)
        if row is not None:
            rows.append(folders.rows / file, row)


def _warn_of_other_code(folders: RunFolders, code: str, log: Callable[[str], None]) -> None:
    count = sum(row.code != code for row in rows.read(folders.rows / PROTECT_FILE, rows.ProtectRow))
    if count:
        log(f"Note: {count} rows in {folders.rows} were measured with other code than today's and are kept;")
        log("      delete the files there, or name another --out, to start afresh.")


def name_setting(setting: Setting) -> str:
    """Name a setting in log lines."""
    suffix = "" if setting.hold_out == NO_FAMILY else f" without {setting.hold_out}"
    return f"{setting.face} {setting.method} {setting.strength:g}{suffix}"


def _summarise(task_rows: TaskRows) -> str:
    parts = [_summarise_protection(task_rows.protect)] if task_rows.protect else []
    if task_rows.natural:
        parts.append(f"{task_rows.natural.psnr:.1f} dB, SSIM {task_rows.natural.ssim:.3f}")
    if task_rows.robustness:
        parts.append(f"after {len(task_rows.robustness.degraded)} degradations")
    if task_rows.pairs:
        parts.append(f"against {', '.join(task_rows.pairs.others) or 'no other photo'}")
    return "; ".join(parts)


def _summarise_protection(row: ProtectRow) -> str:
    if not row.face_before:
        return "no face in the original"
    if not row.face_after:
        return "no face in the protected picture"

    def count_below(role: str) -> str:
        scores = [s for s in row.scores if s.role == role]
        return f"{sum(s.after < s.far1 for s in scores)}/{len(scores)}"

    return (
        f"held-out {count_below('held-out')}, white-box {count_below('white-box')} below FAR 1 %, {row.seconds:.0f} s"
    )
