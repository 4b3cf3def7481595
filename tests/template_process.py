"""Starts Python programs as forks of a template process that has imported their modules: torch alone takes seconds.

A program runs as a process of its own as ``python -m MODULE`` does, and ends as such: in a group of processes of its
own, with its own streams, variables and working folder. Processes that it starts with multiprocessing are forked as
well, with nothing but what a spawned process gets. Variables that modules read while they are imported, such as
``OMP_NUM_THREADS``, are those of the template.

A fork has only the thread that forked: modules that start threads while they are imported can't be preloaded.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import util
from pathlib import Path
from typing import NoReturn

from tests.checkout import ROOT, environment

AVAILABLE = sys.platform == "linux"
"""Whether the system forks processes and lists their threads, as a template needs."""
_MAX_MESSAGE = 1 << 20  # bytes
_STANDARD_STREAMS = 3


class ForkedProcess:
    """A program that was started; the group of its processes has its number."""

    def __init__(self, pid: int, read_exit_code: Callable[[int, float], int | None]) -> None:
        self.pid = pid
        self._read_exit_code = read_exit_code
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._update(0)

    def wait(self, timeout: float) -> int:
        """Wait for the exit code.

        Raises:
            TimeoutError: it still runs after ``timeout`` seconds.
        """
        code = self._update(timeout)
        if code is None:
            raise TimeoutError(f"process {self.pid} still runs")
        return code

    def kill(self, signal_number: int = signal.SIGKILL, *, group: bool = False) -> None:
        """Send a signal to the process, or to all processes of its group; nothing happens if there is none."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signal_number)

    def _update(self, timeout: float) -> int | None:
        if self._exit_code is None:
            self._exit_code = self._read_exit_code(self.pid, timeout)
        return self._exit_code


class Template:
    """The client of a template process; ``pid`` is its number."""

    def __init__(self, link: socket.socket, pid: int) -> None:
        self.pid = pid
        self._link = link
        self._exit_codes: dict[int, int] = {}

    def start(
        self,
        module: str,
        *arguments: object,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> ForkedProcess:
        """Start ``python -m MODULE ARGUMENTS``; ``stdout`` and ``stderr`` are descriptors of files or pipes."""
        request = {
            "module": module,
            "arguments": list(map(str, arguments)),
            "env": dict(environment() if env is None else env),
            "cwd": str(cwd),
        }
        null = os.open(os.devnull, os.O_RDWR)
        try:
            streams = [null, *(null if stream == subprocess.DEVNULL else stream for stream in (stdout, stderr))]
            socket.send_fds(self._link, [json.dumps(request).encode()], streams)
        finally:
            os.close(null)
        while (message := self._receive(None)) is None or "started" not in message:
            pass
        return ForkedProcess(message["started"], self._read_exit_code)

    def run(
        self,
        module: str,
        *arguments: object,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> tuple[int, str, str]:
        """Run ``python -m MODULE ARGUMENTS``; returns exit code, standard output and standard error."""
        with _make_file() as output, _make_file() as errors:
            process = self.start(module, *arguments, stdout=output, stderr=errors, env=env, cwd=cwd)
            try:
                code = process.wait(timeout)
            finally:
                process.kill(group=True)
            return code, _read_all(output), _read_all(errors)

    def _read_exit_code(self, pid: int, timeout: float) -> int | None:
        end = time.monotonic() + timeout
        while pid not in self._exit_codes:
            if self._receive(max(0.0, end - time.monotonic())) is None and time.monotonic() >= end:
                return None
        return self._exit_codes.pop(pid)

    def _receive(self, timeout: float | None) -> dict[str, int] | None:
        """The next message, after an exit code was noted; None if there is none within ``timeout`` seconds."""
        self._link.settimeout(timeout)
        try:
            data = self._link.recv(_MAX_MESSAGE)
        except (TimeoutError, BlockingIOError):
            return None
        except ConnectionResetError:
            data = b""
        finally:
            self._link.settimeout(None)
        if not data:
            raise RuntimeError("the template process has ended")
        message: dict[str, int] = json.loads(data)
        if "ended" in message:
            self._exit_codes[message["ended"]] = message["code"]
        return message


@contextmanager
def start_template(*modules: str, prefix: Sequence[str] = (), **variables: str) -> Iterator[Template]:
    """Start a template process, which ends with the block.

    Args:
        modules: are imported by it; ``tests.warm_search`` for programs that protect photos.
        prefix: the beginning of its command line, such as a program that gives it other mounts, and then becomes it.
        variables: of its environment, besides those of this process.
    """
    # Whole messages, in their order.
    link, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (link, other_end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_MESSAGE)
    with link, other_end:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", __name__, str(other_end.fileno()), *modules],
            pass_fds=[other_end.fileno()],
            env=environment(**variables),
            cwd=ROOT,
        )
        other_end.close()
        try:
            yield Template(link, process.pid)
        finally:
            link.close()
            process.wait()


@contextmanager
def _make_file() -> Iterator[int]:
    descriptor = os.memfd_create("stream")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), encoding="utf-8") as stream:
        return stream.read()


