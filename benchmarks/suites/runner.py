"""Runs what has no row yet: every face x strength x held-out family, several processes side by side."""

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
from benchmarks.methods.catalogue import PRODUCT, SEARCHED
from benchmarks.methods.strengths import SURVIVE
from benchmarks.recognisers import open_store
from benchmarks.rows import NO_FAMILY, PROTECT_FILE, ProtectRow, Setting
from benchmarks.suites import demographics, gallery
from benchmarks.suites.measurement import Done, Task, measure

AnyTask = TypeVar("AnyTask")
AnyDone = TypeVar("AnyDone")

# Where each kind of row goes; a setting's deciding row comes last, so that a kill between two leaves it undone.
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
        photos, methods, strengths: all of them with each other.
        curves: strengths of methods that are measured on ``curve_photos`` alone.
        suites: "protect", "natural" and "robustness", or some of them.
        pairs: photos of one person; part of the suite "protect".
        extra: ``module:function`` of a recogniser from outside.
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
class Wanted:
    """One setting of a plan, the photo, and names of the rows it should have."""

    photo: Path
    setting: Setting
    rows: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: how many tasks were measured now, had a row before, and failed."""

    measured: int
    kept: int
    failed: int

    def __str__(self) -> str:
        return f"{self.measured} measured, {self.kept} were there, {self.failed} failed."


def list_settings(plan: Plan) -> list[Wanted]:
    """All settings of a plan; a face's families follow each other, so that a cut run holds whole faces."""
    usual = plan.suites | ({"extra"} if plan.extra else set())
    found: dict[tuple[Setting, bool], Wanted] = {}

    def add(photo: Path, method: str, strength: float, row_names: frozenset[str], pair: bool = False) -> None:
        for setting in _held_out(plan, photo, method, strength):
            found.setdefault((setting, pair), Wanted(photo, setting, row_names))

    for method in plan.methods:
        for strength in plan.strengths:
            for photo in plan.photos:
                add(photo, method, strength, usual)
    for photo in plan.pairs if "protect" in plan.suites else ():
        add(photo, "c2p", plan.strengths[0], frozenset({"pairs"}), pair=True)
    for method, strengths in plan.curves.items():
        for strength in strengths:
            degraded = SURVIVE.get(method) == strength
            for photo in plan.curve_photos:
                add(photo, method, strength, usual if degraded else usual - {"robustness"})
    return [wanted for wanted in found.values() if wanted.rows]


def _held_out(plan: Plan, photo: Path, method: str, strength: float) -> list[Setting]:
    # Options that a method ignores do not make a separate setting.
    prompt, prior = (plan.prompt, plan.prior) if method in PRODUCT else ("", "")
    steps = plan.steps if method in SEARCHED else None
    families = plan.hold_out if method in SEARCHED else (NO_FAMILY,)
    return [Setting(photo.stem, method, strength, family, prompt, prior, steps, plan.seed) for family in families]


def list_tasks(plan: Plan, folders: RunFolders, code: str, people_file: Path | None = None) -> list[Task]:
    """List what is missing: settings of a plan without rows.

    Args:
        people_file: the gallery for identification.
    """
    there = {name: rows.by_setting(rows.read(folders.rows / file, kind)) for name, (file, kind) in _FILES.items()}
    # Each external recogniser has rows of its own.
    there["extra"] = {s: row for s, row in there["extra"].items() if row.source == plan.extra}
    todo = []
    for wanted in list_settings(plan):
        missing = {name for name in wanted.rows if wanted.setting not in there[name]}
        # A picture that is made again, because it is missing or has no row of its own (after a kill), gets all its
        # rows again, so that they all describe the same picture.
        again = "protect" in missing or not (folders.pictures / wanted.setting.picture).exists()
        if missing and again and "pairs" not in wanted.rows:
            measured = {name for name, known in there.items() if wanted.setting in known}
            missing = set(wanted.rows) | measured - {"pairs"}
        if missing:
            others = tuple(photo for photo in plan.pairs if photo != wanted.photo) if "pairs" in missing else ()
            row_names = frozenset(missing)
            todo.append(Task(wanted.photo, wanted.setting, row_names, folders, code, people_file, others, plan.extra))
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


def _work(task: Task) -> Done:
    return measure(task, open_store())


def _describe_person(photo: Path) -> rows.Person:
    return demographics.describe_person(photo, open_store())


