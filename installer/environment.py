"""The virtual environment: created once, filled by pip, identified by hashes of what was installed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from installer.folders import MARKER, Installation, claim, read_marker, write_marker
from installer.problems import Stop, explain_disk_error, explain_pip_error

CHECKOUT = Path(__file__).resolve().parent.parent
BUNDLE = CHECKOUT / "bundle"
VERSION = CHECKOUT / "c2p_core" / "version.py"
# The tested versions.
CONSTRAINTS = BUNDLE / "constraints.txt"
# What the installed package is built from.
SOURCES = (
    "pyproject.toml",
    "hatch_build.py",
    "README.md",
    "LICENSE",
    "THIRD_PARTY.md",
    "c2p_core",
    "bundle/manifest.toml",
    "bundle/mini",
    "bundle/models",
    "plugin/worker_client",
    "docs",
)
# Parts of an environment, as its marker names them.
OWN_PACKAGE, PACKAGES, TEST_TOOLS = "own package", "packages", "test tools"
# The extra of the package whose dependencies belong to a part.
EXTRAS = {PACKAGES: "", TEST_TOOLS: "[test]"}
# Kept in the environment, so that a changed checkout is built without another download.
BUILD_TOOLS = ("polib", "hatchling", "markdown-it-py")
LOG = "protect-face-pip.log"
# Part of the real path of files that a Python from the Microsoft Store writes below AppData, unseen by other programs.
_STORE = "\\Packages\\PythonSoftwareFoundation"
# Measured without the CUDA libraries; with them, pip itself reports that there is no space.
NEEDED_BYTES = 2_500_000_000
# Runs in the environment: versions for a report, and checks of the models that can't be fetched again.
_CHECK_SCRIPT = """
import importlib.metadata as m, sys, torch
from c2p_core.errors import ModelUnavailable
from c2p_core.models.store import ModelStore
try: print("GPU", torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none that PyTorch can use")
except RuntimeError as error: print("GPU", error)  # a driver's fault, which no new environment mends
wrong = []
for name in ("protect-face", "torch", "torchvision", "numpy", "pillow", "open_clip_torch"):
    try: print(name, m.version(name))
    except m.PackageNotFoundError: wrong.append(f"{name} is missing")
store = ModelStore(offline=True)
for entry in store.entries():
    try: entry.fetchable or store.verify(entry.name)
    except ModelUnavailable as error: wrong.append(str(error).rstrip("."))
print(*wrong, sep="\\n")
sys.exit(bool(wrong))
"""

Say = Callable[[str], None]


def prepare(
    installation: Installation,
    *,
    tests: bool,
    offline: bool,
    say: Say,
    before_change: Callable[[], object] = lambda: None,
) -> None:
    """Bring the environment to the state that the checkout requires; does nothing where it is up to date.

    Args:
        installation: folders to use.
        tests: whether the test tools are needed too.
        offline: do not let pip fetch anything.
        say: called with a line for each step that takes time.
        before_change: called before anything is replaced, to end programs that use it.

    Raises:
        Stop: something is not available; the message says what to do.
    """
    if not claim(installation.venv):
        raise Stop("folder-not-ours", 2, folder=installation.venv)
    if sys.platform == "win32" and _STORE in os.path.realpath(installation.venv / MARKER):
        raise Stop("folder-hidden-by-store", 6, folder=installation.venv)
    # A working environment is kept, whatever Python runs install.py: a new one would need the network.
    new = run_program([installation.python, "-m", "pip", "--version"]).returncode != 0
    if new:
        before_change()
        make_environment(installation.venv, say)
    _install_parts(installation, tests, offline, say, before_change)
    code, findings = check_packages(installation)
    if code and not new and not offline:
        say(f"the environment is damaged ({findings[-1]})")
        before_change()
        make_environment(installation.venv, say)
        _install_parts(installation, tests, offline, say, before_change)
        code, findings = check_packages(installation)
    if code and offline:
        raise Stop("environment-damaged-offline", 6, reason=findings[-1])
    if code:
        raise Stop("environment-broken", 6, reason=findings[-1])
    if not read_compiled_files(installation):
        raise Stop("translations-missing", 6, checkout=CHECKOUT)


def _install_parts(
    installation: Installation, tests: bool, offline: bool, say: Say, before_change: Callable[[], object]
) -> None:
    """Install every part with pip that is not as this checkout requires."""
    known = read_marker(installation.venv)
    stamps = compute_stamps()
    missing = [part for part in stamps if known.get(part) != stamps[part] and (tests or part != TEST_TOOLS)]
    if OWN_PACKAGE not in missing and (
        run_program([installation.c2p, "--help"]).returncode or not read_compiled_files(installation)
    ):
        missing.append(OWN_PACKAGE)
    if not missing:
        return
    if PACKAGES not in known:
        check_space(installation.venv)
    before_change()
    # The parts are missing until pip ends, so that the next run continues a killed one.
    write_marker(installation.venv, {part: stamp for part, stamp in known.items() if part not in missing})
    # Inside the environment: there is space, and what a killed run leaves is removed with it.
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=installation.venv) as folder:
        wheel = _build_wheel(installation, Path(folder), PACKAGES in missing, offline, say)
        if OWN_PACKAGE in missing:
            say("installing c2p from this checkout")
            # Nothing is fetched for it, so it can't fail because of the network.
            arguments = ["--no-index", "--no-deps", "--force-reinstall", str(wheel)]
            run_pip(installation, "install", arguments, offline=False, say=say)
            _record_part(installation, OWN_PACKAGE, stamps)
        for part in EXTRAS:
            if part not in missing:
                continue
            say(f"installing {part} with pip" + ("" if offline else " (downloads; minutes the first time)"))
            arguments = ["--constraint", str(CONSTRAINTS), f"{wheel}{EXTRAS[part]}"]
            run_pip(installation, "install", arguments, offline=offline, say=say)
            _record_part(installation, part, stamps)


def _build_wheel(installation: Installation, folder: Path, new_tools: bool, offline: bool, say: Say) -> Path:
    """Build the checkout's wheel in ``folder``; first fetches the build tools where they may be missing."""
    if new_tools:
        run_pip(installation, "install", ["--constraint", str(CONSTRAINTS), *BUILD_TOOLS], offline=offline, say=say)
    # Without pip's cache, where the wheel would remain after an uninstallation.
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(folder)]
    run_pip(installation, "wheel", [*options, str(CHECKOUT)], offline=False, say=say)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _record_part(installation: Installation, part: str, stamps: dict[str, str]) -> None:
    """Record in the marker that a part is as this checkout requires."""
    write_marker(installation.venv, read_marker(installation.venv) | {part: stamps[part]})


