"""Locks a folder of objects against a second batch: only one can create the lock object, and its owner refreshes it.

The clocks of two machines may differ. So a lock counts as stale if it does not change while it is watched here; it
contains no time.
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
HEARTBEAT_SECONDS = 10.0  # between two changes of a lock by its owner
_STALE_SECONDS = 60.0  # without a change after which it counts as stale
_SETTLE_SECONDS = 2.0  # after which a lock that was taken over is checked again
_MAX_BYTES = 4096


class StoreLock:
    """A lock that is held.

    Attributes:
        store: the locked store; once it is locked, it is known whether it refuses to replace objects.
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
        """Check that it was not lost.

        Raises:
            CannotWrite: another machine has taken it over, such as while this one was asleep.
        """
        if self._lost.is_set():
            raise CannotWrite("store-lock-lost", url=self._store.url)

    def confirm(self) -> None:
        """Like ``check``, with a request to the store: before an object is replaced.

        Raises:
            CannotWrite: see ``check``; the store can't be used.
        """
        if self._read().get("token") != self._token:
            self._lost.set()
        self.check()

    def acquire(self, stale_seconds: float = _STALE_SECONDS) -> None:
        """Take it, immediately or once an existing lock is stale.

        Raises:
            BadRequest: another machine has it.
            CannotWrite: the store can't be used.
        """
        try:
            self._store.put_new(LOCK, self._encode())
        except FileExistsError:
            self._take_over(stale_seconds)
        self.store = self._store.check_refuses_existing(LOCK, self._encode())
        self._thread.start()

    def release(self) -> None:
        """Remove it, unless it was lost."""
        self._released.set()
        self._thread.join()
        if not self._lost.is_set() and self._read().get("token") == self._token:
            self._store.remove(LOCK)

    def _take_over(self, stale_seconds: float) -> None:
        initial = self._read()
        # This process holds the lock of this machine, so a lock of the same machine is from a run that was killed.
        if initial.get("machine") != self._machine:
            deadline = time.monotonic() + stale_seconds
            while time.monotonic() < deadline:
                time.sleep(min(1.0, stale_seconds))
                if (current := self._read()) and current != initial:
                    raise BadRequest("batch-elsewhere", url=self._store.url, host=str(current.get("host", "?")))
        self._store.put(LOCK, self._encode())
        time.sleep(min(_SETTLE_SECONDS, stale_seconds))
        if (current := self._read()).get("token") != self._token:
            raise BadRequest("batch-elsewhere", url=self._store.url, host=str(current.get("host", "?")))

    def _keep_fresh(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            try:
                if self._read().get("token") != self._token:
                    self._lost.set()
                    return
                self._store.put(LOCK, self._encode())
            except CannotWrite:
                continue  # writing results reports a store that can't be reached

    def _encode(self) -> bytes:
        self._beats += 1
        content = {"token": self._token, "machine": self._machine, "host": socket.gethostname(), "beats": self._beats}
        return json.dumps(content).encode()

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._store.read(LOCK, _MAX_BYTES) or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


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


def read_machine_name(path: Path) -> str:
    """The random name of this machine, which is kept in a file.

    Raises:
        CannotWrite: it can't be written.
    """
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        write_whole(path, secrets.token_hex(16).encode())
        return path.read_text(encoding="ascii")
