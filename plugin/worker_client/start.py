"""Starts a worker that outlives the plug-in and shares nothing with it, and ends one that does not respond."""

import errno
import os
import subprocess
import sys
import time

from worker_client.constants import START_LOG
from worker_client.errors import WorkerProblem
from worker_client.location import make_terminal_command, to_readable

# GIMP's own libraries and Python settings must not reach another Python.
_HOST_PREFIXES = (
    "LD_",
    "DYLD_",
    "PYTHON",
    "GI_",
    "GIO_",
    "GTK_",
    "GDK_",
    "GEGL_",
    "BABL_",
    "GIMP",
    "GST_",
    "QT_",
    "VIRTUAL_ENV",
)
# The longest that ending a worker by force may take.
_END_SECONDS = 60.0
# Without DETACHED_PROCESS, with which Windows ignores the second flag: the launcher of a virtual environment would then
# open a console for the real Python, and closing that window would end the worker.
_NEW_GROUP, _NO_WINDOW = 0x00000200, 0x08000000

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Mapping
    from typing import Any

    from worker_client.location import WorkerLocation


def start(location):
    # type: (WorkerLocation) -> subprocess.Popen[bytes]
    """Starts the worker's process and returns at once; it may take seconds until it answers.

    Raises:
        WorkerProblem: it can't be started from here.
    """
    if _is_sandboxed():
        raise WorkerProblem("sandbox-start", command="%s worker run" % make_terminal_command(location))
    try:
        make_private(location.run_folder)
        log = os.open(os.path.join(location.run_folder, START_LOG), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except (OSError, IOError) as error:
        raise WorkerProblem(
            "run-folder-not-written",
            path=to_readable(location.run_folder),
            reason=to_readable(error.strerror or ""),
        )
    try:
        return _run_program(location, [], log)
    finally:
        os.close(log)


def end(location):
    # type: (WorkerLocation) -> bool
    """Has the worker's own program kill a worker that does not answer; False when none runs.

    Raises:
        WorkerProblem: it can't be ended from here.
    """
    if _is_sandboxed():
        raise WorkerProblem("sandbox-stop", command="%s worker stop" % make_terminal_command(location))
    process = _run_program(location, ["--stop"], None)
    deadline = time.time() + _END_SECONDS
    while process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    # 0 and 1 as ``c2p_core/worker/run.py`` has them; 2 when it does not know the option.
    if process.poll() not in (0, 1):
        raise WorkerProblem("worker-not-ended")
    return process.poll() == 0


def _is_sandboxed():
    # type: () -> bool
    """Whether this GIMP comes from Flatpak and may not start programs."""
    return os.path.exists("/.flatpak-info")


def _run_program(location, options, log):
    # type: (WorkerLocation, list[str], int | None) -> subprocess.Popen[bytes]
    """Runs the worker's program, with its errors in ``log``."""
    environment = clean_environment(os.environ)
    environment.update(location.environment)
    try:
        with open(os.devnull, "r+b") as null:
            streams = make_detached_options(null, null if log is None else log)
            return subprocess.Popen(
                location.command + ["--run", location.run_folder] + options, env=environment, **streams
            )
    except (OSError, IOError, ValueError) as error:
        raise WorkerProblem(
            "worker-not-startable",
            path=to_readable(location.command[0]),
            reason=to_readable(getattr(error, "strerror", None) or str(error)),
        )


def clean_environment(environment):
    # type: (Mapping[str, str]) -> dict[str, str]
    """The environment without the variables that GIMP and its packaging set for themselves."""
    cleaned = {name: value for name, value in environment.items() if not name.startswith(_HOST_PREFIXES)}
    app_folder = environment.get("APPDIR")
    if app_folder and "PATH" in cleaned:
        cleaned["PATH"] = os.pathsep.join(
            part for part in cleaned["PATH"].split(os.pathsep) if not part.startswith(app_folder)
        )
    return cleaned


def make_private(folder):
    # type: (str) -> None
    """Makes a folder that nobody else may enter."""
    try:
        os.makedirs(folder, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    os.chmod(folder, 0o700)


def make_detached_options(null, log):
    # type: (Any, Any) -> dict[str, Any]
    """Options for ``Popen``: the worker must inherit no pipe of GIMP's, which would block GIMP as long as it runs."""
    options = {"stdin": null, "stdout": null, "stderr": log, "close_fds": True}  # type: dict[str, Any]
    if os.name == "nt":
        options["creationflags"] = _NEW_GROUP | _NO_WINDOW
        if sys.version_info[0] == 2:  # there it is either closed or redirected
            options = {"close_fds": True, "creationflags": options["creationflags"]}
    elif sys.version_info[0] == 2:
        options["preexec_fn"] = os.setsid
    else:
        options["start_new_session"] = True
    options["cwd"] = os.path.expanduser("~")
    return options
