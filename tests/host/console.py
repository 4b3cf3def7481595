"""A GIMP that runs one script after the other, for tests that need none of their own; starting it takes seconds."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

SERVE = Path(__file__).with_name("serve.py")
# The longest that a script may take, and a start.
SECONDS = 240


class Console:
    """Starts with the first script, and anew after one that ended GIMP or hung.

    Attributes:
        address: of the socket through which ``serve.py`` gets the scripts, as GIMP sees it.
    """

    def __init__(self, share: Path, name: str) -> None:
        """``share`` is a folder that GIMP sees under the same path, ``name`` this GIMP's own in it."""
        self.address = share / f"{name}.socket"
        self._log = share / f"{name}.log"
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def run(self, script: Path, start: Callable[[IO[bytes]], subprocess.Popen[bytes]]) -> str:
        """Runs a script; what GIMP printed meanwhile.

        Args:
            script: in the share.
            start: starts GIMP with ``serve.py``; gets the file for what it prints.

        Raises:
            AssertionError: the script raised, ended GIMP or hung; with what GIMP printed.
        """
        before = self._log.stat().st_size if self._log.exists() else 0
        if self._running is None:
            self._running = self._start_process(start)
        _, connection = self._running
        connection.sendall(f"{script}\n".encode())
        try:
            answer = connection.recv(1)
        except TimeoutError:
            answer = b""
        output = self._log.read_bytes()[before:].decode(errors="replace")
        if not answer:
            self.close(seconds=0)
            output += f"GIMP ended, or the script took longer than {SECONDS} s."
        assert answer == b"+", output
        return output

    def close(self, seconds: float = 30) -> None:
        """Lets GIMP end, by force when that takes longer."""
        if self._running is None:
            return
        process, connection = self._running
        self._running = None
        connection.close()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_process(
        self, start: Callable[[IO[bytes]], subprocess.Popen[bytes]]
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.address))
            listener.listen()
            listener.settimeout(0.5)
            with self._log.open("ab") as output:
                process = start(output)
            deadline = time.monotonic() + SECONDS
            while True:
                try:
                    connection, _ = listener.accept()
                    break
                except TimeoutError:
                    assert process.poll() is None and time.monotonic() < deadline, self._log.read_text(errors="replace")
        self.address.unlink()
        connection.settimeout(SECONDS)
        return process, connection
