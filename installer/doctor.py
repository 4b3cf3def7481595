"""The diagnosis of ``install.py --doctor``: everything that helps to find a fault, and nothing secret."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from installer import plug_in, worker
from installer.environment import (
    OWN_PACKAGE,
    PACKAGES,
    check_packages,
    compute_stamps,
    read_compiled_files,
    read_release,
    run_program,
)
from installer.folders import Installation, data_home, is_ours, read_marker
from installer.gimp import advise_on_sandbox, check_registration, describe_trouble
from installer.gimps import find_misplaced, find_profile, find_profiles, find_programs
from installer.placed import Record
from installer.problems import explain_read_error

_LOG_LINES = 20


def diagnose(installation: Installation, say: Callable[[str], None] = print) -> int:
    """Print the diagnosis, ready to be pasted; returns 0 without problems, else 1."""
    problems: list[str] = []
    for title, section in _SECTIONS:
        say(f"== {title}")
        try:
            for line in section(installation, problems):
                say(f"   {redact(line)}")
        except OSError as error:
            problems.append(str(explain_read_error(error)))
    say("== Found")
    for number, problem in enumerate(problems, 1):
        say(f"   {number}. {redact(problem)}")
    if not problems:
        say("   nothing wrong")
    return 1 if problems else 0


def redact(line: str) -> str:
    """Replace the home folder by ~, and anything that looks like the worker's token."""
    home = str(Path.home())
    if len(home) > 1:
        line = line.replace(home, "~").replace(home.replace("\\", "\\\\"), "~")
    return re.sub(r"\b[0-9a-f]{32,}\b", "(secret)", line)


def _describe_system(installation: Installation, problems: list[str]) -> Iterator[str]:
    yield f"Protect Face {read_release()}"
    yield f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} processors"
    yield f"Python {platform.python_version()} at {sys.executable}"
    # Not Path.exists, which raises without permission.
    existing = next(path for path in (data_home(), *data_home().parents) if os.path.exists(path))  # noqa: PTH110
    yield f"{shutil.disk_usage(existing).free / 1e9:.1f} GB free where the data lies"
    for name in (
        "C2P_HOME",
        "C2P_MODELS",
        "C2P_WORKER_POINTER",
        "C2P_WORKER_PYTHON",
        "GIMP2_DIRECTORY",
        "GIMP3_DIRECTORY",
    ):
        if os.environ.get(name):
            yield f"{name}={os.environ[name]}"


def _describe_environment(installation: Installation, problems: list[str]) -> Iterator[str]:
    for name, folder in (("environment", installation.venv), ("models", installation.models), ("data", data_home())):
        yield f"{name}: {folder} ({_describe_access(folder)})"
    if not installation.python.exists():
        problems.append("The environment is not there; run 'python3 install.py --gimp'.")
        return
    known = read_marker(installation.venv)
    for part in (PACKAGES, OWN_PACKAGE):
        if known.get(part) != compute_stamps()[part]:
            state = "of another version than this folder" if part in known else "unfinished"
            problems.append(f"The environment's {part} part is {state}; run 'python3 install.py --gimp'.")
    if not read_compiled_files(installation):
        problems.append("The environment has no translations for the plug-ins; run 'python3 install.py --gimp'.")
    code, findings = check_packages(installation)
    yield from findings
    if code:
        problems.append(f"The environment is damaged ({findings[-1]}); run 'python3 install.py --gimp'.")


def _describe_models(installation: Installation, problems: list[str]) -> Iterator[str]:
    if not installation.c2p.exists():
        yield "unknown without the environment"
        return
    result = run_program(
        [installation.c2p, "models", "verify"], 120, C2P_MODELS=str(installation.models), C2P_OFFLINE="1"
    )
    yield from result.stdout.splitlines()
    if result.returncode:
        problems.append("Models are missing or damaged (see above); run 'python3 install.py --gimp'.")


