"""Keeps a second batch out of a folder of objects: an object that only one can make, and that its owner keeps fresh.

Clocks of two machines may differ. So a lock counts as left behind when it did not change while it was watched here, not
by the time that is in it.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from c2p_core.batch.objects import Store
from c2p_core.errors import BadRequest, CannotWrite
from c2p_core.io.atomic_files import write_whole

LOCK = ".c2p/lock"
BEAT = 10.0  # seconds between two changes of a lock by its owner
_SILENCE = 60.0  # seconds without one after which it counts as left behind
_SETTLE = 2.0  # seconds after which a lock that was taken over is looked at again
_LARGEST = 4096


class StoreLock:
    """A lock that is held.

    Attributes:
        store: whose lock it is; once it is held, it is known whether new objects of it replace others.
    """

    def __init__(self, store: Store, machine: str) -> None:
        self.store = self._store = store
        self._machine = machine
        self._token = secrets.token_hex(16)
        self._beats = 0
        self._lost = threading.Event()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, daemon=True)

    def check(self) -> None:
        """Raises:
        CannotWrite: somebody has taken it over, as after this machine was asleep.
        """
        if self._lost.is_set():
            raise CannotWrite("store-lock-lost", url=self._store.url)

    def confirm(self) -> None:
        """As ``check``, by what the store says now: before what is written replaces something.

        Raises:
            CannotWrite: see ``check``; the store can't be used.
        """
        if self._read().get("token") != self._token:
            self._lost.set()
        self.check()

    def acquire(self, silence: float = _SILENCE) -> None:
        """Take it, at once or after the given seconds of silence of a lock that was left behind.

        Raises:
            BadRequest: another machine has it.
            CannotWrite: the store can't be used.
        """
        try:
            self._store.put_new(LOCK, self._written())
        except FileExistsError:
            self._take_over(silence)
        self.store = self._store.find_condition(LOCK, self._written())
        self._thread.start()

    def release(self) -> None:
        """Remove it, unless it was lost."""
        self._released.set()
        self._thread.join()
        if not self._lost.is_set() and self._read().get("token") == self._token:
            self._store.remove(LOCK)

    def _take_over(self, silence: float) -> None:
        first = self._read()
        # Whoever runs this holds the lock of this machine, so that one is left of a run that was killed.
        if first.get("machine") != self._machine:
            until = time.monotonic() + silence
            while time.monotonic() < until:
                time.sleep(min(1.0, silence))
                if (there := self._read()) and there != first:
                    raise BadRequest("batch-elsewhere", url=self._store.url, host=str(there.get("host", "?")))
        self._store.put(LOCK, self._written())
        time.sleep(min(_SETTLE, silence))
        if (there := self._read()).get("token") != self._token:
            raise BadRequest("batch-elsewhere", url=self._store.url, host=str(there.get("host", "?")))

    def _keep_fresh(self) -> None:
        while not self._released.wait(BEAT):
            try:
                if self._read().get("token") != self._token:
                    self._lost.set()
                    return
                self._store.put(LOCK, self._written())
            except CannotWrite:
                continue  # what cannot be reached now is told where results are written

    def _written(self) -> bytes:
        self._beats += 1
        told = {"token": self._token, "machine": self._machine, "host": socket.gethostname(), "beats": self._beats}
        return json.dumps(told).encode()

    def _read(self) -> dict[str, Any]:
        try:
            said = json.loads(self._store.read(LOCK, _LARGEST) or b"{}")
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


@contextmanager
def hold_store(store: Store, machine: str) -> Iterator[StoreLock]:
    """Hold the lock of a folder of objects.

    Raises:
        BadRequest: another machine has it.
        CannotWrite: the store can't be used.
    """
    lock = StoreLock(store, machine)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def read_machine(path: Path) -> str:
    """The name that this machine gives itself by chance, kept in a file.

    Raises:
        CannotWrite: it can't be written.
    """
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        write_whole(path, secrets.token_hex(16).encode())
        return path.read_text(encoding="ascii")
