"""The worker, as far as the installer has to do with it: how plug-ins find it, whether it runs, ending it."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from installer.environment import CHECKOUT
from installer.places import Places, data_home
from installer.problems import Stop

if TYPE_CHECKING:
    from worker_client.place import Place


def pointer(where: Places) -> tuple[str, bytes]:
    """Name and content of the file beside a plug-in that leads it to this installation's worker."""
    content = {
        "protocol": _client().PROTOCOL,
        "command": _command(where),
        "run": str(data_home().absolute() / "run"),
        "environment": _environment(where),
    }
    return _place_module().POINTER, (json.dumps(content, indent=1) + "\n").encode()


def diagnosis(where: Places) -> dict[str, Any]:
    """What the plug-ins' client says of the worker; starts none."""
    said = _client().diagnose(_place(where))
    return dict(said)


def end(where: Places) -> bool:
    """Ends a running worker, so that its files can go or the next one runs the new code; False when none runs.

    Raises:
        Stop: it does not listen.
    """
    client = _client()
    try:
        return bool(client.stop(_place(where)))
    except client.WorkerProblem as problem:
        raise Stop(problem.sentence) from problem


def remove_traces() -> list[str]:
    """Removes the worker's socket, lock and logs; says what went."""
    gone = []
    for name in ("run", "logs"):
        folder = data_home() / name
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
            gone.append(f"Removed '{folder}'.")
    return gone


def _command(where: Places) -> list[str]:
    return [str(where.python), "-I", "-u", "-m", "c2p_core.worker"]


def _environment(where: Places) -> dict[str, str]:
    return {"C2P_MODELS": str(where.models)}


def _place(where: Places) -> Place:
    run = str(data_home().absolute() / "run")
    found: Place = _place_module().Place("install.py", _command(where), run, _environment(where))
    return found


def _client() -> ModuleType:
    """The plug-ins' own client, which is standard library only; so both agree on the protocol and the files' names."""
    folder = str(CHECKOUT / "plugin")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import worker_client

    return worker_client


def _place_module() -> ModuleType:
    _client()
    import worker_client.place

    return worker_client.place
