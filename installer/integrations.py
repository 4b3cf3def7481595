"""Connects the photographer's other programs to ``c2p`` with scripts and menu entries where each looks for them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from installer.environment import CHECKOUT, Say
from installer.folders import Installation, data_home, find_installation
from installer.placed import Placed, Record, remove_empty
from installer.problems import Stop

SOURCE = CHECKOUT / "integrations"
MAC_PROGRAMS = Path("/Applications")
FLATPAK_SYSTEM = Path("/var/lib/flatpak/app")
# Folder in the data folder.
OWN_FOLDER = "integrations"
_LUA_LINE = 'require "protect-face"  -- by Protect Face, install.py --integrations'
_LUA_NEEDED = 'require "protect-face"'
_OUTCOMES: dict[Placed, str] = {
    "written": "wrote '{path}'",
    "unchanged": "nothing to do in '{path}'",
    "foreign": "'{path}' is somebody else's or was changed; move it away and repeat",
}
_FLATPAKS = {"darktable": "org.darktable.Darktable", "digiKam": "org.kde.digikam"}


@dataclass(frozen=True)
class File:
    """A file to put somewhere."""

    path: Path
    body: bytes
    executable: bool = False


@dataclass(frozen=True)
class Integration:
    """A program that was found, and what it gets.

    Attributes:
        name: of the program.
        files: to be written.
        luarc: darktable's start file, which gets a line; None for other programs.
        advice: what is left to do, as a sentence.
    """

    name: str
    files: tuple[File, ...] = ()
    luarc: Path | None = None
    advice: str = ""


@dataclass(frozen=True)
class System:
    """Where programs are looked for."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    platform: str = sys.platform

    @property
    def home(self) -> Path:
        variable = self.environment.get("USERPROFILE" if self.platform == "win32" else "HOME")
        return Path(variable) if variable else Path.home()

    @property
    def config(self) -> Path:
        shared = self.environment.get("XDG_CONFIG_HOME")
        return Path(shared) if shared else self.home / ".config"

    @property
    def data(self) -> Path:
        shared = self.environment.get("XDG_DATA_HOME")
        return Path(shared) if shared else self.home / ".local" / "share"

    def has(self, program: str, *folders: Path) -> bool:
        """Whether a program is on the PATH, one of a Mac's applications, or has made one of the folders."""
        apps = (MAC_PROGRAMS, self.home / "Applications") if self.platform == "darwin" else ()
        return (
            shutil.which(program, path=self.environment.get("PATH", "")) is not None
            or any((app / f"{program}.app").is_dir() for app in apps)
            or any(folder.is_dir() for folder in folders)
        )


def find(installation: Installation, system: System) -> list[Integration]:
    """The programs of this user that ``c2p`` can be connected to, each with what it gets."""
    finders = (_find_darktable, _find_digikam, _find_nautilus, _find_dolphin, _find_lightroom)
    return [integration for finder in finders if (integration := finder(installation, system)) is not None]


def install(integrations: list[Integration], say: Say) -> int:
    """Install or repair what the programs get; returns how many of them could not be connected."""
    record, failed = Record.read(), 0
    for integration in integrations:
        try:
            outcomes = [
                (record.put(file.path, file.body, executable=file.executable), file.path) for file in integration.files
            ]
            if integration.luarc is not None:
                outcomes.append((record.add_line(integration.luarc, _LUA_LINE, _LUA_NEEDED), integration.luarc))
        except Stop as problem:
            say(f"{integration.name}: {problem}")
            failed += 1
            continue
        for outcome, path in outcomes:
            say(f"{integration.name}: {_OUTCOMES[outcome].format(path=path)}")
        failed += any(outcome == "foreign" for outcome, _ in outcomes)
        if integration.advice:
            say(f"{integration.name}: {integration.advice}")
    return failed


def advise_on_sandbox(system: System) -> list[str]:
    """Advice for programs from Flatpak, which may not start programs outside of their sandbox."""
    if not system.platform.startswith("linux"):
        return []
    folders = (FLATPAK_SYSTEM, system.data / "flatpak" / "app")
    return [
        f"{name} from Flatpak may not start c2p: let it export into a folder, and run c2p watch on that."
        for name, app in _FLATPAKS.items()
        if any((folder / app).is_dir() for folder in folders)
    ]


def remove() -> list[str]:
    """Remove what was put into other programs' folders; returns lines on it.

    Raises:
        Stop: something can't be removed.
    """
    record = Record.read()
    parents = {
        parent for name in record.files for parent in (Path(name).parent, *Path(name).parents) if _is_own(parent)
    }
    lines = record.remove()
    waiting = _find_waiting()
    if waiting.is_dir() and not waiting.is_symlink():
        # Protected photos that digiKam has not fetched.
        shutil.rmtree(waiting)
        lines.append(f"Removed '{waiting}'.")
        parents.add(waiting.parent)
    remove_empty(sorted(parents, reverse=True))
    return lines


