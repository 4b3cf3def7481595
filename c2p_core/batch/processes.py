"""The engine of several processes on this machine, each of which runs the one-process engine.

This process hands out photos and passes on their outcomes. A process that dies, such as for lack of memory, affects
only its photos: each is tried once more, alone in a process, and one that ends its process again has failed.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any, cast

from c2p_core.api import CancelToken, Progress
from c2p_core.batch.engine import Backlog, Control, Engine, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.errors import BadRequest
from c2p_core.models.store import ModelStore

# Photos that a process has at a time: one being searched, and the next, whose faces are detected meanwhile.
_PHOTOS_PER_PROCESS = 2
_MAX_TRIES = 2
# Consecutive processes that may die before their first outcome: as many as three bad photos end.
_MAX_FAILED_STARTS = 6


def protect_in_processes(count: int, engine: Engine | None = None) -> Engine:
    """An engine of several processes, each of which loads the models and uses its share of the cores.

    Args:
        count: number of processes.
        engine: the engine that runs in each, a function of a module; the one-process engine when None.
    """
    return lambda items, job, control: _Pool(count, engine, job, control, Backlog(iter(items), _MAX_TRIES)).run()


def share_cores(count: int) -> int:
    """The number of cores for each of ``count`` processes."""
    return max(1, (os.cpu_count() or 1) // count)


@dataclass
class _Process:
    """A process, and the photos that it was given."""

    process: Any
    link: connection.Connection
    items: dict[int, Item] = field(default_factory=dict)
    ending: bool = False
    has_finished_any: bool = False


class _Pool:
    def __init__(self, count: int, engine: Engine | None, job: Job, control: Control, backlog: Backlog) -> None:
        self._count = count
        self._engine = engine
        self._job = job
        self._control = control
        self._backlog = backlog
        self._processes: list[_Process] = []
        self._cancelled = False
        self._failed_starts = 0

    def run(self) -> Generator[Outcome, None, None]:
        try:
            for _ in range(self._count):
                self._processes.append(self._start())
            while self._processes:
                self._hand_out()
                links = {process.link: process for process in self._processes}
                for link in connection.wait(list(links), timeout=0.2):
                    yield from self._receive(links[cast(connection.Connection, link)])
        finally:
            for process in self._processes:
                process.process.terminate()
                process.process.join()
                process.link.close()

    def _start(self) -> _Process:
        context = multiprocessing.get_context("spawn")
        parent_end, child_end = context.Pipe()
        store = self._control.store()
        cores = share_cores(self._count)
        process = context.Process(
            target=_run_worker, args=(child_end, self._engine, self._job, store.root, store.offline, cores), daemon=True
        )
        process.start()
        child_end.close()
        return _Process(process, parent_end)

    def _hand_out(self) -> None:
        if self._control.cancel.cancelled:
            self._cancel_all()
            return
        for process in self._processes:
            while not process.ending and len(process.items) < _PHOTOS_PER_PROCESS:
                item = self._backlog.take(process.items.values())
                if item is None:
                    # A photo that is tried alone must be finished before the next one. And another process may still
                    # die, and leave its photos to this one.
                    if not self._backlog.empty or any(other.items for other in self._processes if other is not process):
                        break
                    self._send(process, ("end", None))
                    process.ending = True
                    break
                process.items[item.number] = item
                self._send(process, ("photo", item))

    def _cancel_all(self) -> None:
        """Drop the photos that are left, and tell every process once, whatever it works on."""
        if self._cancelled:
            return
        self._cancelled = True
        self._backlog.clear()
        for process in self._processes:
            self._send(process, ("cancel", None))
            process.ending = True

    def _send(self, process: _Process, message: tuple[str, object]) -> None:
        try:
            process.link.send(message)
        except OSError:
            return  # it has ended, which the next receive notices

    def _receive(self, process: _Process) -> Iterator[Outcome]:
        try:
            kind, payload = process.link.recv()
        except (EOFError, OSError):
            yield from self._replace_ended(process)
            return
        if kind == "outcome":
            process.items.pop(payload.item.number, None)
            if not process.has_finished_any:
                process.has_finished_any = True
                self._failed_starts = 0
            yield payload
        elif kind == "progress":
            self._control.report_progress(*payload)
        elif kind == "known?":
            self._send(process, ("known", self._control.find_reuse(*payload)))
        elif kind == "fatal":
            raise payload

    def _replace_ended(self, process: _Process) -> Iterator[Outcome]:
        """Remove a process that ended, and start another one if photos are left.

        Raises:
            BadRequest: no process gets as far as an outcome.
        """
        process.process.join()
        process.link.close()
        self._processes.remove(process)
        if self._control.cancel.cancelled or (process.ending and not process.items):
            return
        reason = _describe_end(process.process.exitcode)
        if not process.has_finished_any:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise BadRequest("processes-die", reason=reason)
        yield from self._backlog.requeue(list(process.items.values()), reason)
        self._processes.append(self._start())


def _describe_end(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _run_worker(
    link: connection.Connection, engine: Engine | None, job: Job, models: Path, offline: bool, cores: int
) -> None:
    """Run the one-process engine in a process, with photos and outcomes passing through the link."""
    # The terminal sends Ctrl-C to all processes; only the first one handles it.
    for name in ("SIGINT", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if engine is None:
        import torch

        from c2p_core.batch.local import protect_here

        torch.set_num_threads(cores)
        engine = protect_here
    _Worker(link).run(engine, job, lambda: ModelStore(models, offline))


class _Worker:
    """The worker's end of the link."""

    def __init__(self, link: connection.Connection) -> None:
        self._link = link
        self._send_lock = threading.Lock()
        self._query_lock = threading.Lock()
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._reuse_replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._cancel = CancelToken()

    def run(self, engine: Engine, job: Job, store: Callable[[], ModelStore]) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        control = Control(store, self._cancel, self._report_progress, self._query_reuse)
        try:
            for outcome in engine(iter(self._items.get, None), job, control):
                self._send("outcome", outcome)
        except Exception as error:
            self._send("fatal", error)

    def _listen(self) -> None:
        while True:
            try:
                kind, payload = self._link.recv()
            except (EOFError, OSError):
                os._exit(1)  # the parent process is gone
            if kind == "photo":
                self._items.put(payload)
            elif kind == "known":
                self._reuse_replies.put(payload)
            else:
                if kind == "cancel":
                    self._cancel.cancel()
                self._items.put(None)

    def _report_progress(self, item: Item, progress: Progress) -> None:
        self._send("progress", (item, progress))

    def _query_reuse(self, item: Item, digest: str) -> Any:
        # Replies don't say which query they answer, and two threads ask.
        with self._query_lock:
            self._send("known?", (item, digest))
            return self._reuse_replies.get()

    def _send(self, kind: str, payload: object) -> None:
        with self._send_lock:
            self._link.send((kind, payload))