def start_pool(workers: int) -> Executor:
    """Processes with one torch thread each: here pictures per hour count, not the latency of one."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(1,))


def run(
    plan: Plan,
    folders: RunFolders,
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
    for name in (*(file for file, _ in _FILES.values()), rows.PEOPLE_FILE):
        rows.drop_torn_end(folders.rows / name)
    todo = list_tasks(plan, folders, code)
    if plan.search_among and any("protect" in task.wants for task in todo):
        among = {photo.stem: photo for photo in plan.search_among}
        file = gallery.build(among, folders.pictures, fingerprint_embedding(), executor, say)
        todo = list_tasks(plan, folders, code, file)
    kept = len(list_settings(plan)) - len(todo)
    _warn_of_other_code(folders, code, say)

    def keep(done: Done) -> str:
        _keep(folders, done)
        return _summarise(done)

    return run_missing(todo, kept, folders.rows, work, keep, lambda task: name_setting(task.setting), executor, say)


def run_missing(
    todo: Sequence[AnyTask],
    kept: int,
    folder: Path,
    work: Callable[[AnyTask], AnyDone],
    keep: Callable[[AnyDone], str],
    name: Callable[[AnyTask], str],
    executor: Executor,
    say: Callable[[str], None],
) -> Outcome:
    """Run tasks in parallel and keep each result as soon as it is complete. One failure does not stop the others.

    Args:
        todo: tasks that have no row yet.
        kept: how many have one.
        folder: of the rows.
        work: does a task, in any process.
        keep: stores a result, in this process, and describes it in a few words.
        name: of a task, for the lines about it.
        say: prints a line.
    """
    say(f"{len(todo)} to measure, {kept} already there, rows in {folder}")
    started, failed = time.monotonic(), 0
    futures = {executor.submit(work, task): name(task) for task in todo}
    try:
        for count, future in enumerate(as_completed(futures), start=1):
            error = future.exception()
            if error is not None:
                failed += 1
                say(f"{futures[future]} failed:\n{''.join(traceback.format_exception(error))}")
                continue
            outcome = keep(future.result())
            left = (time.monotonic() - started) / count * (len(todo) - count) / 60
            say(f"[{count}/{len(todo)}, {left:.0f} min left] {futures[future]}: {outcome}")
    finally:
        # After an interrupt, no further task should start.
        executor.shutdown(wait=False, cancel_futures=True)
    return Outcome(measured=len(todo) - failed, kept=kept, failed=failed)


def describe_people(
    photos: Sequence[Path], folders: RunFolders, executor: Executor, say: Callable[[str], None]
) -> None:
    """Add who has no row in people.jsonl yet."""
    path = folders.rows / rows.PEOPLE_FILE
    known = {person.face for person in rows.read(path, rows.Person)}
    missing = [photo for photo in photos if photo.stem not in known]
    if missing:
        say(f"Looking at {len(missing)} people, once.")
    for person in executor.map(_describe_person, missing):
        rows.append(path, person)


def _keep(folders: RunFolders, done: Done) -> None:
    for name, (file, _) in _FILES.items():
        row = getattr(done, name)
        if row is not None:
            rows.append(folders.rows / file, row)


def _warn_of_other_code(folders: RunFolders, code: str, say: Callable[[str], None]) -> None:
    other = sum(row.code != code for row in rows.read(folders.rows / PROTECT_FILE, rows.ProtectRow))
    if other:
        say(f"Note: {other} rows in {folders.rows} were measured with other code than today's and are kept;")
        say("      delete the files there, or name another --out, to start afresh.")


def name_setting(setting: Setting) -> str:
    """What a line about a setting calls it."""
    held = "" if setting.hold_out == NO_FAMILY else f" without {setting.hold_out}"
    return f"{setting.face} {setting.method} {setting.strength:g}{held}"


def _summarise(done: Done) -> str:
    parts = [_summarise_protection(done.protect)] if done.protect else []
    if done.natural:
        parts.append(f"{done.natural.psnr:.1f} dB, SSIM {done.natural.ssim:.3f}")
    if done.robustness:
        parts.append(f"after {len(done.robustness.degraded)} degradations")
    if done.pairs:
        parts.append(f"against {', '.join(done.pairs.others) or 'no other photo'}")
    return "; ".join(parts)


def _summarise_protection(row: ProtectRow) -> str:
    if not row.face_before:
        return "no face in the original"
    if not row.face_after:
        return "no face in the protected picture"

    def below(role: str) -> str:
        scores = [s for s in row.scores if s.role == role]
        return f"{sum(s.after < s.far1 for s in scores)}/{len(scores)}"

    return f"held-out {below('held-out')}, white-box {below('white-box')} below FAR 1 %, {row.seconds:.0f} s"
