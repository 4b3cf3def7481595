"""Installs the plug-in into every GIMP, checks that each GIMP has registered it, and removes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from installer import plug_in, worker
from installer.environment import Say, read_compiled_files
from installer.folders import Installation, is_there, remove
from installer.gimps import Profile, Program, find_profile, find_profiles, find_programs, is_flatpak_installed
from installer.problems import Stop, explain_read_error

PROCEDURES = {2: "python-fu-protect-face", 3: "plug-in-protect-face"}
# The name under which the plug-in saves recent prompts in GIMP.
RECENT = "protect-face-recent"
_SETTINGS = "parasiterc"
# The plug-in's log of unexpected errors, as named in ``plugin/worker_client/crash_report.py``.
LOG = "protect-face.log"

Answer = Literal["there", "missing", "no Python", "no answer"]

_CHECK_3 = f"assert Gimp.get_pdb().procedure_exists({PROCEDURES[3]!r})"
_CHECK_2 = (
    '(begin (gimp-message (string-append "PROTECT-FACE "'
    f' (number->string (car (gimp-procedural-db-proc-exists "{PROCEDURES[2]}")))'
    ' (number->string (car (gimp-procedural-db-proc-exists "python-fu-eval"))))) (gimp-quit 0))'
)
# Exit codes of GIMP 3 for a script that raised and for an unknown language.
_RAISED, _UNKNOWN_LANGUAGE = 64, 69


@dataclass(frozen=True)
class Outcome:
    """The result for one GIMP; ``trouble`` is a sentence, empty if there is none."""

    name: str
    trouble: str = ""


def find_installed() -> tuple[Program, ...]:
    """Find the GIMPs that can be started; there may be none, although a folder shows that GIMP has run.

    Raises:
        Stop: there is no sign of any GIMP, or what may be one can't be looked at.
    """
    programs, errors = find_programs(), list[OSError]()
    if not programs and not find_profiles(errors=errors):
        if errors:
            raise explain_read_error(errors[0])
        raise Stop("gimp-missing", 6)
    return programs


def install(installation: Installation, programs: Sequence[Program], say: Say) -> list[Outcome]:
    """Install or repair the plug-in in every GIMP.

    Args:
        installation: the environment and models that the worker uses; ``prepare`` has filled the environment.
        programs: the GIMPs to check afterwards, as returned by ``find_installed``.
        say: called with a line for each step.

    Returns:
        one outcome per folder, also per one that can't be looked at, and per checked GIMP.
    """
    for program in programs:
        if _is_without_folder(program):
            # GIMP creates its folder from an older GIMP's settings, but only while the folder does not exist.
            say(f"starting GIMP {program.version} once, so that it makes its folder")
            program.run(*_quit_options(program))
    errors: list[OSError] = []
    outcomes = [_install_in(profile, installation, say) for profile in find_profiles(errors=errors)]
    outcomes += [Outcome(str(error.filename), str(explain_read_error(error))) for error in errors]
    for program in programs:
        say(f"asking GIMP {program.version} ({program.packaging}) for the filter")
        trouble = describe_trouble(program, check_registration(program))
        outcomes.append(Outcome(f"GIMP {program.version} ({program.packaging})", trouble))
    return outcomes


def remove_from(profile: Profile) -> list[str]:
    """Remove the plug-in, its log and its saved dialog settings from one GIMP; returns lines on what was removed.

    Raises:
        Stop: it is not ours or can't be removed.
    """
    for saved in profile.folder.glob(f"plug-in-settings/*{PROCEDURES[3]}*"):
        saved.unlink()
    (profile.folder / LOG).unlink(missing_ok=True)
    folder = plug_in.find_folder(profile)
    return [remove(folder)] if is_there(folder) or folder.is_symlink() else []


def forget_prompts(program: Program) -> list[str]:
    """Make GIMP delete the recent prompts in its settings; returns a line if they were deleted."""
    folder = find_profile(program)
    if program.generation != 3 or not _has_prompts(folder):
        return []
    program.run("--batch-interpreter=python-fu-eval", "-b", f"Gimp.detach_parasite({RECENT!r})", "--quit")
    return [] if _has_prompts(folder) else [f"Removed the recent prompts from GIMP {program.version}."]


def check_prompts(profile: Profile) -> list[str]:
    """Check that recent prompts are deleted: GIMP may have failed, be missing, or write them again when it ends.

    Raises:
        Stop: they are still there.
    """
    if _has_prompts(profile.folder):
        raise Stop("prompts-kept", 5, path=profile.folder / _SETTINGS, name=RECENT)
    return []


def check_registration(program: Program) -> Answer:
    """Check whether a GIMP has registered the filter: starts it without a window, which reads its plug-ins."""
    if program.generation == 3:
        result = program.run("--batch-interpreter=python-fu-eval", "-b", _CHECK_3, "--quit")
        answers: dict[int, Answer] = {0: "there", _RAISED: "missing", _UNKNOWN_LANGUAGE: "no Python"}
        return answers.get(result.returncode, "no answer")
    # GIMP 2.10 exits with 0 whatever a script does.
    output = program.run("-b", _CHECK_2).stdout
    if "PROTECT-FACE 1" in output:
        return "there"
    if "PROTECT-FACE 00" in output:
        return "no Python"
    return "missing" if "PROTECT-FACE 01" in output else "no answer"


def describe_trouble(program: Program, answer: Answer) -> str:
    """The problem behind an answer and its remedy, as a sentence; "" if there is none."""
    if answer == "there":
        return ""
    if answer == "no Python":
        if program.generation == 2:
            return "It has no Python-Fu, which the filter needs; install GIMP 3 and run 'python3 install.py --gimp'."
        return "It has no Python, which the filter needs; install GIMP's Python support and restart it."
    if answer == "missing":
        return (
            "It does not see the filter; run 'python3 install.py --gimp', and report what --doctor prints if it stays."
        )
    return "It could not be checked; start it and look under Filters > Privacy."


def advise_on_sandbox(installation: Installation) -> str:
    """Advice for users of a sandboxed GIMP; "" if there is no such GIMP."""
    if is_flatpak_installed() or any(profile.confined for profile in find_profiles()):
        return (
            f"GIMP from Flatpak or Snap may not start the worker: run '{installation.c2p} worker run' in a terminal and"
            " keep it open."
        )
    return ""


def _install_in(profile: Profile, installation: Installation, say: Say) -> Outcome:
    folder = plug_in.find_folder(profile)
    try:
        changed = plug_in.write(profile, worker.make_pointer(installation), read_compiled_files(installation))
    except Stop as problem:
        return Outcome(str(folder), str(problem))
    say(f"{'wrote' if changed else 'nothing to do in'} {folder}")
    strays = ", ".join(f"'{path}'" for path in plug_in.find_strays(profile))
    return Outcome(str(folder), f"{strays} does not belong there and may confuse GIMP; remove it." if strays else "")


def _is_without_folder(program: Program) -> bool:
    folder = find_profile(program)
    try:
        return not (is_there(folder) and folder.is_dir())
    except OSError:
        return False  # ``install`` reports it, by ``find_profiles``


def _has_prompts(folder: Path) -> bool:
    settings = folder / _SETTINGS
    return settings.is_file() and RECENT.encode() in settings.read_bytes()


def _quit_options(program: Program) -> tuple[str, ...]:
    return ("--quit",) if program.generation == 3 else ("-b", "(gimp-quit 0)")