def _find_waiting() -> Path:
    """Where the script for digiKam keeps results until they are fetched."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "protect-face" / "digikam"


def _is_own(folder: Path) -> bool:
    """Whether only we make such a folder."""
    return folder == data_home() / OWN_FOLDER or any(part.endswith(".app") for part in folder.parts)


def _find_darktable(installation: Installation, system: System) -> Integration | None:
    if system.platform == "win32":
        local = system.environment.get("LOCALAPPDATA")
        folder = (Path(local) if local else system.home / "AppData" / "Local") / "darktable"
    else:
        folder = system.config / "darktable"
    if not system.has("darktable", folder):
        return None
    arguments = ", ".join(f'"{_escape(argument)}"' for argument in _make_command(installation))
    body = _fill("darktable/protect-face.lua", 'local C2P = { "c2p" }', f"local C2P = {{ {arguments} }}")
    script = File(folder / "lua" / "protect-face.lua", body)
    return Integration(
        "darktable", (script,), folder / "luarc", "restart it; the export module has the target 'protect faces'"
    )


def _find_digikam(installation: Installation, system: System) -> Integration | None:
    if not system.has("digikam", system.data / "digikam", system.config / "digikam"):
        return None
    tool = "Batch Queue Manager > Base Tools > Custom Tools > Custom Script"
    if system.platform == "win32":
        line = f"{subprocess.list2cmdline(_make_command(installation))} protect --overwrite -o $OUTPUT -- $INPUT"
        return Integration("digiKam", advice=f"put this line into {tool}: {line}")
    script = File(
        data_home() / OWN_FOLDER / "digikam.sh", _fill_shell("digikam/protect-face.sh", installation), executable=True
    )
    line = f"sh {shlex.quote(str(script.path))} $INPUT $OUTPUT"
    return Integration("digiKam", (script,), advice=f"put this line into {tool}: {line}")


def _find_nautilus(installation: Installation, system: System) -> Integration | None:
    if not system.platform.startswith("linux") or not system.has("nautilus", system.data / "nautilus"):
        return None
    body = _fill_shell("file-managers/protect-face.sh", installation)
    script = File(system.data / "nautilus" / "scripts" / "Protect Faces", body, executable=True)
    return Integration("Nautilus", (script,), advice="the menu of chosen photos has Scripts > Protect Faces")


def _find_dolphin(installation: Installation, system: System) -> Integration | None:
    if not system.platform.startswith("linux") or not system.has("dolphin", system.data / "dolphin"):
        return None
    program = data_home() / OWN_FOLDER / "file-manager.sh"
    script = File(program, _fill_shell("file-managers/protect-face.sh", installation), executable=True)
    # Quoted as the Desktop Entry Specification asks for: for the command line, then for a value, where % begins a code.
    quoted = _escape(str(program), '\\"`$')
    command = f'"{quoted}"'.replace("\\", "\\\\").replace("%", "%%")
    body = _fill("file-managers/protect-face.desktop", "Exec=protect-face.sh %F", f"Exec={command} %F")
    # Read by KDE Frameworks 6, and by 5 since 5.85; both want it to be executable.
    entry = File(system.data / "kio" / "servicemenus" / "protect-face.desktop", body, executable=True)
    return Integration("Dolphin", (script, entry), advice="the menu of chosen photos has Protect Faces")


def _find_lightroom(installation: Installation, system: System) -> Integration | None:
    if system.platform == "win32":
        roaming = system.environment.get("APPDATA")
        base = Path(roaming) if roaming else system.home / "AppData" / "Roaming"
    elif system.platform == "darwin":
        base = system.home / "Library" / "Application Support"
    else:
        return None
    folder = base / "Adobe" / "Lightroom"
    if not folder.is_dir():
        return None
    make: Callable[[Installation, Path], tuple[File, ...]] = (
        _make_droplet if system.platform == "darwin" else _make_batch_file
    )
    advice = "the export dialog has Post-Processing > After Export > Protect Faces"
    return Integration("Lightroom", make(installation, folder / "Export Actions"), advice=advice)


def _make_batch_file(installation: Installation, folder: Path) -> tuple[File, ...]:
    arguments = " ".join(f'"{argument}"' for argument in _make_command(installation)).replace("%", "%%")
    return (File(folder / "Protect Faces.cmd", _fill("lightroom/Protect Faces.cmd", 'C2P="c2p"', f"C2P={arguments}")),)


def _make_droplet(installation: Installation, folder: Path) -> tuple[File, ...]:
    """The files of an application that takes the exported photos; a Mac compiles it.

    Raises:
        Stop: this Mac can't.
    """
    command = _escape(shlex.join(_make_command(installation)))
    source = _fill("lightroom/protect-face.applescript", 'c2p : "c2p"', f'c2p : "{command}"')
    with tempfile.TemporaryDirectory(prefix="protect-face-") as scratch:
        app = Path(scratch, "Protect Faces.app")
        try:
            subprocess.run(["osacompile", "-o", str(app), "-"], input=source, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Stop("osacompile-failed", 6, reason=error) from error
        return tuple(
            File(folder / path.relative_to(scratch), path.read_bytes(), os.access(path, os.X_OK))
            for path in sorted(app.rglob("*"))
            if path.is_file()
        )


def _make_command(installation: Installation) -> list[str]:
    """The beginning of a command of ``c2p``; other programs may be started without our variables."""
    usual = find_installation(
        None, None, {name: value for name, value in os.environ.items() if not name.startswith("C2P_")}
    )
    return [
        str(installation.c2p),
        *(() if installation.models == usual.models else ("--models", str(installation.models))),
    ]


def _fill_shell(name: str, installation: Installation) -> bytes:
    return _fill(name, 'c2p() { command c2p "$@"; }', f'c2p() {{ {shlex.join(_make_command(installation))} "$@"; }}')


def _fill(name: str, placeholder: str, replacement: str) -> bytes:
    """A file of ours with the path of ``c2p`` in it."""
    text = (SOURCE / name).read_bytes().decode("utf-8")
    if text.count(placeholder) != 1:
        raise Stop("checkout-changed", 6, path=SOURCE / name)
    return text.replace(placeholder, replacement).encode()


def _escape(text: str, special: str = '\\"') -> str:
    return "".join(f"\\{letter}" if letter in special else letter for letter in text)
