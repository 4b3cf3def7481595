"""Starts a worker that outlives the plug-in and shares nothing with it."""

import errno
import os
import subprocess
import sys

from worker_client.place import REPAIR, START_LOG, terminal_command
from worker_client.problem import WorkerProblem

# GIMP's own libraries and Python settings must not reach another Python.
_ASTRAY = (
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
_DETACHED, _NEW_GROUP, _NO_WINDOW = 0x00000008, 0x00000200, 0x08000000

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Mapping
    from typing import Any

    from worker_client.place import Place


def start(place):
    # type: (Place) -> subprocess.Popen[bytes]
    """Starts the worker's process and returns at once; it may take seconds until it answers.

    Raises:
        WorkerProblem: it can't be started from here.
    """
    if os.path.exists("/.flatpak-info"):
        raise WorkerProblem(
            "sandbox",
            "This GIMP comes from Flatpak and may not start programs; open a terminal, run '%s worker run', and try"
            " again while it runs." % terminal_command(place),
        )
    try:
        make_private(place.run)
        log = os.open(os.path.join(place.run, START_LOG), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except (OSError, IOError) as error:
        raise WorkerProblem(
            "not-started",
            "The folder %s can't be written (%s); free some space or repair its permissions."
            % (place.run, error.strerror),
        )
    command = place.command + ["--run", place.run]
    environment = clean_environment(os.environ)
    environment.update(place.environment)
    try:
        with open(os.devnull, "r+b") as nothing:
            return subprocess.Popen(command, env=environment, **_detached(nothing, log))
    except (OSError, IOError, ValueError) as error:
        raise WorkerProblem(
            "not-started",
            "The worker's program %s can't be started (%s); %s, which repairs it."
            % (place.command[0], getattr(error, "strerror", None) or error, REPAIR),
        )
    finally:
        os.close(log)


def clean_environment(environment):
    # type: (Mapping[str, str]) -> dict[str, str]
    """The environment without what GIMP and its packaging put there for themselves."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_ASTRAY)}
    packed = environment.get("APPDIR")
    if packed and "PATH" in kept:
        kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if not part.startswith(packed))
    return kept


def make_private(folder):
    # type: (str) -> None
    """Makes a folder that nobody else may enter."""
    try:
        os.makedirs(folder, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    os.chmod(folder, 0o700)


def _detached(nothing, log):
    # type: (Any, int) -> dict[str, Any]
    """Options for ``Popen``: no pipe of GIMP's is inherited, which would block GIMP for the worker's whole life."""
    options = {"stdin": nothing, "stdout": nothing, "stderr": log, "close_fds": True}  # type: dict[str, Any]
    if os.name == "nt":
        options["creationflags"] = _DETACHED | _NEW_GROUP | _NO_WINDOW
        if sys.version_info[0] == 2:  # there it is either closed or redirected
            options = {"close_fds": True, "creationflags": options["creationflags"]}
    elif sys.version_info[0] == 2:
        options["preexec_fn"] = os.setsid
    else:
        options["start_new_session"] = True
    options["cwd"] = os.path.expanduser("~")
    return options