def check_packages(installation: Installation) -> tuple[int, list[str]]:
    """Check that the installed packages work.

    Returns:
        0 if they do, and lines for the diagnosis, the last of which describes a fault.
    """
    result = run_program([installation.python, "-I", "-c", _CHECK_SCRIPT])
    return result.returncode, result.stdout.strip().splitlines() or ["no output"]


def read_compiled_files(installation: Installation) -> dict[str, bytes]:
    """Read what building the package made for the plug-ins, such as translations, by path in the worker client."""
    packages = "Lib/site-packages" if sys.platform == "win32" else "lib/python*/site-packages"
    files: dict[str, bytes] = {}
    for client in sorted(installation.venv.glob(f"{packages}/worker_client")):
        for kind in ("locale/*/LC_MESSAGES/*.mo", "help/*/*", "priors.json"):
            files |= {path.relative_to(client).as_posix(): path.read_bytes() for path in sorted(client.glob(kind))}
    return files


def compute_stamps() -> dict[str, str]:
    """The stamp of each part in the environment's marker when it is as this checkout requires."""
    packages = hash_content([CHECKOUT / "pyproject.toml", CONSTRAINTS], CHECKOUT)
    package = hash_content((CHECKOUT / name for name in SOURCES), CHECKOUT)
    return {OWN_PACKAGE: package, PACKAGES: packages, TEST_TOOLS: packages}


def list_fetched_models() -> tuple[str, ...]:
    """The names that ``c2p models fetch`` creates in the folder of the models, as patterns."""
    manifest = (BUNDLE / "manifest.toml").read_text(encoding="utf-8")
    return (*re.findall(r'^name = "(.+)"$', manifest, re.MULTILINE), ".partial-*", ".locks", ".pins")