# From here on, in the template process and its forks.


def _count_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _serve(link: socket.socket) -> dict[str, object] | None:
    """Fork a process for each request until the client is gone; returns the request in the fork, else None."""
    wake_up, woken = socket.socketpair()
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    while True:
        ready, _, _ = select.select([link, wake_up], [], [])
        if wake_up in ready:
            wake_up.recv(_MAX_MESSAGE)
            _report_ended(link)
        if link not in ready:
            continue
        data, streams, _, _ = socket.recv_fds(link, _MAX_MESSAGE, _STANDARD_STREAMS)
        if not data:
            return None
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            for stream, number in zip(streams, range(_STANDARD_STREAMS), strict=True):
                os.dup2(stream, number)
            _clean_up(keep=range(_STANDARD_STREAMS))
            for unused in (link, wake_up, woken):
                unused.detach()
            request: dict[str, object] = json.loads(data)
            return request
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # here too, so that the group is there when the client hears of it
        link.send(json.dumps({"started": pid}).encode())


def _report_ended(link: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            message = {"ended": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}
            with contextlib.suppress(OSError):
                link.send(json.dumps(message).encode())


def _clean_up(keep: Sequence[int]) -> None:
    """Leave a fork with what a new process has: no other descriptors, no handlers of signals, nothing to print."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor not in keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = os.fdopen(number, "w" if number else "r", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(request: Mapping[str, object]) -> None:
    """Run the module of a request as ``python -m`` does."""
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    os.chdir(str(request["cwd"]))
    sys.path[0] = str(request["cwd"])
    sys.argv = [sys.argv[0], *request["arguments"]]  # type: ignore[misc]
    util.spawnv_passfds = _fork_to_spawn
    _run_to_end(lambda: runpy.run_module(str(request["module"]), run_name="__main__", alter_sys=True))


def _run_to_end(program: Callable[[], object]) -> NoReturn:
    """Run a program, and end the process as Python does, except that objects of the template are not destroyed."""
    code: object = 0
    try:
        program()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


_spawn = util.spawnv_passfds


def _fork_to_spawn(path: bytes, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """Start ``python -c CODE``, as multiprocessing does, as a fork; stands in for ``util.spawnv_passfds``."""
    if _count_threads() > 1:
        return _spawn(path, arguments, descriptors)
    pid = os.fork()
    if pid == 0:
        _clean_up(keep=[*range(_STANDARD_STREAMS), *descriptors])
        program = list(arguments)[list(arguments).index("-c") + 1 :]
        sys.argv = ["-c", *program[1:]]
        _run_to_end(lambda: exec(program[0], {"__name__": "__main__"}))
    return pid


def main() -> None:
    """The template process: ``python -m tests.template_process DESCRIPTOR MODULE...``."""
    link = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    if _count_threads() > 1:
        raise RuntimeError("a module has started a thread")
    # Collecting garbage in a fork would copy the template's memory.
    gc.collect()
    gc.freeze()
    request = _serve(link)
    if request is not None:
        _run(request)


if __name__ == "__main__":
    main()
