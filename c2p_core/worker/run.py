"""Runs the worker's process."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from c2p_core.api import DEFAULT_IDLE
from c2p_core.errors import C2PError
from c2p_core.paths import log_folder
from c2p_core.signals import handle_termination
from c2p_core.worker.control import kill
from c2p_core.worker.log import LOG, open_log
from c2p_core.worker.memory import share_one_heap
from c2p_core.worker.run_folder import default_run_folder, hold_worker_lock, make_private
from c2p_core.worker.server import Server, Settings
from c2p_core.worker.supervise import default_command

_NOT_RUNNING = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker until it is idle, or end one; returns the exit code, 0 also if one is already running."""
    parser = argparse.ArgumentParser(prog="python -m c2p_core.worker", description="The worker that plug-ins use.")
    parser.add_argument("--run", type=Path, metavar="DIR", help="run folder")
    # A worker that a plug-in starts can only be configured by its environment.
    default_idle = os.environ.get("C2P_IDLE") or DEFAULT_IDLE
    parser.add_argument(
        "--idle", type=float, default=default_idle, metavar="SECONDS", help="time without work after which it ends"
    )
    parser.add_argument("--tcp", action="store_true", help="listen on 127.0.0.1 instead of a private socket")
    parser.add_argument("--stop", action="store_true", help="end by force the worker that did not answer a client")
    options = parser.parse_args(arguments)
    if options.stop:
        result = kill(options.run)
        print(result.message)
        return 0 if result.was_running else _NOT_RUNNING
    try:
        return run(options.run, options.idle, options.tcp)
    except C2PError as error:
        print(f"worker: {error}", file=sys.stderr)
        return error.exit_code


def run(
    folder: Path | None = None,
    idle: float = DEFAULT_IDLE,
    tcp: bool = False,
    compute: Sequence[str] = (),
    on_start: Callable[[], object] = lambda: None,
) -> int:
    """Serve until idle, a signal or a client's ``stop``; returns 0, also if another worker is already running.

    Args:
        folder: the run folder, the default one when None.
        idle: seconds without work.
        tcp: listen on 127.0.0.1.
        compute: command that starts the computing process, the default one when empty.
        on_start: called once this process holds the lock of the one worker.

    Raises:
        CannotWrite: its folders are not writable.
    """
    os.umask(0o077)
    share_one_heap()
    folder = (folder or default_run_folder()).absolute()
    logs = log_folder()
    for path in (folder, logs):
        make_private(path)
    try:
        Path.cwd()
    except OSError:
        # The host was started in a folder that no longer exists, where Intel's MKL would end the computing process.
        os.chdir(folder)
    with hold_worker_lock(folder) as acquired:
        if not acquired:
            print("worker: another one runs already", file=sys.stderr)
            return 0
        log = open_log(logs)
        server = Server(Settings(folder, log, idle, tcp, compute or default_command()))
        try:
            with handle_termination(lambda _: server.stop()):
                on_start()
                server.run()
        except Exception:
            LOG.exception("the worker failed")
            raise
    return 0
