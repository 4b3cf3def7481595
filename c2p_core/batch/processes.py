"""The engine of several processes on this machine, each of which is the engine of one process.

This process hands out photos and passes on what comes back. A process that dies, as for want of memory, costs nothing
but its photos: they are tried once more, and one that ends its process again has failed.
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
from c2p_core.models.store import ModelStore

# Photos that a process has at a time: one that it searches, and the next, whose faces it looks for meanwhile.
_IN_HAND = 2
_MOST_TRIES = 2


def protect_in_processes(count: int, engine: Engine | None = None) -> Engine:
    """An engine of so many processes.

    Each takes the models' memory, and its share of the cores.

    Args:
        count: of the processes.
        engine: that works in each, a function of a module; that of one process when None.
    """
    return lambda items, job, control: _Pool(count, engine, job, control, Backlog(iter(items), _MOST_TRIES)).run()


def share_cores(count: int) -> int:
    """The cores that each of so many processes gets."""
    return max(1, (os.cpu_count() or 1) // count)


@dataclass
class _Process:
    """A process, and the photos that it has."""

    process: Any
    link: connection.Connection
    has: dict[int, Item] = field(default_factory=dict)
    told_to_end: bool = False


class _Pool:
    def __init__(self, count: int, engine: Engine | None, job: Job, control: Control, backlog: Backlog) -> None:
        self._count = count
        self._engine = engine
        self._job = job
        self._control = control
        self._backlog = backlog
        self._processes: list[_Process] = []

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
        here, there = context.Pipe()
        store = self._control.store()
        cores = share_cores(self._count)
        process = context.Process(
            target=_work, args=(there, self._engine, self._job, store.root, store.offline, cores), daemon=True
        )
        process.start()
        there.close()
        return _Process(process, here)

    def _hand_out(self) -> None:
        if self._control.cancel.cancelled:
            self._backlog.clear()
        for process in self._processes:
            while not process.told_to_end and len(process.has) < _IN_HAND:
                item = self._backlog.take()
                if item is None:
                    if self._control.cancel.cancelled:
                        self._send(process, ("cancel", None))
                    # Another process may still die, and its photos need somebody.
                    elif any(other.has for other in self._processes if other is not process):
                        break
                    self._send(process, ("end", None))
                    process.told_to_end = True
                    break
                process.has[item.number] = item
                self._send(process, ("photo", item))

    def _send(self, process: _Process, message: tuple[str, object]) -> None:
        try:
            process.link.send(message)
        except OSError:
            return  # it is gone, which waiting for it will show

    def _receive(self, process: _Process) -> Iterator[Outcome]:
        try:
            kind, said = process.link.recv()
        except (EOFError, OSError):
            yield from self._bury(process)
            return
        if kind == "outcome":
            process.has.pop(said.item.number, None)
            yield said
        elif kind == "progress":
            self._control.tell(*said)
        elif kind == "known?":
            self._send(process, ("known", self._control.reuse(*said)))
        elif kind == "fatal":
            raise said

    def _bury(self, process: _Process) -> Iterator[Outcome]:
        """Take out a process that ended, and replace it where photos are left."""
        process.process.join()
        process.link.close()
        self._processes.remove(process)
        if self._control.cancel.cancelled or (process.told_to_end and not process.has):
            return
        yield from self._backlog.give_back(list(process.has.values()), _describe_end(process.process.exitcode))
        self._processes.append(self._start())


def _describe_end(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _work(
    link: connection.Connection, engine: Engine | None, job: Job, models: Path, offline: bool, cores: int
) -> None:
    """What a process does: the engine of one process, with photos and outcomes through the link."""
    # The terminal sends Ctrl-C to all; only the first process decides what it means.
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
    """The end of the link in the process that works."""

    def __init__(self, link: connection.Connection) -> None:
        self._link = link
        self._sending = threading.Lock()
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._known: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._cancel = CancelToken()

    def run(self, engine: Engine, job: Job, store: Callable[[], ModelStore]) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        control = Control(store, self._cancel, self._tell, self._ask)
        try:
            for outcome in engine(iter(self._items.get, None), job, control):
                self._send("outcome", outcome)
        except Exception as error:
            self._send("fatal", error)

    def _listen(self) -> None:
        while True:
            try:
                kind, said = self._link.recv()
            except (EOFError, OSError):
                os._exit(1)  # whoever wanted the photos is gone
            if kind == "photo":
                self._items.put(said)
            elif kind == "known":
                self._known.put(said)
            else:
                if kind == "cancel":
                    self._cancel.cancel()
                self._items.put(None)

    def _tell(self, item: Item, progress: Progress) -> None:
        self._send("progress", (item, progress))

    def _ask(self, item: Item, digest: str) -> Any:
        self._send("known?", (item, digest))
        return self._known.get()

    def _send(self, kind: str, said: object) -> None:
        with self._sending:
            self._link.send((kind, said))
