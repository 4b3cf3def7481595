"""Finds every GIMP of this user: profile folders, and programs that can be started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from installer.environment import run_program
from installer.folders import is_there

FLATPAK = "org.gimp.GIMP"
FLATPAK_SYSTEM = Path("/var/lib/flatpak/app")
SNAP_PROGRAMS = Path("/snap/bin")
MAC_PROGRAMS = Path("/Applications")
# A first start queries every plug-in: 5 s measured, much longer on a slow disk.
START_SECONDS = 180
VERSION_SECONDS = 30

_PROFILE_NAME = re.compile(r"2\.10|3\.\d+")


@dataclass(frozen=True)
class Profile:
    """The profile folder of a GIMP, such as ``~/.config/GIMP/3.0``.

    Attributes:
        folder: the folder, which exists; it has a subfolder ``plug-ins``.
        version: "2.10" or "3.0", "3.2" …
        confined: it belongs to a GIMP from Snap, which can't start programs outside its sandbox.
    """

    folder: Path
    version: str
    confined: bool = False

    @property
    def generation(self) -> int:
        """2 or 3: the plug-in that it needs."""
        return int(self.version.partition(".")[0])

    @property
    def plug_ins(self) -> Path:
        return self.folder / "plug-ins"


@dataclass(frozen=True)
class Program:
    """A GIMP that can be started.

    Attributes:
        command: the program and its first arguments, to which options are appended.
        packaging: "system", "Flatpak", "Snap" or "AppImage".
        version: the full version, such as "3.0.4".
    """

    command: tuple[str, ...]
    packaging: str
    version: str

    @property
    def generation(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def profile_version(self) -> str:
        """The name of its profile folder: the first two numbers."""
        return ".".join(self.version.split(".")[:2])

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run it without a window to its end; a GIMP that hangs or can't be started counts as failed."""
        command = [*self.command, "--no-interface", "--no-data", "--no-fonts", *options]
        return run_program(command, START_SECONDS)


def find_profiles(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform, errors: list[OSError] | None = None
) -> tuple[Profile, ...]:
    """Find the profile folders of every GIMP 2.10 and 3 that has been started at least once.

    Args:
        environment: its variables.
        platform: as ``sys.platform``.
        errors: to this are added the errors of folders that may not be looked at; the others are found all the same.
    """
    errors = [] if errors is None else errors
    profiles: dict[Path, Profile] = {}
    for base, confined in _find_bases(environment, platform):
        for folder in _list_folder(base, errors):
            if _PROFILE_NAME.fullmatch(folder.name) and _is_folder(folder, errors):
                profiles.setdefault(folder.resolve(), Profile(folder, folder.name, confined))
    # GIMP's own variables for a folder of any name; relative paths start at the home folder.
    for variable, version in (("GIMP2_DIRECTORY", "2.10"), ("GIMP3_DIRECTORY", "3.0")):
        if environment.get(variable):
            folder = _find_home(environment, platform) / environment[variable]
            if _is_folder(folder, errors):
                name = folder.name if _PROFILE_NAME.fullmatch(folder.name) else version
                profiles.setdefault(folder.resolve(), Profile(folder, name))
    return tuple(profiles.values())


