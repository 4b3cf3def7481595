"""Signals that end a command: Ctrl-C, a closed terminal, the stop of a service manager."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TERMINATING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # not every platform has all of them


class Interrupted(BaseException):
    """A signal ended the command. Not a ``KeyboardInterrupt``, for which click prints an empty line."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = to_exit_code(number)


def to_exit_code(number: int) -> int:
    """The exit code that a shell reports for a program ended by a signal."""
    return 128 + number


@contextmanager
def handle_termination(handle: Callable[[int], object]) -> Iterator[None]:
    """Call ``handle`` with the number of each signal that would end the process, until the block is left.

    Signals that were ignored when the process was started (by nohup, or `&` in a script) stay ignored.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in _TERMINATING if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, lambda received, frame: handle(received))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def interrupt(number: int) -> None:
    """End the command immediately.

    Raises:
        Interrupted: always.
    """
    raise Interrupted(number)
