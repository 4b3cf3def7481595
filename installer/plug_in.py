"""The plug-in's folder in a GIMP: its contents, installation and verification."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from installer.atomic_files import replace_file
from installer.environment import CHECKOUT
from installer.folders import MARKER, is_ours, read_marker
from installer.gimps import Profile
from installer.problems import Stop

# GIMP reads a plug-in only when its folder and its file have the same name.
NAMES = {2: "protect-face-gimp2", 3: "protect-face"}
CLIENT = "worker_client"
SOURCE = CHECKOUT / "plugin"
# State in the marker of a folder that was unpacked from one of our zips; ``write`` may replace it.
FROM_ZIP = "from a zip"
# Bytecode that GIMP's Python leaves: Python 3 in __pycache__, Python 2.7 beside the sources.
_COMPILED = ".pyc"
# Translations, of which the sources stay here, help, and the list of priors: only the built package has them in their
# compiled form.
_COMPILED_FILES = (".po", ".mo", ".html", ".xml", "priors.json")
# GIMP 2.10 has no place for the help of a plug-in.
_HELP = "help/"


def collect_contents(generation: int, compiled: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the plug-in's folder for GIMP 2.10 or 3, by relative path with "/" as separator.

    Args:
        generation: 2 or 3.
        compiled: what building the package makes, by path in the worker client, which is installed with the plug-in.
    """
    client = {path: body for path, body in _read_files(SOURCE / CLIENT).items() if not path.endswith(_COMPILED_FILES)}
    client |= {path: body for path, body in compiled.items() if generation == 3 or not path.startswith(_HELP)}
    return _read_files(SOURCE / NAMES[generation]) | {f"{CLIENT}/{path}": body for path, body in client.items()}


def is_program(generation: int, path: str) -> bool:
    """Whether a file of the folder must be executable."""
    return path == f"{NAMES[generation]}.py"


def find_folder(profile: Profile) -> Path:
    """The plug-in's folder in a GIMP."""
    return profile.plug_ins / NAMES[profile.generation]


def write(profile: Profile, pointer: tuple[str, bytes], compiled: Mapping[str, bytes]) -> bool:
    """Bring the plug-in's folder to the checkout's state; returns whether anything had to change.

    An interrupted run leaves the state "incomplete" in the folder's marker, and the next run starts again.

    Args:
        profile: the GIMP.
        pointer: name and content of the file that points to the worker.
        compiled: see ``collect_contents``.

    Raises:
        Stop: the folder was not created by us, or is not writable.
    """
    folder = find_folder(profile)
    wanted = collect_contents(profile.generation, compiled) | dict([pointer])
    if folder.is_symlink() or (folder.exists() and not is_ours(folder) and any(folder.iterdir())):
        raise Stop("plug-in-not-ours", 2, folder=folder)
    if not find_differences(profile, pointer, compiled):
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / MARKER, _make_marker("incomplete"))
        for stale in _list_installed(folder) - set(wanted):
            (folder / stale).unlink()
        for cached in folder.rglob(f"*{_COMPILED}"):
            cached.unlink()
        for path, body in wanted.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            replace_file(folder / path, body, 0o755 if is_program(profile.generation, path) else 0o644)
        for inner in sorted((entry for entry in folder.rglob("*") if entry.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                inner.rmdir()  # only when it is empty
        replace_file(folder / MARKER, _make_marker("complete"))
    except OSError as error:
        raise Stop("plug-in-not-writable", 5, folder=folder, reason=error.strerror) from error
    return True


def find_differences(profile: Profile, pointer: tuple[str, bytes], compiled: Mapping[str, bytes]) -> list[str]:
    """List the differences from what ``write`` would install, in words; [] if there are none.

    Without ``compiled``, such files that are installed are not checked.
    """
    folder = find_folder(profile)
    if not folder.exists():
        return ["not installed"]
    differences = []
    if not is_ours(folder):
        differences.append("the folder was not made by install.py")
    elif read_marker(folder).get("state") != "complete":
        from_zip = read_marker(folder).get("state") == FROM_ZIP
        differences.append("unpacked from a zip" if from_zip else "incomplete: an installation was cut short")
    wanted = collect_contents(profile.generation, compiled) | dict([pointer])
    present = {path for path in _list_installed(folder) if compiled or not path.endswith(_COMPILED_FILES)}
    for path in sorted(present - set(wanted)):
        differences.append(f"{path} does not belong there")
    for path, body in sorted(wanted.items()):
        if path not in present:
            differences.append(f"{path} is missing")
        elif (folder / path).read_bytes() != body:
            differences.append(f"{path} is of another version" if path != pointer[0] else f"{path} leads elsewhere")
        elif is_program(profile.generation, path) and not _is_executable(folder / path):
            differences.append(f"{path} is not executable, so that GIMP ignores it")
    return differences


def find_strays(profile: Profile) -> list[Path]:
    """Find copies of the plug-in where GIMP ignores them or would read them in addition."""
    name = NAMES[profile.generation]
    other = NAMES[5 - profile.generation]
    places = [f"{name}.py", f"{name}/{name}/{name}.py", f"plug-ins/{name}", other, f"{other}.py"]
    return [profile.plug_ins / place for place in places if (profile.plug_ins / place).exists()]


def _make_marker(state: str) -> bytes:
    return json.dumps({"state": state}).encode()


def _read_files(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != _COMPILED)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _list_installed(folder: Path) -> set[str]:
    return set(_read_files(folder)) - {MARKER}


def _is_executable(path: Path) -> bool:
    return sys.platform == "win32" or os.access(path, os.X_OK)
