"""Signals that end a command: Ctrl-C, a closed terminal, the stop of a service manager."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # not every platform has all of them


class Interrupted(BaseException):
    """A signal ended the command. Not a ``KeyboardInterrupt``, for which click prints an empty line."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = exit_code(number)


def exit_code(number: int) -> int:
    """What a shell reports for a program that a signal ended."""
    return 128 + number


@contextmanager
def handle_ending(handle: Callable[[int], object]) -> Iterator[None]:
    """Call ``handle`` with the number of each signal that would end the process, until the block is left.

    Signals that were ignored when the process was started (by nohup, or `&` in a script) stay ignored.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in _ENDING if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, lambda received, frame: handle(received))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def interrupt(number: int) -> None:
    """End the command where it is.

    Raises:
        Interrupted: always.
    """
    raise Interrupted(number)
