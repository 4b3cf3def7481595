"""Tables and progress in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from c2p_core.api import Progress

# rich is imported where it is needed, so that `c2p --help` is fast.
if TYPE_CHECKING:
    from rich.progress import Progress as Bars

# Words for the stages of progress.
_STAGES = {
    "find": "looking at the files",
    "load": "loading models",
    "detect": "looking for faces",
    "prepare": "preparing",
    "search": "searching",
    "paste": "pasting back",
    "verify": "checking",
    "fetch": "fetching",
}


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, as wide as the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # A pipe or file has no width, and its content must not be cut.
    console = Console(width=None if sys.stdout.isatty() else 200)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().strip("\n").splitlines():
        click.echo(line.rstrip())


@contextmanager
def show_progress(name: str, human: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows the progress of one photo or model.

    It draws a bar on stderr if that is a terminal; otherwise it prints a line per stage on stdout, or nothing if
    stdout is for JSON. Nothing else may be printed before the bar is removed at the end.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress as Bars

        with Bars(console=Console(stderr=True), transient=True) as bars:
            yield _make_bar(bars, name)
    else:
        yield _make_lines(name) if human else lambda progress: None


def _make_bar(bars: Bars, name: str) -> Callable[[Progress], None]:
    from rich.markup import escape

    task = bars.add_task(escape(name))

    def watch(progress: Progress) -> None:
        text = escape(_describe_progress(name, progress))
        bars.update(task, description=text, completed=progress.step, total=progress.steps or None)

    return watch


def _make_lines(name: str) -> Callable[[Progress], None]:
    last = ""

    def watch(progress: Progress) -> None:
        nonlocal last
        text = _describe_progress(name, progress)
        if text != last:
            click.echo(text)
            last = text

    return watch


def _describe_progress(name: str, progress: Progress) -> str:
    face = f" face {progress.face} of {progress.faces}" if progress.face and progress.faces else ""
    return f"{name}: {_STAGES.get(progress.stage, progress.stage)}{face}"
