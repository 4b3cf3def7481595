"""Runs a batch from its plan to its report: one folder of results, one engine, one writer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from c2p_core.batch.engine import Control, Engine, Job, Reuse
from c2p_core.batch.journal import Journal, Row, to_known_result
from c2p_core.batch.layout import Item
from c2p_core.batch.looks import Traces
from c2p_core.batch.planning import Results, hash_settings
from c2p_core.batch.recorder import Recorder, tidy
from c2p_core.batch.result_readers import FolderReader, ResultReader
from c2p_core.batch.sources import REPORT_FOLDER, STATE_FOLDER
from c2p_core.errors import BadRequest, CannotWrite
from c2p_core.io.atomic_files import make_folder

JOURNAL = "journal.sqlite"
_LOCK = "lock"


@dataclass(frozen=True)
class Folder:
    """A folder of results, locked against other batches.

    Attributes:
        path: of its journal and report; for a store of objects, these are in the user's data folder.
        journal: the open journal.
        reader: reads its results.
        make_recorder: makes their writer; takes the arguments of ``Recorder``.
        publish: copies the report to the results, if it is elsewhere.
    """

    path: Path
    journal: Journal
    reader: ResultReader
    make_recorder: Callable[..., Recorder] = Recorder
    publish: Callable[[], None] = lambda: None


@dataclass
class Summary:
    """The summary of a run.

    Attributes:
        protected: results made.
        copied: how many of these were copied from the result of the same photo under another name.
        known: photos that had their result already, although their time or path has changed.
        without_face: photos without a face that can be protected.
        failed: report entries of the photos that failed.
        faces: number of protected faces.
        search_seconds: duration of their searches.
        seconds: duration of the whole run.
    """

    protected: int = 0
    copied: int = 0
    known: int = 0
    without_face: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    faces: int = 0
    search_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def finished(self) -> int:
        """Number of photos that are finished."""
        return self.protected + self.known + self.without_face

    def add(self, row: Row, reuse: Reuse | None) -> None:
        """Count one photo; ``reuse`` is the earlier result that was used for it."""
        if row.state == "failed":
            self.failed.append(row.report)
            return
        if row.state == "without-face":
            self.without_face += 1
            return
        if reuse is not None and reuse.number == row.number:
            self.known += 1
            return
        self.protected += 1
        if reuse is not None:
            self.copied += 1
            return
        self.faces += row.faces
        self.search_seconds += row.seconds


@contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Open a folder of results, created if needed, and clean up after an interrupted run.

    Raises:
        BadRequest: another batch is writing there, or a newer version of the program did.
        CannotWrite: it can't be used.
    """
    with lock_folder(path), contextlib.closing(Journal(path / STATE_FOLDER / JOURNAL)) as journal:
        tidy(path, journal)
        yield Folder(path, journal, FolderReader(path))


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Create the folder of a journal and a report, and lock out other batches on this machine.

    Raises:
        BadRequest: another batch is writing there.
        CannotWrite: it can't be used.
    """
    make_folder(path)
    for name in (STATE_FOLDER, REPORT_FOLDER):
        make_folder(path / name)
    lock = FileLock(path / STATE_FOLDER / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BadRequest("batch-running", path=str(path)) from None
    # filelock raises NotImplementedError if a file system has no locks.
    except (OSError, NotImplementedError) as error:
        raise CannotWrite("folder-unusable", path=str(path), reason=str(error)) from error
    try:
        yield
    finally:
        lock.release()


def make_settings_digester(job: Job) -> Callable[[str], str]:
    """Make the function that gives the digest of the settings for the photo at a path."""
    looks = job.looks
    if looks is not None:
        return lambda path: hash_settings(job.options, job.strip_personal, looks.settings_for(path), job.mark)
    digest = hash_settings(job.options, job.strip_personal, mark=job.mark)
    return lambda path: digest


def read_results(folder: Folder, digest_settings: Callable[[str], str]) -> Results:
    """The results that the folder has."""
    return Results(folder.reader, folder.journal.read_known(), digest_settings)


def run(
    folder: Folder,
    items: Iterable[Item],
    job: Job,
    engine: Engine,
    control: Control,
    results: Results,
    *,
    summary: Summary,
    overwrite: bool = False,
    finish: Callable[[Row, Summary], None] = lambda row, summary: None,
    traces: Traces | None = None,
) -> None:
    """Protect photos, and write each outcome as it arrives.

    Args:
        folder: where the results go.
        items: photos to protect; taken one by one, in a thread of the engine.
        job: the settings.
        engine: protects them.
        control: ``find_reuse`` and ``find_traces`` are set here.
        results: the results that the folder has already.
        summary: is updated with every photo.
        overwrite: whether results of earlier runs that nobody has changed since are replaced.
        finish: called with every row once it is written.
        traces: what protected photos left of their people.

    Raises:
        CannotWrite: the disk is full, or the journal can't be written.
        ModelUnavailable: no photo can be protected.
    """
    start = time.monotonic()
    recorder = folder.make_recorder(
        folder.path, folder.journal, make_settings_digester(job), overwrite, job.strip_personal
    )
    control = replace(control, find_reuse=results.find)
    if traces is not None:
        find, cancel = traces.find, control.cancel
        control = replace(control, find_traces=lambda item, people, unrecorded: find(people, unrecorded, cancel))
    with contextlib.closing(engine(items, job, control)) as outcomes:
        for outcome in outcomes:
            row = recorder.record(outcome)
            if row.state in ("done", "without-face"):
                results.add(to_known_result(row))
            if traces is not None:
                if outcome.traces:
                    traces.record(outcome.item.path, outcome.traces if row.state == "done" else {})
                elif outcome.reuse is not None and row.state == "done" and row.target is not None:
                    # A photo that was moved or copied since the earlier run is recognised only now.
                    traces.add_earlier_result(row.source, folder.path / row.target)
            summary.add(row, outcome.reuse)
            summary.seconds = time.monotonic() - start
            finish(row, summary)
