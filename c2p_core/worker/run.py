"""The worker's process from its start to its end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from c2p_core.api import DEFAULT_IDLE
from c2p_core.errors import C2PError
from c2p_core.paths import log_folder
from c2p_core.worker.control import stop
from c2p_core.worker.log import LOG, open_log
from c2p_core.worker.memory import share_one_heap
from c2p_core.worker.run_folder import hold_worker_lock, make_private, usual_run_folder
from c2p_core.worker.server import Server, Settings
from c2p_core.worker.supervise import usual_command

_NONE_RAN = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the worker until it is not needed any more, 0 also when another one runs already; or ends one."""
    parser = argparse.ArgumentParser(prog="python -m c2p_core.worker", description="The worker that plug-ins use.")
    parser.add_argument("--run", type=Path, metavar="DIR", help="run folder")
    # A worker that a plug-in starts gets its environment, and no options of the user's.
    waiting = os.environ.get("C2P_IDLE") or DEFAULT_IDLE
    parser.add_argument("--idle", type=float, default=waiting, metavar="SECONDS", help="how long to wait for work")
    parser.add_argument("--tcp", action="store_true", help="listen on 127.0.0.1 instead of a private socket")
    parser.add_argument("--stop", action="store_true", help="end the one that runs, by force when it does not answer")
    options = parser.parse_args(arguments)
    if options.stop:
        ending = stop(options.run)
        print(ending.words)
        return 0 if ending.ran else _NONE_RAN
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
    begun: Callable[[], object] = lambda: None,
) -> int:
    """Serves until idle, a signal or a client's ``stop``; 0 also when another worker runs already.

    Args:
        folder: the run folder, the usual one when None.
        idle: seconds without work.
        tcp: listen on 127.0.0.1.
        compute: command that starts the process that computes, the usual one when empty.
        begun: called when it is this one that serves.

    Raises:
        CannotWrite: its folders can't be written.
    """
    os.umask(0o077)
    share_one_heap()
    folder = folder or usual_run_folder()
    logs = log_folder()
    for needed in (folder, logs):
        make_private(needed)
    with hold_worker_lock(folder) as alone:
        if not alone:
            print("worker: another one runs already", file=sys.stderr)
            return 0
        log = open_log(logs)
        server = Server(Settings(folder, log, idle, tcp, compute or usual_command()))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        try:
            begun()
            server.run()
        except Exception:
            LOG.exception("the worker failed")
            raise
    return 0
