"""An engine that darkens photos in place of protecting them, as fast as files are read; and a batch of it.

As a program (``python -m tests.batch.darken SRC DEST [N]``) it runs such a batch, and kills itself at the N-th of the
moments right before or after something is written.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from c2p_core.api import CancelToken, Progress
from c2p_core.batch import recorder, run
from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.layout import Item, plan_items
from c2p_core.batch.planning import Plan
from c2p_core.batch.sources import find_sources
from c2p_core.errors import C2PError, Message
from c2p_core.io import photo_files, report
from c2p_core.io.sidecars import find_turn

_OWN = (".c2p", "report", "report.csv", "report.html")
JOB = Job({"faces": "all", "prompt": "test"}, thumbnails=True)
SIMILARITY = {
    "recogniser": "dlib",
    "family": "dlib",
    "held_out": True,
    "before": 0.99,
    "after": 0.31,
    "far1": 0.43,
    "far01": 0.55,
    "verdict": "protected",
    "other_photos": "lost",
}


def darken(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Halve the brightness; black photos have no face."""
    for item in items:
        if control.cancel.cancelled:
            return
        yield _darken_one(item, job, control)


def _darken_one(item: Item, job: Job, control: Control) -> Outcome:
    try:
        data, stamp = control.read(item)
        digest = hashlib.sha256(data).hexdigest()
        reuse = control.find_reuse(item, digest)
        if reuse is not None and reuse.data is None:
            return Outcome(item, "known", digest, stamp, reuse=reuse)
        photo = photo_files.parse(item.path, data)
        turn = find_turn(photo, photo_files.FORMATS[Path(item.place).suffix.lower()])
        if reuse is not None:
            return Outcome(item, "known", digest, stamp, reuse=reuse, turn=turn)
    except C2PError as error:
        return Outcome(item, "failed", report=report.failure_report(item.path, error.message, error.exit_code))
    if not photo.pixels.any():
        entry = report.failure_report(item.path, Message("no-face"), 4)
        return Outcome(item, "without-face", digest, stamp, entry)
    control.report_progress(item, Progress("search", 1, 1, 1, 2))
    after = photo_files.encode_as(Path(item.place), photo.with_pixels(photo.pixels // 2)).data
    face = {"number": 1, "similarities": [SIMILARITY], "sentence": "Face 1: it is darker.", "skipped": None}
    entry = {"photo": item.path, "protected": None, "faces": [face], "warnings": [], "processes": job.processes}
    thumbnails = (data, after) if job.thumbnails else None
    return Outcome(item, "done", digest, stamp, entry, after, thumbnails, 1, 0.5, turn=turn)


def with_read_ahead(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Reads the next photos while it darkens one, and dies of reading photos named ``deadly``."""
    was_read: queue.SimpleQueue[Item | None] = queue.SimpleQueue()

    def read_all() -> None:
        for item in items:
            if Path(item.path).stem == "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            was_read.put(item)
        was_read.put(None)

    threading.Thread(target=read_all, daemon=True).start()
    for item in iter(was_read.get, None):
        time.sleep(0.5)
        yield from darken([item], job, control)


def save(path: Path, value: int = 200, size: tuple[int, int] = (32, 24)) -> Path:
    """Save a picture of one brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


SIDECAR = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
SIDEWAYS_SIDECAR = (
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#" MPReg:Rectangle="0.1, 0.2, 0.3, 0.4"/></rdf:RDF>'
)
TURNED_REGION = b'MPReg:Rectangle="0.4, 0.1, 0.4, 0.3"'
"""The region of this sidecar after a turn by orientation 6."""


def save_sideways(path: Path) -> Path:
    """Save a JPEG that is stored sideways, whatever its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (32, 24), (200, 200, 200)).save(path, "JPEG", exif=exif)
    return path


def run_batch(
    sources: Path | list[str],
    destination: Path,
    *,
    job: Job = JOB,
    engine: Callable[..., Any] = darken,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
) -> tuple[run.Summary, Plan]:
    """Run a whole batch like the command."""
    names = [str(sources)] if isinstance(sources, Path) else sources
    items = plan_items(find_sources(names, destination, bytes))
    with run.open_folder(destination) as folder:
        results = run.read_results(folder, run.make_settings_digester(job))
        plan, summary = results.plan(items), run.Summary()
        control = Control(lambda: None, cancel or CancelToken())  # type: ignore[arg-type, return-value]
        run.run(folder, plan.pending, job, engine, control, results, summary=summary, overwrite=overwrite)
        return summary, plan


def read_results(destination: Path) -> dict[str, bytes]:
    """Read all results in a folder, by their relative names."""
    return {
        path.relative_to(destination).as_posix(): path.read_bytes()
        for path in sorted(destination.rglob("*"))
        if path.is_file() and path.relative_to(destination).parts[0] not in _OWN
    }


def _kill_at(moment: int) -> None:
    """Let the process kill itself before or after one of the writes."""
    moments = itertools.count(1)

    def count() -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            count()
            answer = inner(*args, **options)
            count()
            return answer

        setattr(owner, name, counted)

    for name in ("write_part", "put_in_place", "write_whole"):
        wrap(recorder, name)
    for name in ("write", "finish"):
        wrap(recorder.Journal, name)
    for name in ("link", "fsync", "unlink"):
        wrap(os, name)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        _kill_at(int(sys.argv[3]))
    run_batch(Path(sys.argv[1]), Path(sys.argv[2]))
