"""A batch from its plan to its report: one folder of results, one engine, one writer."""

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
from c2p_core.batch.journal import Journal, Row, known_of
from c2p_core.batch.layout import Item
from c2p_core.batch.planning import Results, settings_digest
from c2p_core.batch.recorder import Recorder, tidy
from c2p_core.batch.result_readers import FolderReader, ResultReader
from c2p_core.batch.sources import REPORT_FOLDER, STATE_FOLDER
from c2p_core.errors import BadRequest, CannotWrite
from c2p_core.io.atomic_files import make_folder

JOURNAL = "journal.sqlite"
_LOCK = "lock"


@dataclass(frozen=True)
class Folder:
    """A folder of results that nobody else writes to meanwhile.

    Attributes:
        path: where its journal and its report are; those of a store of objects are in the user's data folder.
        journal: the open journal.
        reader: where its results are.
        make_recorder: makes what writes them; takes the arguments of ``Recorder``.
        publish: puts the report beside the results, where it is not.
    """

    path: Path
    journal: Journal
    reader: ResultReader
    make_recorder: Callable[..., Recorder] = Recorder
    publish: Callable[[], None] = lambda: None


@dataclass
class Summary:
    """What came of a run.

    Attributes:
        protected: results made; ``copied`` of them from an earlier result for the same photo under another name.
        known: photos whose own result was there, though their time or path had changed.
        without_face: photos without a face that can be protected.
        failed: parts of the report of those that failed.
        faces: protected.
        search_seconds: that the searches of these took; ``seconds`` that all took.
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
        """Photos that need not be looked at again."""
        return self.protected + self.known + self.without_face

    def add(self, row: Row, reuse: Reuse | None) -> None:
        """Count one photo, and the earlier result that served for it."""
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
    """Open a folder of results, made if needed, and sort out what an ended run left.

    Raises:
        BadRequest: another batch is writing there, or a newer version of the program did.
        CannotWrite: it can't be used.
    """
    with lock_folder(path), contextlib.closing(Journal(path / STATE_FOLDER / JOURNAL)) as journal:
        tidy(path, journal)
        yield Folder(path, journal, FolderReader(path))


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Make the folder of a journal and a report, and keep other batches of this machine out.

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
    # filelock raises the second where a file system has no locks.
    except (OSError, NotImplementedError) as error:
        raise CannotWrite("folder-unusable", path=str(path), reason=str(error)) from error
    try:
        yield
    finally:
        lock.release()


def choose_settings(job: Job) -> Callable[[str], str]:
    """The digest of the settings of a photo, by its path."""
    looks = job.looks
    if looks is not None:
        return lambda path: settings_digest(job.options, job.strip_personal, looks.settings(path), job.mark)
    same = settings_digest(job.options, job.strip_personal, mark=job.mark)
    return lambda path: same


def read_results(folder: Folder, settings: Callable[[str], str]) -> Results:
    """What the folder has."""
    return Results(folder.reader, folder.journal.known(), settings)


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
) -> None:
    """Protect photos, and write what comes of them as it comes.

    Args:
        folder: where the results go.
        items: photos to protect; taken one by one, in a thread of the engine.
        job: what is done to them.
        engine: what does it.
        control: ``reuse`` is set here.
        results: what the folder has already.
        summary: is counted up.
        overwrite: whether results of earlier runs that nobody has changed since are replaced.
        finish: called with every row after it was written.

    Raises:
        CannotWrite: the disk is full, or the journal can't be written.
        ModelUnavailable: no photo can be protected.
    """
    began = time.monotonic()
    recorder = folder.make_recorder(folder.path, folder.journal, choose_settings(job), overwrite, job.strip_personal)
    with contextlib.closing(engine(items, job, replace(control, reuse=results.find))) as outcomes:
        for outcome in outcomes:
            row = recorder.record(outcome)
            if row.state in ("done", "without-face"):
                results.add(known_of(row))
            summary.add(row, outcome.reuse)
            summary.seconds = time.monotonic() - began
            finish(row, summary)
