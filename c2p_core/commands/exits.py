"""How commands end: sentences on stderr, exit codes, and the signals that stop them."""

from __future__ import annotations

import signal

import click

from c2p_core.api import CancelToken
from c2p_core.signals import interrupt, to_exit_code

SOME_FAILED = 8
INTERRUPTED = to_exit_code(signal.SIGINT)


def fail(sentence: str, code: int) -> int:
    """Print on stderr why the command fails; returns the exit code."""
    click.echo(f"c2p: {sentence}", err=True)
    return code


class SignalToken(CancelToken):
    """A token that a signal cancels; a second one interrupts immediately."""

    exit_code = INTERRUPTED

    def handle_signal(self, number: int) -> None:
        """Handle a signal that would end the process.

        Raises:
            Interrupted: it is not the first signal.
        """
        if self.cancelled:
            interrupt(number)
        self.exit_code = to_exit_code(number)
        self.cancel()