def _describe_worker(installation: Installation, problems: list[str]) -> Iterator[str]:
    diagnosis = worker.diagnose(installation)
    logs = {name: str(diagnosis.pop(name, "")) for name in ("start log", "log")}
    run = Path(str(diagnosis.pop("run folder")))
    yield f"run folder: {run} ({_describe_access(run)})"
    if os.name == "posix" and run.is_dir() and stat.S_IMODE(run.stat().st_mode) != 0o700:
        problems.append(f"'{run}' can be entered by others, so the worker won't use it; run 'chmod 700' on it.")
    for name, value in diagnosis.items():
        yield f"{name}: {value if isinstance(value, str) else json.dumps(value, default=str)}"
    if diagnosis.get("problem"):
        problems.append(str(diagnosis["problem"]))
    for name, text in logs.items():
        lines = text.strip().splitlines()[-_LOG_LINES:]
        yield f"{name}: {'' if lines else 'empty'}"
        yield from (f"  {line}" for line in lines)


def _describe_gimps(installation: Installation, problems: list[str]) -> Iterator[str]:
    errors: list[OSError] = []
    folders = find_profiles(errors=errors)
    problems += [str(explain_read_error(error)) for error in errors]
    pointer, compiled = worker.make_pointer(installation), read_compiled_files(installation)
    for profile in folders:
        yield f"{profile.folder} ({_describe_access(profile.folder)}{', sandboxed' if profile.confined else ''})"
        folder = plug_in.find_folder(profile)
        differences = plug_in.find_differences(profile, pointer, compiled)
        yield f"  {folder.name}: {'; '.join(differences) if differences else 'as it should be'}"
        if differences:
            problems.append(f"'{folder}' is not as it should be ({differences[0]}); run 'python3 install.py --gimp'.")
        yield from (f"  {line}" for line in _describe_pointer(folder / pointer[0], problems))
        for stray in plug_in.find_strays(profile):
            problems.append(f"'{stray}' does not belong there and may confuse GIMP; remove it.")
    for path in find_misplaced():
        problems.append(f"GIMP 3 does not read '{path}', though it comes from Flatpak; remove it.")
    answers = {
        "there": "has the filter",
        "missing": "does NOT see the filter",
        "no Python": "has no Python",
        "no answer": "did not answer",
    }
    programs = find_programs()
    for program in programs:
        name = f"GIMP {program.version}, {program.packaging}, {' '.join(program.command)}"
        if not find_profile(program).is_dir():
            yield f"{name}: has never run; not checked, because starting it would create its folder"
            problems.append(
                f"GIMP {program.version} ({program.packaging}): It never ran; run 'python3 install.py --gimp'."
            )
            continue
        answer = check_registration(program)
        yield f"{name}: {answers[answer]}"
        if answer != "there":
            problems.append(f"GIMP {program.version} ({program.packaging}): {describe_trouble(program, answer)}")
    if not folders and not programs:
        problems.append("No GIMP was found; install GIMP 3, start it once, and run 'python3 install.py --gimp'.")
    if advice := advise_on_sandbox(installation):
        yield advice


def _describe_other_programs(installation: Installation, problems: list[str]) -> Iterator[str]:
    files = Record.read().describe()
    if not files:
        yield "not connected"
    for path, state in files:
        yield f"{path}: {state or 'as installed'}"
        if state:
            first = "move it away and " if state == "changed" else ""
            problems.append(f"'{path}' is {state}; {first}run 'python3 install.py --integrations'.")


def _describe_pointer(path: Path, problems: list[str]) -> Iterator[str]:
    """Describe a pointer file, and check that its Python exists."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        python = Path(content["command"][0])
        yield f"{path.name}: protocol {content['protocol']}, {python}, run folder {content['run']}"
        if not os.access(python, os.X_OK):
            problems.append(f"'{path}' leads to '{python}', which is not there; run 'python3 install.py --gimp'.")
    except FileNotFoundError:
        yield f"{path.name}: not there"
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        problems.append(f"'{path}' can't be read ({error}); run 'python3 install.py --gimp'.")


_SECTIONS = (
    ("System", _describe_system),
    ("Environment", _describe_environment),
    ("Models", _describe_models),
    ("Worker", _describe_worker),
    ("GIMP", _describe_gimps),
    ("Other programs", _describe_other_programs),
)


def _describe_access(path: Path) -> str:
    """Describe the permissions and owner of a folder."""
    try:
        entry = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "not there"
    except OSError as error:
        return f"can't be looked at: {error.strerror}"
    properties = [stat.filemode(entry.st_mode)]
    if os.name == "posix" and entry.st_uid != os.geteuid():
        properties.append("of another user")
    if not os.access(path, os.W_OK):
        properties.append("not writable")
    if is_ours(path):
        properties.append("made by install.py")
    return ", ".join(properties)
