"""The installer's part of the worker: its pointer files, its diagnosis, ending it and removing its files."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from installer.environment import CHECKOUT, run_program
from installer.places import Places, cache_home, data_home, inverted_faces, is_there, log_home, places
from installer.problems import Stop

RUN = "run"
# Files that the worker, and plug-ins that start it, write into its run folder and log folder.
_TRACE = re.compile(r"worker\.(json|lock|sock|log(\.[0-9]+)?)|start\.log|speed\.json|\.worker\.json\.[0-9a-f]{8}\.part")
# Files of ``c2p_core/priors/inversion_cache.py``.
_FACE = re.compile(r"[0-9a-f]{64}\.(safetensors|[0-9a-f]{8}\.part)")
_OWN_PARENTS = ("protect-face", "Cache")


def pointer(where: Places) -> tuple[str, bytes]:
    """Name and content of the file beside a plug-in that points to this installation's worker."""
    content = {
        "protocol": _client().PROTOCOL,
        "command": _command(where),
        "run": _run_folder(),
        "environment": _environment(where),
    }
    return _client().location.POINTER, (json.dumps(content, indent=1) + "\n").encode()


def again(job: str, where: Places, home: str | None = None) -> str:
    """The command that does ``job`` for an installation, with the options that it was installed with.

    Args:
        home: the installation's C2P_HOME, "" for none; None for the current one.
    """
    home = _environment(where).get("C2P_HOME", "") if home is None else home
    usual = places(None, None, os.environ | {"C2P_HOME": home, "C2P_MODELS": ""})
    words = f"python3 install.py --{job}"
    words += f' --venv "{where.venv}"' if where.venv != usual.venv else ""
    words += f' --models "{where.models}"' if where.models != usual.models else ""
    return words + (f" with C2P_HOME set to '{home}'" if home else "")


def uninstall_elsewhere(folder: Path, where: Places) -> list[str]:
    """The command that removes the installation that a plug-in points to; [] if that is ``where`` or does not exist."""
    try:
        content = json.loads((folder / _client().location.POINTER).read_text(encoding="utf-8"))
        environment = content["environment"]
        other = Places(Path(content["command"][0]).parent.parent, Path(environment["C2P_MODELS"]))
        command = again("uninstall", other, environment.get("C2P_HOME", ""))
    except (FileNotFoundError, ValueError, KeyError, IndexError, TypeError):
        return []  # unreadable; it is removed with its folder
    here = command == again("uninstall", where)
    return [] if here or not (other.venv.exists() or other.models.exists()) else [command]


def diagnosis(where: Places) -> dict[str, Any]:
    """The diagnosis of the worker by the plug-ins' client; does not start one."""
    return dict(_client().diagnose(_location(where)))


def end(where: Places) -> bool:
    """End a running worker, so that its files can be replaced or removed; False if none is running.

    Raises:
        Stop: it does not respond.
    """
    client = _client()
    try:
        return bool(client.stop(_location(where)))
    except client.WorkerProblem as problem:
        # The environment's own command uses the same protocol as the worker installed with it.
        if run_program([where.c2p, "worker", "stop"], 60).returncode == 0:
            return True
        raise Stop(str(problem)) from problem


def remove_traces() -> list[str]:
    """Remove the worker's socket, lock and logs, and cached inversions of ``c2p``; returns lines on what was removed.

    Raises:
        Stop: one of them can't be removed.
    """
    faces = _remove_named(_FACE, inverted_faces())
    lines = [f"Removed {faces} inverted faces from '{inverted_faces()}'."] if faces else []
    for folder in (data_home() / RUN, log_home()):
        if is_there(folder) and folder.is_dir() and not folder.is_symlink():
            _remove_named(_TRACE, folder)
            lines.append(f"'{folder}' holds other files and stays." if folder.exists() else f"Removed '{folder}'.")
    for parent in (log_home().parent, inverted_faces().parent, cache_home()):
        if parent.name in _OWN_PARENTS:
            with contextlib.suppress(OSError):
                parent.rmdir()  # only when it is empty
    return lines


def _remove_named(names: re.Pattern[str], folder: Path) -> int:
    """Remove files by name and, if it is then empty, the folder; C2P_HOME and C2P_CACHE may be any folder."""
    ours = [path for path in folder.glob("*") if names.fullmatch(path.name)]
    try:
        for path in ours:
            path.unlink()
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise Stop(f"Could not remove '{folder}' ({error.strerror}); remove it yourself.", 5) from error
    return len(ours)


def _command(where: Places) -> list[str]:
    return [str(where.python), "-I", "-u", "-m", "c2p_core.worker"]


def _run_folder() -> str:
    return str(data_home().absolute() / RUN)


def _environment(where: Places) -> dict[str, str]:
    """The worker's variables for this installation; a GIMP that starts it may have a different environment."""
    home = os.environ.get("C2P_HOME")
    return {"C2P_MODELS": str(where.models)} | ({"C2P_HOME": str(Path(home).absolute())} if home else {})


def _location(where: Places) -> Any:
    return _client().location.WorkerLocation("install.py", _command(where), _run_folder(), _environment(where))


def _client() -> Any:
    """Import the plug-ins' client, which needs the standard library only: one source of protocol and file names."""
    folder = str(CHECKOUT / "plugin")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("worker_client")