def find_programs(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> tuple[Program, ...]:
    """Find every GIMP 2.10 or 3 that can be started, without duplicates."""
    programs: dict[str, Program] = {}
    for command, packaging in _find_commands(environment, platform):
        result = run_program([*command, "--version"], VERSION_SECONDS)
        match = re.search(r"\b(2\.10|3\.\d+)(?:\.\d+)?\b", result.stdout)
        if match and result.returncode == 0:
            programs.setdefault(f"{packaging} {match[0]}", Program(command, packaging, match[0]))
    return tuple(programs.values())


def find_profile(program: Program, environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The folder that ``program`` creates at its first start."""
    variable = f"GIMP{program.generation}_DIRECTORY"
    if environment.get(variable):
        return _find_home(environment, platform) / environment[variable]
    base = (
        _find_snap_base(environment, platform)
        if program.packaging == "Snap"
        else _find_main_base(environment, platform)
    )
    return base / program.profile_version


def is_flatpak_installed(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether GIMP is installed as a Flatpak, which shares ``~/.config/GIMP`` with other GIMPs."""
    user_apps = _find_home(environment, platform) / ".local" / "share" / "flatpak" / "app"
    return platform.startswith("linux") and any((apps / FLATPAK).is_dir() for apps in (FLATPAK_SYSTEM, user_apps))


def find_misplaced(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> tuple[Path, ...]:
    """Plug-in folders for a GIMP 3 from Flatpak in the usual place of Flatpaks, which GIMP does not read."""
    base = _find_flatpak_base(environment, platform)
    return tuple(sorted(path for path in base.glob("3.*/plug-ins/protect-face*")))


def _list_folder(folder: Path, errors: list[OSError]) -> list[Path]:
    """What is in a folder, sorted; nothing where there is none, or where it may not be looked at, which is noted."""
    try:
        # Not glob, which from Python 3.13 on finds nothing in a folder that may not be looked at.
        return sorted(folder.iterdir()) if is_there(folder) and folder.is_dir() else []
    except OSError as error:
        errors.append(error)
        return []


def _is_folder(path: Path, errors: list[OSError]) -> bool:
    """Whether this is a folder; one that may not be looked at is noted, and counts as none."""
    try:
        return is_there(path) and path.is_dir()
    except OSError as error:
        errors.append(error)
        return False


def _find_bases(environment: Mapping[str, str], platform: str) -> Iterator[tuple[Path, bool]]:
    yield _find_main_base(environment, platform), False
    if platform.startswith("linux"):
        yield _find_snap_base(environment, platform), True
    if platform == "win32" and environment.get("LOCALAPPDATA"):
        # A GIMP from the Microsoft Store has its own copy of the user's folders.
        for package in sorted(Path(environment["LOCALAPPDATA"], "Packages").glob("*GIMP*")):
            yield package / "LocalCache" / "Roaming" / "GIMP", False


def _find_home(environment: Mapping[str, str], platform: str) -> Path:
    variable = environment.get("USERPROFILE" if platform == "win32" else "HOME")
    return Path(variable) if variable else Path.home()


def _find_main_base(environment: Mapping[str, str], platform: str) -> Path:
    home = _find_home(environment, platform)
    if platform == "win32":
        roaming = environment.get("APPDATA")
        return (Path(roaming) if roaming else home / "AppData" / "Roaming") / "GIMP"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "GIMP"
    shared = environment.get("XDG_CONFIG_HOME")
    return (Path(shared) if shared else home / ".config") / "GIMP"


def _find_snap_base(environment: Mapping[str, str], platform: str) -> Path:
    return _find_home(environment, platform) / "snap" / "gimp" / "current" / ".config" / "GIMP"


def _find_flatpak_base(environment: Mapping[str, str], platform: str) -> Path:
    return _find_home(environment, platform) / ".var" / "app" / FLATPAK / "config" / "GIMP"


def _find_commands(environment: Mapping[str, str], platform: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Commands that may start a GIMP, console programs first."""
    home = _find_home(environment, platform)
    folders = [Path(folder) for folder in environment.get("PATH", "").split(os.pathsep) if folder]
    if platform == "win32":
        roots = [environment.get(name) for name in ("ProgramFiles", "ProgramW6432")]
        local = environment.get("LOCALAPPDATA")
        parents = [Path(root) for root in roots if root] + ([Path(local, "Programs")] if local else [])
        folders += [folder for parent in parents for folder in sorted(parent.glob("GIMP*/bin"))]
        patterns = ["gimp-console-*.exe", "gimp-console.exe"]
    elif platform == "darwin":
        apps = [app for parent in (MAC_PROGRAMS, home / "Applications") for app in sorted(parent.glob("GIMP*.app"))]
        folders += [app / "Contents" / "MacOS" for app in apps]
        patterns = ["gimp-console-*", "gimp-console", "gimp"]
    else:
        patterns = ["gimp-console-*", "gimp-console", "gimp-[23].*", "gimp"]
    # /snap/bin/gimp is a link to snap itself, as every other program of a snap is.
    plain = [folder for folder in folders if folder != SNAP_PROGRAMS]
    seen: set[Path] = set()
    for pattern in patterns:
        for program in (path for folder in plain for path in sorted(folder.glob(pattern))):
            if program.resolve() not in seen and os.access(program, os.X_OK):
                seen.add(program.resolve())
                yield (str(program),), "system"
    if not platform.startswith("linux"):
        return
    if is_flatpak_installed(environment, platform):
        yield ("flatpak", "run", FLATPAK), "Flatpak"
    if (SNAP_PROGRAMS / "gimp").exists():
        yield (str(SNAP_PROGRAMS / "gimp"),), "Snap"
    for folder in (home / "Applications", home / "Downloads", home / "Desktop", home / "bin", home / ".local" / "bin"):
        for image in sorted(folder.glob("GIMP-*.AppImage")):
            if os.access(image, os.X_OK):
                yield (str(image),), "AppImage"
