"""The plug-in's folder in a GIMP: what goes into it, how it gets there, and whether it is as it should be."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from installer.environment import CHECKOUT
from installer.gimps import Profile
from installer.places import MARKER, is_ours, read_marker
from installer.problems import Stop

# GIMP reads a plug-in only when its folder and its file have the same name.
NAMES = {2: "protect-face-gimp2", 3: "protect-face"}
CLIENT = "worker_client"
SOURCE = CHECKOUT / "plugin"
# What the marker of a folder says that came out of one of our zips; ``write`` takes it over.
FROM_ZIP = "from a zip"
# What GIMP's Python leaves behind: Python 3 in __pycache__, Python 2.7 beside the sources.
_COMPILED = ".pyc"
# Translations: as people edit them, and as gettext reads them.
_TRANSLATIONS = (".po", ".mo")


def contents(generation: int, translations: Mapping[str, bytes]) -> dict[str, bytes]:
    """Every file of the plug-in folder for GIMP 2.10 or 3, by its path in there ("/" between names).

    Args:
        generation: 2 or 3.
        translations: of the worker client, which goes with the plug-in: .mo files by their paths in it.
    """
    client = {path: body for path, body in _files(SOURCE / CLIENT).items() if not path.endswith(_TRANSLATIONS)}
    return _files(SOURCE / NAMES[generation]) | {
        f"{CLIENT}/{path}": body for path, body in (client | dict(translations)).items()
    }


def is_program(generation: int, path: str) -> bool:
    """Whether a file of the folder must be executable."""
    return path == f"{NAMES[generation]}.py"


def folder_in(profile: Profile) -> Path:
    """Where the plug-in lies in a GIMP."""
    return profile.plug_ins / NAMES[profile.generation]


def write(profile: Profile, pointer: tuple[str, bytes], translations: Mapping[str, bytes]) -> bool:
    """Brings the plug-in's folder to its state in the checkout; says whether anything had to change.

    A run that is cut short leaves the word "incomplete" in the folder's marker, and the next one starts again.

    Args:
        profile: the GIMP.
        pointer: name and content of the file that leads to the worker.
        translations: as ``contents`` takes them.

    Raises:
        Stop: somebody else's folder has that name, or it can't be written.
    """
    folder = folder_in(profile)
    wanted = contents(profile.generation, translations) | dict([pointer])
    if folder.is_symlink() or (folder.exists() and not is_ours(folder) and any(folder.iterdir())):
        raise Stop(f"'{folder}' was not made by install.py, so it stays as it is; move it away and repeat.", 2)
    if not differences(profile, pointer, translations):
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / MARKER, _marker("incomplete"))
        for stale in _present(folder) - set(wanted):
            (folder / stale).unlink()
        for cached in folder.rglob(f"*{_COMPILED}"):
            cached.unlink()
        for path, body in wanted.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _put(folder / path, body, executable=is_program(profile.generation, path))
        for inner in sorted((entry for entry in folder.rglob("*") if entry.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                inner.rmdir()  # only when it is empty
        _put(folder / MARKER, _marker("complete"))
    except OSError as error:
        raise Stop(f"Can't write '{folder}' ({error.strerror}); make it writable for you and repeat.", 5) from error
    return True


def differences(profile: Profile, pointer: tuple[str, bytes], translations: Mapping[str, bytes]) -> list[str]:
    """What is not as ``write`` would leave it, in words; empty when all is right.

    Without any translations it is not known which ones belong there, and those that are there are not looked at.
    """
    folder = folder_in(profile)
    if not folder.exists():
        return ["not installed"]
    found = []
    if not is_ours(folder):
        found.append("the folder was not made by install.py")
    elif read_marker(folder).get("state") != "complete":
        from_zip = read_marker(folder).get("state") == FROM_ZIP
        found.append("unpacked from a zip" if from_zip else "incomplete: an installation was cut short")
    wanted = contents(profile.generation, translations) | dict([pointer])
    present = {path for path in _present(folder) if translations or not path.endswith(_TRANSLATIONS)}
    for path in sorted(present - set(wanted)):
        found.append(f"{path} does not belong there")
    for path, body in sorted(wanted.items()):
        if path not in present:
            found.append(f"{path} is missing")
        elif (folder / path).read_bytes() != body:
            found.append(f"{path} is of another version" if path != pointer[0] else f"{path} leads elsewhere")
        elif is_program(profile.generation, path) and not _executable(folder / path):
            found.append(f"{path} is not executable, so that GIMP ignores it")
    return found


def strays(profile: Profile) -> list[Path]:
    """Copies of the plug-in in places where GIMP ignores it or would read it a second time."""
    name = NAMES[profile.generation]
    other = NAMES[5 - profile.generation]
    places = [f"{name}.py", f"{name}/{name}/{name}.py", f"plug-ins/{name}", other, f"{other}.py"]
    return [profile.plug_ins / place for place in places if (profile.plug_ins / place).exists()]


def _marker(state: str) -> bytes:
    return json.dumps({"state": state}).encode()


def _files(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != _COMPILED)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _present(folder: Path) -> set[str]:
    return set(_files(folder)) - {MARKER}


def _put(path: Path, body: bytes, *, executable: bool = False) -> None:
    aside = path.with_name(f"{path.name}.part")
    aside.write_bytes(body)
    aside.chmod(0o755 if executable else 0o644)
    aside.replace(path)


def _executable(path: Path) -> bool:
    return sys.platform == "win32" or os.access(path, os.X_OK)
