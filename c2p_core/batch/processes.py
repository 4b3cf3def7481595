"""The engine of other processes on this machine, each of which runs the one-process engine.

This process hands out photos and passes on their outcomes; it loads no models. A process that dies, for lack of memory
or in the decoder of a broken file, affects only its photos: each is tried once more, alone in a process, and one that
ends its process again has failed.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any, cast

from c2p_core.api import CancelToken, Progress
from c2p_core.batch.engine import Backlog, Control, Engine, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.queries import Answer, Query, answer_query, forward_queries
from c2p_core.errors import BadRequest, Message
from c2p_core.models.store import ModelStore

# Photos that a process has at a time: one being searched, and the next, whose faces are detected meanwhile. A process
# that shares the photos with no other also has the one that is being finished, so that its detection never waits.
_PHOTOS_PER_PROCESS, _PHOTOS_OF_ONLY_PROCESS = 2, 3
_MAX_TRIES = 2
# Consecutive processes that may die before their first outcome: as many as three bad photos end.
_MAX_FAILED_STARTS = 6


def protect_in_processes(count: int, engine: Engine | None = None) -> Engine:
    """An engine of other processes, each of which loads the models and uses its share of the cores.

    Args:
        count: number of processes.
        engine: the engine that runs in each, a function of a module; the one-process engine when None.
    """

    def run(items: Any, job: Job, control: Control) -> Generator[Outcome, None, None]:
        with open_processes(count, engine) as protect:
            yield from protect(items, job, control)

    return run


@contextmanager
def open_processes(count: int, engine: Engine | None = None) -> Iterator[Engine]:
    """The same engine, whose processes keep their models until the block ends, for further runs with the same job."""
    pool = _Pool(count, engine)
    try:
        yield lambda items, job, control: _Run(pool, job, control, Backlog(iter(items), _MAX_TRIES)).run()
    finally:
        pool.close()


def share_cores(count: int) -> int:
    """The number of cores for each of ``count`` processes."""
    return max(1, (os.cpu_count() or 1) // count)


@dataclass
class _Process:
    """A process, and the photos that it was given."""

    process: Any
    link: connection.Connection
    items: dict[int, Item] = field(default_factory=dict)
    has_finished_any: bool = False

    def send(self, kind: str, payload: object = None) -> None:
        try:
            self.link.send((kind, payload))
        except OSError:
            return  # it has ended, which the next receive notices


@dataclass
class _Pool:
    """The processes, which may outlast a run.

    Attributes:
        count: how many there may be.
        engine: see ``protect_in_processes``.
        job: of all of them.
        failed_starts: how many have died since the last one that had an outcome.
    """

    count: int
    engine: Engine | None
    job: Job | None = None
    processes: list[_Process] = field(default_factory=list)
    failed_starts: int = 0

    def begin(self, job: Job) -> None:
        """Keep the processes of an earlier run that can go on with this job."""
        if job is not self.job:
            self.close()
            self.job = job
        for process in list(self.processes):
            if not process.process.is_alive():
                self.remove(process)

    def start(self, store: ModelStore) -> _Process:
        context = multiprocessing.get_context("spawn")
        parent_end, child_end = context.Pipe()
        # Alone, a process uses the cores as any program does that computes with torch.
        cores = share_cores(self.count) if self.count > 1 else None
        process = context.Process(
            target=_run_worker, args=(child_end, self.engine, self.job, store.root, store.offline, cores), daemon=True
        )
        process.start()
        child_end.close()
        self.processes.append(_Process(process, parent_end))
        return self.processes[-1]

    def remove(self, process: _Process) -> None:
        """Forget a process that has ended or is about to."""
        process.process.join()
        process.link.close()
        self.processes.remove(process)

    def close(self) -> None:
        """End all processes immediately."""
        for process in self.processes:
            process.process.kill()
        for process in list(self.processes):
            self.remove(process)


@dataclass
class _Run:
    """One run of an engine."""

    pool: _Pool
    job: Job
    control: Control
    backlog: Backlog
    cancelled: bool = False

    def run(self) -> Generator[Outcome, None, None]:
        try:
            self.pool.begin(self.job)
            while True:
                if self.control.cancel.cancelled:
                    self._cancel_all()
                else:
                    self._hand_out()
                # Photos that were searched before the cancellation are still finished, and then a process ends.
                if not any(self.cancelled or process.items for process in self.pool.processes):
                    return
                links = {process.link: process for process in self.pool.processes}
                for link in connection.wait(list(links), timeout=0.2):
                    yield from self._receive(links[cast(connection.Connection, link)])
        except BaseException:
            self.pool.close()  # they are still at work on photos that nobody waits for
            raise

    def _hand_out(self) -> None:
        limit = _PHOTOS_PER_PROCESS if self.pool.count > 1 else _PHOTOS_OF_ONLY_PROCESS
        for process in self.pool.processes:
            while len(process.items) < limit and (item := self.backlog.take(process.items.values())) is not None:
                self._give(process, item)
        while len(self.pool.processes) < self.pool.count and (item := self.backlog.take()) is not None:
            self._give(self.pool.start(self.control.store()), item)

    def _give(self, process: _Process, item: Item) -> None:
        process.items[item.number] = item
        process.send("photo", item)

    def _cancel_all(self) -> None:
        """Drop the photos that are left, and tell every process once, whatever it works on."""
        if self.cancelled:
            return
        self.cancelled = True
        self.backlog.clear()
        for process in self.pool.processes:
            process.send("cancel")

    def _receive(self, process: _Process) -> Iterator[Outcome]:
        try:
            kind, payload = process.link.recv()
        except (EOFError, OSError):
            yield from self._remove_ended(process)
            return
        if kind == "outcome":
            process.items.pop(payload.item.number, None)
            if not process.has_finished_any:
                process.has_finished_any = True
                self.pool.failed_starts = 0
            yield payload
        elif kind == "progress":
            self.control.report_progress(*payload)
        elif kind == "query":
            process.send("answer", answer_query(payload, self.control))
        elif kind == "fatal":
            raise payload

    def _remove_ended(self, process: _Process) -> Iterator[Outcome]:
        """Remove a process that ended and take back its photos, except those that ended two.

        Raises:
            BadRequest: no process gets as far as an outcome.
        """
        self.pool.remove(process)
        if self.control.cancel.cancelled or not process.items:
            return
        reason = _describe_end(process.process.exitcode)
        if not process.has_finished_any:
            self.pool.failed_starts += 1
            if self.pool.failed_starts >= _MAX_FAILED_STARTS:
                raise BadRequest("processes-die", reason=reason)
        yield from self.backlog.requeue(list(process.items.values()), reason)


def _describe_end(code: int | None) -> Message | str:
    """Why a process ended, by its exit code: the name of a signal, or a message."""
    if code is None or code >= 0:
        return Message("exit-code", number=code)
    try:
        return signal.Signals(-code).name
    except ValueError:
        return Message("exit-signal", number=-code)


def _run_worker(
    link: connection.Connection, engine: Engine | None, job: Job, models: Path, offline: bool, cores: int | None
) -> None:
    """Run the one-process engine in a process, with photos and outcomes passing through the link."""
    # The terminal sends Ctrl-C to all processes, and only the first one handles it.
    for name in ("SIGINT", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    worker = _Worker(link)
    # A service manager ends all processes with this one; what was searched is finished.
    signal.signal(signal.SIGTERM, lambda *_: worker.cancel())
    if engine is None:
        import torch

        from c2p_core.batch.local import protect_here

        if cores is not None:
            torch.set_num_threads(cores)
        engine = protect_here
    worker.run(engine, job, lambda: ModelStore(models, offline))


class _Worker:
    """The worker's end of the link."""

    def __init__(self, link: connection.Connection) -> None:
        self._link = link
        self._send_lock = threading.Lock()
        self._query_lock = threading.Lock()
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._cancel = CancelToken()
        # From the beginning, so that this process ends with the first one even while libraries are being loaded.
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self, engine: Engine, job: Job, store: Callable[[], ModelStore]) -> None:
        control = forward_queries(Control(store, self._cancel, self._report_progress), self._ask)
        try:
            for outcome in engine(iter(self._items.get, None), job, control):
                self._send("outcome", outcome)
        except Exception as error:
            if os.environ.get("C2P_DEBUG"):
                traceback.print_exc()  # the error loses its traceback on its way
            self._send("fatal", error)

    def cancel(self) -> None:
        """Start no further photo, and end searches within a step."""
        self._cancel.cancel()
        self._items.put(None)

    def _listen(self) -> None:
        while True:
            try:
                kind, payload = self._link.recv()
            except (EOFError, OSError):
                os._exit(1)  # the first process is gone
            if kind == "photo":
                self._items.put(payload)
            elif kind == "answer":
                self._answers.put(payload)
            else:
                self.cancel()

    def _report_progress(self, item: Item, progress: Progress) -> None:
        self._send("progress", (item, progress))

    def _ask(self, query: Query) -> Answer:
        # Answers don't say which query they belong to, and two threads ask.
        with self._query_lock:
            self._send("query", query)
            return self._answers.get()

    def _send(self, kind: str, payload: object) -> None:
        with self._send_lock:
            self._link.send((kind, payload))