def read_release() -> str:
    """The version of the checkout."""
    match = re.search(r'^__version__ = "(.+)"$', VERSION.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else "unknown"


def hash_content(paths: Iterable[Path], root: Path) -> str:
    """SHA-256 over names and contents of files and of all files in folders, without compiled ones."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" in file.parts or file.suffix == ".mo":
                continue
            digest.update(f"{file.relative_to(root).as_posix()}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def make_child_environment(**more: str) -> dict[str, str]:
    """This process's environment without variables that would misdirect a child Python."""
    misleading = ("PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
    # pip leaves compiling to the first import, which has to keep what it compiled.
    compiling = "PYTHONDONTWRITEBYTECODE"
    variables = {name: value for name, value in os.environ.items() if name not in (*misleading, compiling)}
    return variables | {"PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"} | more


def run_program(
    command: Sequence[str | Path], seconds: float | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a program without input, with ``more`` variables; what it prints, errors too, is the result's ``stdout``.

    One that can't be started, or takes longer than ``seconds``, ends with 1 and has the reason as its output.
    """
    arguments = [str(word) for word in command]
    try:
        return subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=make_child_environment(**more),
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(arguments, 1, str(error), "")


def run_pip(installation: Installation, job: str, arguments: list[str], *, offline: bool, say: Say) -> None:
    """Run ``pip install`` or ``pip wheel``; prints only slow steps and writes the full output to a log.

    Raises:
        Stop: it failed.
    """
    command = [str(installation.python), "-m", "pip", job, "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", *(["--no-index"] if offline else [])]
    if job == "install":
        # Python compiles a module when it is first imported; most of these packages never are (200 MB, 20 s).
        command.append("--no-compile")
    command += arguments
    log = installation.venv / LOG
    output: list[str] = []
    try:
        with (
            log.open("a", encoding="utf-8") as record,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=make_child_environment(),
                cwd=installation.venv,
            ) as process,
        ):
            try:
                for line in process.stdout or ():
                    record.write(line)
                    output.append(line)
                    if summary := summarise_pip_line(line):
                        say(summary)
            except BaseException:
                process.terminate()
                raise
    except OSError as error:
        raise explain_disk_error(error, installation.venv) from error
    if process.returncode:
        raise explain_pip_error("".join(output), offline, log)


def summarise_pip_line(line: str) -> str:
    """Condense a line of pip's output: large downloads and the installation; else ""."""
    if match := re.search(r"Downloading (?:\S*/)?([A-Za-z0-9_.]+?)-\d\S* \((\d+(?:\.\d+)?) (MB|GB)", line):
        name, size, unit = match.groups()
        if unit == "GB" or float(size) >= 5:
            return f"  downloading {name} ({size} {unit})"
    if line.startswith("Installing collected packages:"):
        count = line.count(",") + 1
        return f"  installing {count} package{'s' if count > 1 else ''}"
    return ""


def make_environment(folder: Path, say: Say) -> None:
    """Replace what is in ``folder`` by a new virtual environment with nothing but pip.

    Raises:
        Stop: it can't be made.
    """
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Stop("venv-module-missing", 6)
    say(f"making a virtual environment in {folder}")
    # First, because what follows may be interrupted: nothing in the folder counts as installed any more.
    write_marker(folder, {})
    try:
        for entry in folder.iterdir():
            if entry.name != MARKER:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    except OSError as error:
        raise explain_disk_error(error, folder) from error
    result = run_program([find_base_python(), "-m", "venv", folder])
    if result.returncode:
        check_space(folder)
        last = (result.stdout.strip().splitlines() or ["no output"])[-1]
        raise Stop("venv-failed", 6, folder=folder, reason=last)


def find_base_python() -> str:
    """The Python that the running one was made from; ``sys.executable`` may be in an environment that is replaced."""
    return str(getattr(sys, "_base_executable", sys.executable))


def check_space(folder: Path) -> None:
    """Check that the disk has space for all packages.

    Raises:
        Stop: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise Stop("disk-too-small", 5, folder=folder, free_gb=free / 1e9, needed_gb=NEEDED_BYTES / 1e9)
