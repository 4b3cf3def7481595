"""The forks of a template process behave as programs that Python starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.template_process import AVAILABLE, Template, start_template

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="forks processes, on Linux")


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    with start_template("json") as started:
        yield started


def run(template: Template, folder: Path, code: str, *arguments: object) -> tuple[int, str, str]:
    (folder / "program.py").write_text(code)
    return template.run("program", *arguments, cwd=folder)


def test_a_program_gets_its_arguments_and_gives_its_output_and_exit_code(template: Template, tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv[1:], os.getcwd()); print('no', file=sys.stderr); sys.exit(3)"
    assert run(template, tmp_path, code, "a b", 1) == (3, f"['a b', '1'] {tmp_path}\n", "no\n")


@pytest.mark.parametrize(("code", "exit_code"), [("", 0), ("raise SystemExit", 0), ("raise SystemExit('x')", 1)])
def test_the_exit_code_is_that_of_python(template: Template, tmp_path: Path, code: str, exit_code: int) -> None:
    assert run(template, tmp_path, code)[0] == exit_code


def test_an_error_is_reported_and_what_is_left_to_do_at_the_end_is_done(template: Template, tmp_path: Path) -> None:
    code, output, errors = run(template, tmp_path, "import atexit; atexit.register(print, 'end'); 1 / 0")
    assert (code, output) == (1, "end\n") and "ZeroDivisionError" in errors


def test_modules_of_the_template_are_there_already(template: Template, tmp_path: Path) -> None:
    assert run(template, tmp_path, "import sys; print('json' in sys.modules)")[1] == "True\n"


def test_signals_do_what_they_do_to_a_new_program(template: Template, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import time; open('started', 'w'); time.sleep(60)")
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = template.start("program", cwd=tmp_path)
        while not (tmp_path / "started").exists():
            assert process.poll() is None
        process.kill(number)
        assert process.wait(30) == -number and process.poll() == -number
        (tmp_path / "started").unlink()


_PARENT = """
import multiprocessing, os, sys

def work(link):
    link.send((os.getpid(), os.getppid(), os.getpgid(0), 'json' in sys.modules))
    try:
        link.recv()
    except EOFError:
        sys.exit(7)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    processes, links = [], []
    for _ in range(2):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(theirs,)))
        links.append(ours)
        processes[-1].start()
        theirs.close()
    for link in links:
        number, parent, group, preloaded = link.recv()
        print(number != os.getpid(), parent == os.getpid(), group == os.getpgid(0), preloaded)
    for link, process in zip(links, processes):
        link.close()
        process.join()
        print(process.exitcode)
"""


def test_processes_of_multiprocessing_are_forked_and_hold_no_descriptors_of_their_parent(
    template: Template, tmp_path: Path
) -> None:
    """Each notices that its parent has closed its link, though the other was forked after it was opened."""
    code, output, errors = run(template, tmp_path, _PARENT)
    assert (code, output.splitlines()) == (0, ["True True True True"] * 2 + ["7"] * 2), errors


def test_a_whole_group_of_processes_ends_at_once(template: Template, tmp_path: Path) -> None:
    code = "import os, time; child = os.fork(); open('child', 'w').write(str(child)) if child else 0; time.sleep(60)"
    (tmp_path / "program.py").write_text(code)
    process = template.start("program", cwd=tmp_path)
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        assert process.poll() is None
    child = int((tmp_path / "child").read_text())
    assert os.getpgid(child) == process.pid
    process.kill(group=True)
    assert process.wait(30) == -signal.SIGKILL
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=30)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
