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
from installer.folders import (
    Installation,
    cache_home,
    data_home,
    find_installation,
    find_inversion_cache,
    is_there,
    log_home,
)
from installer.problems import Stop

RUN = "run"
# Files that the worker, and plug-ins that start it, write into its run folder and log folder.
_TRACES = re.compile(
    r"worker\.(json|lock|sock|log(\.[0-9]+)?)|start\.log|speed\.json|\.worker\.json\.[0-9a-f]{8}\.part"
)
# Files of ``c2p_core/priors/inversion_cache.py``.
_FACE = re.compile(r"[0-9a-f]{64}\.(safetensors|[0-9a-f]{8}\.part)")
_OWN_PARENTS = ("protect-face", "Cache")


def make_pointer(installation: Installation) -> tuple[str, bytes]:
    """Name and content of the file beside a plug-in that points to this installation's worker."""
    content = {
        "protocol": import_client().PROTOCOL,
        "command": _make_worker_command(installation),
        "run": _run_folder(),
        "environment": _make_environment(installation),
    }
    return import_client().location.POINTER, (json.dumps(content, indent=1) + "\n").encode()


def make_command(job: str, installation: Installation, home: str | None = None) -> str:
    """The command that does ``job`` for an installation, with the options that it was installed with.

    Args:
        home: the installation's C2P_HOME, "" for none; None for the current one.
    """
    home = _make_environment(installation).get("C2P_HOME", "") if home is None else home
    defaults = find_installation(None, None, os.environ | {"C2P_HOME": home, "C2P_MODELS": ""})
    command = f"python3 install.py --{job}"
    command += f' --venv "{installation.venv}"' if installation.venv != defaults.venv else ""
    command += f' --models "{installation.models}"' if installation.models != defaults.models else ""
    return command + (f" with C2P_HOME set to '{home}'" if home else "")


def find_other_uninstall(folder: Path, installation: Installation) -> list[str]:
    """The command that removes the installation a plug-in points to; [] if it is ``installation`` or does not exist."""
    try:
        content = json.loads((folder / import_client().location.POINTER).read_text(encoding="utf-8"))
        environment = content["environment"]
        other = Installation(Path(content["command"][0]).parent.parent, Path(environment["C2P_MODELS"]))
        command = make_command("uninstall", other, environment.get("C2P_HOME", ""))
    except (FileNotFoundError, ValueError, KeyError, IndexError, TypeError):
        return []  # unreadable; it is removed with its folder
    is_same = command == make_command("uninstall", installation)
    return [] if is_same or not (other.venv.exists() or other.models.exists()) else [command]


def diagnose(installation: Installation) -> dict[str, Any]:
    """The diagnosis of the worker by the plug-ins' client; does not start one."""
    return dict(import_client().diagnose(_make_location(installation)))


def end_worker(installation: Installation) -> bool:
    """End a running worker, so that its files can be replaced or removed; False if none is running.

    Raises:
        Stop: it does not respond.
    """
    client = import_client()
    try:
        return bool(client.stop(_make_location(installation)))
    except client.WorkerProblem as problem:
        # The environment's own command uses the same protocol as the worker installed with it.
        if run_program([installation.c2p, "worker", "stop"], 60).returncode == 0:
            return True
        raise Stop("worker-does-not-end", reason=problem) from problem


def remove_traces() -> list[str]:
    """Remove the worker's socket, lock and logs, and cached inversions of ``c2p``; returns lines on what was removed.

    Raises:
        Stop: one of them can't be removed.
    """
    faces = _remove_named(_FACE, find_inversion_cache())
    lines = [f"Removed {faces} inverted faces from '{find_inversion_cache()}'."] if faces else []
    for folder in (data_home() / RUN, log_home()):
        if is_there(folder) and folder.is_dir() and not folder.is_symlink():
            _remove_named(_TRACES, folder)
            lines.append(f"'{folder}' holds other files and stays." if folder.exists() else f"Removed '{folder}'.")
    for parent in (log_home().parent, find_inversion_cache().parent, cache_home()):
        if parent.name in _OWN_PARENTS:
            with contextlib.suppress(OSError):
                parent.rmdir()  # only when it is empty
    return lines


def _remove_named(names: re.Pattern[str], folder: Path) -> int:
    """Remove files by name and, if it is then empty, the folder; C2P_HOME and C2P_CACHE may be any folder."""
    files = [path for path in folder.glob("*") if names.fullmatch(path.name)]
    try:
        for path in files:
            path.unlink()
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise Stop("removal-failed", 5, folder=folder, reason=error.strerror) from error
    return len(files)


def _make_worker_command(installation: Installation) -> list[str]:
    return [str(installation.python), "-I", "-u", "-m", "c2p_core.worker"]


def _run_folder() -> str:
    return str(data_home().absolute() / RUN)


def _make_environment(installation: Installation) -> dict[str, str]:
    """The worker's variables for this installation; a GIMP that starts it may have a different environment."""
    home = os.environ.get("C2P_HOME")
    return {"C2P_MODELS": str(installation.models)} | ({"C2P_HOME": str(Path(home).absolute())} if home else {})


def _make_location(installation: Installation) -> Any:
    return import_client().location.WorkerLocation(
        "install.py", _make_worker_command(installation), _run_folder(), _make_environment(installation)
    )


def import_client() -> Any:
    """Import the plug-ins' client, which needs the standard library only: one source of protocol and file names."""
    folder = str(CHECKOUT / "plugin")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("worker_client")
