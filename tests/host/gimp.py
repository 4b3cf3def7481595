"""A real GIMP 3 for the tests: runs scripts in its console, with the plug-in in a profile of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil
import worker_client
from worker_client.constants import PROTOCOL
from worker_client.location import WorkerLocation, read_endpoint

from c2p_core.models.store import default_root
from hatch_build import compile_all
from installer import plug_in
from tests.fetchable import bundle_with_fetchable
from tests.host.console import SECONDS, SERVE, Console
from tests.host.root import GIMP3, NoRoot, find_root, make_joining_command, make_root_command

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# Only these of GIMP's own plug-ins are needed; it starts faster without the others.
_LEAN = ("python-eval", "file-jpeg", "file-png", "file-tiff", "help", "web-browser")
_PLUG_IN = "protect-face"
_PRELUDE = Path(__file__).with_name("prelude.py")
# Of the console that stays, after each script.
_CLEAN_UP = "[image.delete() for image in Gimp.get_images()], Gimp.context_set_defaults()"


@dataclass(frozen=True)
class Outcome:
    """How a script ended.

    Attributes:
        results: what it handed to ``report``.
        output: what GIMP printed.
    """

    results: dict[str, Any]
    output: str


@dataclass(frozen=True)
class Gimp:
    """A GIMP 3 and a profile.

    Attributes:
        root: the root folder that GIMP is in; None where it is installed.
        prefix: beginning of every command; empty where GIMP is installed.
        share: folder that GIMP and the tests both see under this name.
        plug_ins: where GIMP's own plug-ins are, as GIMP sees it.
        console: runs the scripts that need no GIMP of their own.
    """

    root: Path | None
    prefix: list[str]
    share: Path
    plug_ins: Path
    console: Console

    @property
    def run_folder(self) -> Path:
        """The worker's."""
        return self.share / "run"

    @property
    def plug_in(self) -> Path:
        return self.share / "profile" / "plug-ins" / _PLUG_IN

    @property
    def lean(self) -> Path:
        """The folder with those of GIMP's own plug-ins that are needed."""
        return self.share / "profile" / "lean"

    def script(self, text: str) -> Outcome:
        """Runs Python, after ``tests/host/prelude.py``, in a GIMP in which other scripts ran before.

        Raises:
            AssertionError: the script raised; with what GIMP printed.
        """
        results = self._clear_results()
        output = self.console.run(self._write(text), self._start_console)
        return _read_outcome(results, output)

    def script_alone(self, text: str) -> Outcome:
        """The same in a GIMP of its own, which is started for it."""
        results = self._clear_results()
        process = self.start(text)
        printed, _ = process.communicate(timeout=SECONDS)
        output = printed.decode(errors="replace")
        assert process.returncode == 0, output
        return _read_outcome(results, output)

    def script_fu(self, command: str) -> str:
        """Runs Script-Fu in GIMP's console; what it printed."""
        folder = self.share / "script-fu"
        folder.mkdir()
        (folder / "script-fu").symlink_to(self.plug_ins / "script-fu")
        gimprc = self.share / "gimprc-script-fu"
        gimprc.write_text((self.share / "profile" / "gimprc").read_text().replace('path "', f'path "{folder}:'))
        arguments = ["--no-data", "--no-fonts", "--quit", f"--gimprc={gimprc}", "-b", command]
        interpreter = "--batch-interpreter=plug-in-script-fu-eval"
        output, _ = self.program("gimp-console-3.0", interpreter, *arguments).communicate(timeout=SECONDS)
        return output.decode(errors="replace")

    def start(self, text: str, **environment: str) -> subprocess.Popen[bytes]:
        """Starts a GIMP on a script; ``RESULTS`` names another file in the share for what it reports."""
        return self._start(f"exec(open('{self._write(text)}').read())", subprocess.PIPE, environment)

    def program(
        self, *command: str, output: int | IO[bytes] = subprocess.PIPE, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Starts a program where GIMP is, in a clean environment."""
        variables = {
            "HOME": str(self.share),
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GIMP3_DIRECTORY": str(self.share / "profile"),
            "TMPDIR": "/tmp",
            "SHARE": str(self.share),
            **environment,
        }
        arguments = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command]
        return subprocess.Popen([*self.prefix, *arguments], stdout=output, stderr=subprocess.STDOUT)

    def beside(self, process: int) -> Gimp:
        """The same GIMP, whose programs start sooner while that process of it runs."""
        return self if self.root is None else replace(self, prefix=make_joining_command(self.root, process))

    def _start_console(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        serve = shutil.copy(SERVE, self.share)
        batch = f"exec(open('{serve}').read()); serve(lambda: ({_CLEAN_UP}))"
        return self._start(batch, output, {"CONSOLE": str(self.console.address)})

    def _start(self, batch: str, output: int | IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        arguments = ["--no-data", "--no-fonts", "--quit", "--batch-interpreter=python-fu-eval", "-b", batch]
        return self.program("gimp-console-3.0", *arguments, output=output, **environment)

    def _write(self, text: str) -> Path:
        script = self.share / "script.py"
        script.write_text(_PRELUDE.read_text(encoding="utf-8") + textwrap.dedent(text), encoding="utf-8")
        return script

    def _clear_results(self) -> Path:
        results = self.share / "results.json"
        results.unlink(missing_ok=True)
        return results


def _read_outcome(results: Path, output: str) -> Outcome:
    return Outcome(json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}, output)


def prepare_gimp(share: Path) -> Gimp:
    """A GIMP with the plug-in in a fresh profile.

    Raises:
        NoRoot: there is no GIMP 3 here and none can be had.
    """
    gimp = _find_gimp(share)
    _write_profile(gimp)
    _install(gimp)
    return gimp


def _find_gimp(share: Path) -> Gimp:
    console = Console(share, "gimp3")
    if shutil.which("gimp-console-3.0"):
        folders = sorted(Path("/usr/lib").glob("**/gimp/3.0/plug-ins"))
        if folders:
            return Gimp(None, [], share, folders[0], console)
    root = find_root(GIMP3)
    folders = sorted((root / "usr" / "lib").glob("*/gimp/3.0/plug-ins"))
    if not folders:
        raise NoRoot(f"{root} has no GIMP 3 in it")
    return Gimp(root, make_root_command(root, share), share, Path("/") / folders[0].relative_to(root), console)


def _write_profile(gimp: Gimp) -> None:
    profile = gimp.share / "profile"
    (profile / "plug-ins").mkdir(parents=True)
    gimp.lean.mkdir()
    for name in _LEAN:
        (gimp.lean / name).symlink_to(gimp.plug_ins / name)
    (profile / "gimprc").write_text(
        f'(plug-in-path "{gimp.lean}:{profile}/plug-ins")\n'
        "(check-updates no)\n(show-welcome-dialog no)\n(color-profile-policy keep)\n"
    )


def add_saboteur(gimp: Gimp) -> None:
    """Adds the plug-in that does things to the image during a run; GIMP looks for plug-ins when it starts."""
    gimp.console.close()
    folder = gimp.share / "profile" / "plug-ins" / "saboteur"
    folder.mkdir(exist_ok=True)
    shutil.copy(CHECKOUT / "tests" / "host" / "saboteur.py", folder)
    (folder / "saboteur.py").chmod(0o755)


def count_jobs(gimp: Gimp) -> int:
    """How many jobs wait or run in the worker."""
    return count_jobs_and_done(gimp)[0]


def count_jobs_and_done(gimp: Gimp) -> tuple[int, int]:
    """How many jobs wait or run in the worker, and how many it has done; none when there is no worker."""
    location = WorkerLocation("tests", [], str(gimp.run_folder), {})
    if read_endpoint(location.run_folder) is None:
        return 0, 0
    with worker_client.connect(client="tests", location=location) as worker:
        status = worker.submit("status").result(lambda _event: None).header
        return status["queue"], status["jobs_done"]


def read_endpoint_file(gimp: Gimp) -> dict[str, Any]:
    """What the running worker says of itself in its run folder."""
    return dict(json.loads((gimp.run_folder / "worker.json").read_text()))


def find_compute_process(gimp: Gimp) -> psutil.Process:
    """The worker's process that computes."""
    (process,) = psutil.Process(read_endpoint_file(gimp)["pid"]).children()
    return process


@contextmanager
def suspend_search(gimp: Gimp) -> Iterator[None]:
    """The worker's process that computes stands still meanwhile, so that no search can win."""
    process = find_compute_process(gimp)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@contextmanager
def suspend_job_after(gimp: Gimp, done: int, seconds: float = 60) -> Iterator[None]:
    """The job that the worker gets after having done ``done`` others stands still meanwhile.

    It is looked for while the process that computes is suspended: on a fast machine a job could end between a look and
    the suspension.
    """
    until = time.monotonic() + seconds
    while True:
        with suspend_search(gimp):
            if count_jobs_and_done(gimp) == (1, done):
                yield
                return
        assert time.monotonic() < until, f"no job came after {done} others"
        time.sleep(0.05)


def find_plug_in_processes(folder: Path) -> list[psutil.Process]:
    """The processes of the plug-in that lies in a folder."""
    program = str(folder / f"{folder.name}.py")
    processes = psutil.process_iter(["cmdline"])
    return [process for process in processes if any(program in word for word in process.info["cmdline"] or [])]


def _install(gimp: Gimp) -> None:
    """Lays the plug-in out as the installer does, with a file that leads to a worker from this checkout."""
    for path, body in plug_in.collect_contents(3, compile_all(CHECKOUT)).items():
        target = gimp.plug_in / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
        if plug_in.is_program(3, path):
            target.chmod(0o755)
    content = make_pointer(gimp.run_folder, in_root=bool(gimp.prefix))
    (gimp.plug_in / "protect-face-worker.json").write_text(content)


def copy_checkout_with_missing_models(folder: Path) -> Path:
    """A copy in ``folder`` of what the worker needs, whose manifest also has two models that have to be fetched."""
    shutil.copytree(CHECKOUT / "c2p_core", folder / "c2p_core")
    shutil.copytree(CHECKOUT / "plugin" / "worker_client", folder / "plugin" / "worker_client")
    bundle_with_fetchable(folder / "bundle", "one", "two")
    return folder


def make_pointer(run_folder: Path, *, in_root: bool, checkout: Path = CHECKOUT) -> str:
    """Content of the file that leads a plug-in to a worker on these tests' own Python.

    Args:
        run_folder: the worker's.
        in_root: GIMP runs in a root folder, with the outer system at /host.
        checkout: where the worker's code lies.
    """
    # Its own home would be a place without models.
    models = {"C2P_MODELS": str(default_root())}
    if "C2P_OFFLINE" in os.environ:
        models["C2P_OFFLINE"] = os.environ["C2P_OFFLINE"]
    variables = {
        "PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'plugin'}",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "HOME": str(Path.home()),
        # Its log and the faces that it keeps are no part of the user's own.
        "C2P_HOME": str(run_folder.parent),
        "C2P_CACHE": str(run_folder.parent / "cache"),
    }
    # Python looks for modules in the current folder first.
    leading = ["env", f"--chdir={checkout}", *(f"{name}={value}" for name, value in (variables | models).items())]
    command = [*leading, sys.executable, "-u", "-m", "c2p_core.worker"]
    if in_root:
        # GIMP starts the worker itself, on the outer system.
        command = ["/usr/sbin/chroot", "/host", *command]
    return json.dumps({"protocol": PROTOCOL, "command": command, "run": str(run_folder), "environment": {}})
