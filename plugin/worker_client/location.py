"""Where the worker is: which Python runs it, and in which folder it publishes its address."""

import io
import json
import os
import sys

from worker_client.constants import ENDPOINT, HOME_VARIABLE, PROTOCOL
from worker_client.errors import WorkerProblem
from worker_client.protocol import TEXT

# Beside the plug-in, written by the installer: {"protocol": 2, "command": [...], "run": folder, "environment": {...}}.
POINTER = "protect-face-worker.json"
# Names such a file somewhere else.
POINTER_VARIABLE = "C2P_WORKER_POINTER"
# Names a Python that has c2p_core.
PYTHON_VARIABLE = "C2P_WORKER_PYTHON"

# What Python 2 expects of bytes that are file names; only Windows knows "mbcs".
FILE_NAMES = "mbcs" if os.name == "nt" else "utf-8"

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from typing import Any


class WorkerLocation(object):
    """How to start the worker and where to find it.

    Attributes:
        source: where this information is from, for diagnoses.
        command: program and arguments; ``--run`` and the folder are added.
        run_folder: has the endpoint file, the lock and the socket.
        environment: variables to set for the worker.
    """

    def __init__(self, source, command, run_folder, environment):
        # type: (str, list[str], str, dict[str, str]) -> None
        self.source = source
        self.command = command
        self.run_folder = run_folder
        self.environment = environment


def find_worker():
    # type: () -> WorkerLocation
    """The worker that belongs to this plug-in.

    Raises:
        WorkerProblem: none is installed, or it was installed for another version of the plug-in.
    """
    python = os.environ.get(PYTHON_VARIABLE)
    if python:
        return WorkerLocation(PYTHON_VARIABLE, _make_command(python), run_folder(), {})
    chosen = os.environ.get(POINTER_VARIABLE)
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), POINTER)
    for path in [chosen] if chosen else [beside]:
        if os.path.isfile(path):
            return _read_pointer(path)
    python = os.path.join(data_home(), "venv", *(["Scripts", "python.exe"] if os.name == "nt" else ["bin", "python"]))
    if os.path.isfile(python):
        return WorkerLocation(python, _make_command(python), run_folder(), {})
    raise WorkerProblem("worker-not-installed")


def data_home():
    # type: () -> str
    """The installer's data folder, as in ``installer/folders.py``."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return os.path.abspath(home)
    user = os.path.expanduser("~")
    if os.name == "nt":
        local = os.environ.get("LOCALAPPDATA") or os.path.join(user, "AppData", "Local")
        return os.path.join(local, "protect-face", "protect-face")
    if sys.platform == "darwin":
        return os.path.join(user, "Library", "Application Support", "protect-face")
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.join(user, ".local", "share"), "protect-face")


def run_folder():
    # type: () -> str
    """The run folder of a worker without a pointer file."""
    return os.path.join(data_home(), "run")


def make_terminal_command(location):
    # type: (WorkerLocation) -> str
    """The worker's ``c2p`` command with its full path, because it is not on the PATH."""
    program = os.path.join(os.path.dirname(location.command[0]), "c2p.exe" if os.name == "nt" else "c2p")
    return '"%s"' % program if os.path.isfile(program) else "c2p"


def read_endpoint(run_folder):
    # type: (str) -> dict[str, Any] | None
    """The content of a running worker's endpoint file; None if there is none, or it is not ours."""
    path = os.path.join(run_folder, ENDPOINT)
    try:
        if os.name != "nt":
            for name in (run_folder, path):
                entry = os.lstat(name)
                # Another user's file could send the photo to that user's socket.
                if entry.st_uid != os.geteuid() or entry.st_mode & 0o077:
                    return None
        with io.open(path, encoding="utf-8") as stream:
            content = json.loads(stream.read(65536))
    except (IOError, OSError, ValueError, RuntimeError):
        return None
    if not isinstance(content, dict) or not {"transport", "address", "token", "protocol"} <= set(content):
        return None
    return content


def read_tail(path, size=4000):
    # type: (str, int) -> str
    """The end of a log; empty if there is none."""
    try:
        with io.open(path, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - size))
            return stream.read().decode("utf-8", "replace")
    except (IOError, OSError):
        return ""


def _make_command(python):
    # type: (str) -> list[str]
    return [python, "-I", "-u", "-m", "c2p_core.worker"]


def _read_pointer(path):
    # type: (str) -> WorkerLocation
    try:
        with io.open(path, encoding="utf-8") as stream:
            content = json.loads(stream.read(65536))
        protocol, command, run = int(content["protocol"]), content["command"], content["run"]
        environment = dict(content.get("environment", {}))
        texts = [run] + list(command) + list(environment) + list(environment.values())
        if not command or not all(isinstance(part, TEXT) for part in texts):
            raise ValueError("not text")
    except (IOError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        raise WorkerProblem("pointer-unreadable", path=to_readable(path))
    if protocol != PROTOCOL:
        raise WorkerProblem("installed-protocol-differs", plug_in=PROTOCOL, worker=protocol)
    variables = {to_native(name): to_native(value) for name, value in environment.items()}
    return WorkerLocation(path, [to_native(part) for part in command], to_native(run), variables)


def to_native(text):
    # type: (Any) -> str
    """Text from JSON as a file name: Python 2 needs bytes, or fails if the locale is C."""
    if sys.version_info[0] == 2 and isinstance(text, TEXT):
        return text.encode(FILE_NAMES)  # type: ignore[no-any-return]
    return str(text)


def to_readable(name):
    # type: (str | bytes) -> str
    """A file name, or a system message about one, as text: the inverse of ``to_native``."""
    return name.decode(FILE_NAMES, "replace") if isinstance(name, bytes) else name
