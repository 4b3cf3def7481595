"""The options of ``install.py`` and the steps behind them."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from installer import doctor, gimp, integrations, worker, zips
from installer.environment import CHECKOUT, list_fetched_models, make_child_environment, prepare, read_compiled_files
from installer.folders import Installation, claim, data_home, find_installation, remove, remove_test_systems
from installer.gimps import find_profiles, find_programs
from installer.plug_in import find_folder
from installer.problems import Stop, explain_disk_error

JOBS = (
    ("gimp", "install the filter into every GIMP you have, or repair it"),
    ("integrations", "connect darktable, digiKam, Lightroom, Nautilus and Dolphin, as far as you have them"),
    ("doctor", "print a diagnosis to paste into a bug report"),
    ("make-zip", "write zips of the GIMP plug-ins into dist/"),
    ("uninstall", "remove everything that install.py created, in every GIMP and other program too"),
)
# Passed on to `c2p protect` unchanged; `c2p` checks them.
PASSED_ON = (
    ("--prompt", "makeup style in words"),
    ("--strength", "0..1, from discreet to strong"),
    ("--mode", "dodge or decoy"),
    ("--faces", "all, largest, or numbers as printed by `c2p faces`"),
    ("--prior", "how faces are changed: makeup or stylegan2"),
    ("--recognisers", "auto, or comma-separated names"),
    ("--hold-out", "recogniser that only verifies"),
    ("--steps", "search steps per face"),
    ("--seed", "seed of all random numbers"),
    ("--device", "auto, cpu or cuda"),
)
# The same, each as often as it is given.
REPEATABLE_PASSED_ON = (
    ("--lock", "part of the face that does not move: brows, mouth, nose or jaw; may be repeated"),
    ("--recogniser", "another recogniser to protect from, such as onnx:FILE; may be repeated"),
)
# The same, without a value.
SWITCHES_PASSED_ON = (("--no-keep-expression", "keep the shape of the eyes only, not of brows, lips, nose and jaw"),)
# What `--test quick` leaves out, as pytest's markers: searches, a real GIMP, and Node.js.
QUICK = "not slow and not host and not node"
SAMPLE = """
import sys
from PIL import Image
from skimage import data
Image.fromarray(data.astronaut()).save(sys.argv[1])
"""

_T = TypeVar("_T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the installer; returns the exit code."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.protect is None and options.test is None and options.job is None:
        parser.print_help()
        return 2
    installation = find_installation(options.venv, options.models)
    try:
        if options.job == "uninstall":
            return uninstall(installation)
        if options.job == "gimp":
            return install_into_gimp(installation, options.offline)
        if options.job == "integrations":
            return connect_other_programs(installation, options.offline)
        if options.job == "doctor":
            return doctor.diagnose(installation)
        if options.job == "make-zip":
            return zip_plug_ins(installation, options.offline)
        if options.test is not None:
            return test(installation, options.offline, quick=options.test == "quick")
        return protect(installation, options)
    except Stop as problem:
        print(f"install.py: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("install.py: stopped; the same command goes on from here.", file=sys.stderr)
        return 130


def protect(installation: Installation, options: argparse.Namespace) -> int:
    """Set up and protect one photo; returns the exit code of `c2p protect`."""
    photo, target, report = choose_paths(options.protect, options.output)
    set_up(installation, tests=False, offline=options.offline)
    if not options.protect and not photo.exists():
        _print_step(f"Writing scikit-image's astronaut portrait to {photo}")
        if run_child([installation.python, "-c", SAMPLE, photo], installation, options.offline):
            raise Stop("sample-failed", 5, path=photo)
    _print_step(f"Protecting {photo}")
    values = {name: getattr(options, _get_attribute_name(name)) for name, _ in PASSED_ON}
    passed_options = [argument for name, value in values.items() if value is not None for argument in (name, value)]
    for name, _ in REPEATABLE_PASSED_ON:
        passed_options += [
            argument for value in getattr(options, _get_attribute_name(name)) or () for argument in (name, value)
        ]
    passed_options += [name for name, _ in SWITCHES_PASSED_ON if getattr(options, _get_attribute_name(name))]
    command = [installation.c2p, "protect", "-o", target, "--report", report, *passed_options, "--", photo]
    return run_child(command, installation, options.offline)


def choose_paths(photo: str, output: Path | None) -> tuple[Path, Path, Path]:
    """The paths of the photo, the protected photo and the report.

    Args:
        photo: as given; empty for the sample portrait, which is then written beside its result.
        output: file or existing folder, None for the photo's own folder (the current one for the sample).

    Raises:
        Stop: the photo or the target folder does not exist; checked before minutes of setting up.
    """
    if photo and not Path(photo).is_file():
        raise Stop("photo-missing", 3, path=photo)
    folder = Path(photo).parent if photo else Path()
    if output is not None:
        folder = output if output.is_dir() else output.parent
    if not folder.is_dir():
        raise Stop("target-folder-missing", 5, folder=folder)
    source = Path(photo) if photo else folder / "astronaut.png"
    target = folder / f"{source.stem}.protected.png" if output is None or output.is_dir() else output
    report = target.with_name(target.stem.removesuffix(".protected") + ".report.json")
    return source, target, report


def test(installation: Installation, offline: bool, *, quick: bool = False) -> int:
    """Set up with the test tools and run the checks; returns 0 if all passed.

    pytest comes last, so that the output ends with its summary; it lists skipped tests with reasons.

    Args:
        installation: folders to use.
        offline: fetch nothing.
        quick: leave out the tests that search, run GIMP or need Node.js.
    """
    set_up(installation, tests=True, offline=offline)
    if not quick and not offline:
        build_test_systems(installation)
    failed = []
    # Ruff's cache doesn't notice that a module it took for a third-party one has been added.
    for tool in (("ruff", "check", "--no-cache", "."), ("ruff", "format", "--check", "."), ("mypy",)):
        _print_step(" ".join(tool))
        if run_child([installation.python, "-m", *tool], installation, offline, CHECKOUT):
            failed.append(" ".join(tool))
    if failed:
        print(f"FAILED: {', '.join(failed)} (see above)", flush=True)
    _print_step("pytest")
    # One thread per worker: more would compete for the cores. On two cores, three workers took longer than two. A file
    # is one piece: what is tested in GIMP's window builds on earlier tests there; tests/conftest.py orders the files.
    pytest: list[str | Path] = [installation.python, "-m", "pytest", "-n", "2", "--dist", "loadfile"]
    pytest += ["--no-loadscope-reorder", "--durations", "20", "--durations-min", "5"]
    if quick:
        pytest += ["-m", QUICK]
    code = run_child(pytest, installation, offline, CHECKOUT, OMP_NUM_THREADS="1")
    return code or (1 if failed else 0)


def build_test_systems(installation: Installation) -> None:
    """Begin to build the systems of the host tests, which takes minutes, beside the checks and the first tests.

    A test that needs one waits for it; one that can't be built is reported by the tests that are skipped without it.
    """
    command = [str(installation.python), "-m", "tests.host.root"]
    nothing = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, env=make_child_environment(), cwd=CHECKOUT)


def install_into_gimp(installation: Installation, offline: bool) -> int:
    """Set up and install the filter into every GIMP; returns 1 if one of them does not have it afterwards."""
    programs = gimp.find_installed()
    set_up(installation, tests=False, offline=offline)
    if worker.end_worker(installation):
        _say("ended the worker; it starts anew when GIMP needs it")
    _print_step("Installing into GIMP")
    outcomes = gimp.install(installation, programs, _say)
    _print_step("Result")
    for outcome in outcomes:
        _say(f"{outcome.name}: {outcome.trouble or 'good'}")
    if advice := gimp.advise_on_sandbox(installation):
        _say(advice)
    _say("Start GIMP anew: Filters > Privacy > Protect Face.")
    _say(f"To undo all of it: {worker.make_command('uninstall', installation)}")
    _say(f"If something is wrong: {worker.make_command('doctor', installation)}")
    return 1 if any(outcome.trouble for outcome in outcomes) else 0


def connect_other_programs(installation: Installation, offline: bool) -> int:
    """Set up and connect every other program that is found; returns 1 if one of them could not be connected.

    Raises:
        Stop: none is found.
    """
    system = integrations.System()
    # Before minutes of setting up.
    advice = integrations.advise_on_sandbox(system)
    if not (matches := integrations.find(installation, system)) and not advice:
        raise Stop("programs-missing", 6)
    set_up(installation, tests=False, offline=offline)
    _print_step("Connecting other programs")
    failed = integrations.install(matches, _say)
    for line in advice:
        _say(line)
    _say(f"To undo all of it: {worker.make_command('uninstall', installation)}")
    return 1 if failed else 0


def zip_plug_ins(installation: Installation, offline: bool) -> int:
    """Set up, because the zips need what building the package makes, and write the zips; prints their paths."""
    set_up(installation, tests=False, offline=offline)
    for path in zips.make_zips(read_compiled_files(installation)):
        print(path)
    return 0


def uninstall(installation: Installation) -> int:
    """Remove everything that ``install.py`` created, and only that; returns 0 if nothing of it is left."""
    code = 0

    def refuse(error: OSError) -> None:
        nonlocal code
        problem = Stop("removal-not-permitted", 5, path=error.filename, reason=error.strerror)
        print(f"install.py: {problem}", file=sys.stderr)
        code = problem.exit_code

    def try_step(step: Callable[[], Sequence[_T]]) -> Sequence[_T]:
        """Do a step; if it fails, print why and return (), so that the other steps are still done."""
        nonlocal code
        try:
            return step()
        except Stop as problem:
            print(f"install.py: {problem}", file=sys.stderr)
            code = problem.exit_code
        except OSError as error:
            refuse(error)
        return ()

    errors: list[OSError] = []
    folders = find_profiles(errors=errors)
    for error in errors:
        refuse(error)
    # Read before the folders are removed.
    readers = [partial(worker.find_other_uninstall, find_folder(profile), installation) for profile in folders]
    other_commands = {command for read_command in readers for command in try_step(read_command)}
    steps: list[Callable[[], list[str]]] = [
        # First, while its environment still exists.
        lambda: ["Ended the worker."] if worker.end_worker(installation) else [],
        *(partial(gimp.forget_prompts, program) for program in try_step(find_programs)),
        *(partial(gimp.check_prompts, profile) for profile in folders),
        *(partial(gimp.remove_from, profile) for profile in folders),
        integrations.remove,
        remove_test_systems,
        worker.remove_traces,
        lambda: [remove(installation.venv)],
        lambda: [remove(installation.models, list_fetched_models())],
    ]
    for step in steps:
        for line in try_step(step):
            print(line)
    for command in sorted(other_commands):
        print(f"The filter belonged to another installation, which was kept; to remove it too: {command}")
    with contextlib.suppress(OSError):
        data_home().rmdir()  # only when it is empty
    return code


def set_up(installation: Installation, *, tests: bool, offline: bool) -> None:
    """Bring the environment to the state that the checkout requires, and claim the folder of the models."""
    started = time.monotonic()
    _print_step("Setting up")
    prepare(installation, tests=tests, offline=offline, say=_say, before_change=lambda: worker.end_worker(installation))
    claim(installation.models)
    _say(f"ready after {time.monotonic() - started:.0f} s")


def run_child(
    command: Sequence[str | Path], installation: Installation, offline: bool, folder: Path | None = None, **more: str
) -> int:
    """Run a program in ``folder`` with our models and ``more`` variables; returns its exit code."""
    variables = {"C2P_MODELS": str(installation.models), **({"C2P_OFFLINE": "1"} if offline else {}), **more}
    arguments = [str(argument) for argument in command]
    sys.stdout.flush()
    try:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, env=make_child_environment(**variables), cwd=folder or Path()
        )
    except OSError as error:
        raise explain_disk_error(error, Path(arguments[0])) from error
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The child received the same Ctrl-C and is cleaning up.
            continue


def _print_step(text: str) -> None:
    print(f"== {text}", flush=True)


def _say(text: str) -> None:
    print(f"   {text}", flush=True)


def _get_attribute_name(option: str) -> str:
    """The attribute that argparse stores an option in."""
    return option.lstrip("-").replace("-", "_")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="install.py", description="Sets up Protect Face and runs it.", allow_abbrev=False
    )
    jobs = parser.add_mutually_exclusive_group()
    jobs.add_argument(
        "--protect", nargs="?", const="", metavar="PHOTO", help="protect a photo (without one: a sample portrait)"
    )
    jobs.add_argument(
        "--test",
        nargs="?",
        const="all",
        choices=("all", "quick"),
        help="run all checks and tests, or those that take few minutes",
    )
    for job, help_text in JOBS:
        jobs.add_argument(f"--{job}", dest="job", action="store_const", const=job, help=help_text)
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="file or folder for the protected photo")
    parser.add_argument("--venv", type=Path, metavar="DIR", help="folder of the virtual environment")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of the models")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    passed_on = parser.add_argument_group("passed on to c2p protect")
    for name, help_text in PASSED_ON:
        passed_on.add_argument(name, help=help_text)
    for name, help_text in REPEATABLE_PASSED_ON:
        passed_on.add_argument(name, action="append", help=help_text)
    for name, help_text in SWITCHES_PASSED_ON:
        passed_on.add_argument(name, action="store_true", help=help_text)
    return parser
