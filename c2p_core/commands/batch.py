"""``c2p batch``: a whole shoot."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c2p_core.api import AUTO, Device, Progress
from c2p_core.batch.urls import is_url, parse_location
from c2p_core.commands.exits import SOME_FAILED, SignalToken, fail
from c2p_core.commands.options import (
    StoreMaker,
    check_options,
    folder_options,
    read_search_options,
    resolve_profile,
    search_options,
)
from c2p_core.errors import BadRequest, CannotWrite, Message
from c2p_core.memory_limit import SEARCH, check_memory_limit
from c2p_core.priority import MAX_NICE, lower_priority
from c2p_core.signals import Interrupted, handle_termination
from c2p_core.streams import Output

# Slow modules are imported where they are needed, so that `c2p --help` is fast.
if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from c2p_core.batch.engine import Engine, Job
    from c2p_core.batch.journal import Row
    from c2p_core.batch.layout import Item
    from c2p_core.batch.planning import Plan
    from c2p_core.batch.run import Folder, Summary
    from c2p_core.batch.sources import Sources
    from c2p_core.people.results import Results
    from c2p_core.people.shoot import ShootLooks

# Seconds of progress from which the remaining time is estimated: long enough for several faces, which differ.
_SPEED_PERIOD = 1800.0
_MAX_ENDINGS = 6
_MAX_NAME_COLUMNS = 48  # columns of a terminal


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@folder_options
@search_options
@click.option(
    "--looks",
    "looks_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The look of each person: a looks.toml that c2p people wrote.",
)
@click.option("--only-people", default="", metavar="N,M", help="With --looks: protect only these people.")
@click.option("--skip-people", default="", metavar="N,M", help="With --looks: leave these people as they are.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    show_default="1; with Ray as many as fit",
    help="Processes; each loads the models once.",
)
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(("local", "ray")),
    default="local",
    show_default=True,
    help="Compute on this machine, or on a Ray cluster.",
)
@click.option("--address", metavar="HOST:PORT", help="With --engine ray: the cluster; without it, Ray looks for one.")
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    show_default="4",
    help="With --engine ray: of each process that has no graphics card.",
)
@click.option(
    "--nice", type=click.IntRange(0, MAX_NICE), default=0, show_default=True, help="Lower priority; 19 is the lowest."
)
@click.option("--dry-run", is_flag=True, help="Only estimate faces, time and disk space; writes nothing.")
@click.option(
    "--no-detect", is_flag=True, help="With --dry-run: skip looking for faces, which takes a second per photo."
)
@click.option("--report/--no-report", "with_report", default=True, help="Write report.html and report.csv into DEST.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of sentences.")
@click.pass_obj
def batch(
    make_store: StoreMaker,
    /,
    sources: tuple[str, ...],
    output: str,
    overwrite: bool,
    strip_personal: bool,
    mark: bool,
    looks_file: Path | None,
    only_people: str,
    skip_people: str,
    jobs: int | None,
    engine_name: str,
    address: str | None,
    cores: int | None,
    nice: int,
    dry_run: bool,
    no_detect: bool,
    with_report: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Protects all photos of folders, patterns and lists (@FILE, or - for standard input).

    The results go into DEST, in the folders and under the names that the photos have. What is done there already is
    not done again: run the same command again after a pause, a power cut, or with more photos.
    """
    if no_detect and not dry_run:
        raise click.UsageError("--no-detect goes with --dry-run")
    if address is not None and engine_name != "ray":
        raise click.UsageError("--address goes with --engine ray")
    if cores is not None and engine_name != "ray":
        raise click.UsageError("--cores goes with --engine ray")
    if isinstance(sys.stdout, Output):
        sys.stdout.is_result = as_json
    check_memory_limit(SEARCH)
    options = read_search_options(options)
    if isinstance(options["faces"], tuple):
        raise BadRequest("faces-in-batch", value=",".join(map(str, options["faces"])))
    looks = _read_looks(looks_file, only_people, skip_people)
    lower_priority(nice)
    from c2p_core.batch.layout import plan_items
    from c2p_core.batch.sources import find_sources

    destination = parse_location(output)
    selection = find_sources(sources, destination, read_standard_input)
    items = plan_items(selection)
    if looks is not None and (url := next(filter(is_url, (output, *(item.path for item in items))), None)):
        raise BadRequest("store-not-here", url=url)
    if looks is not None and (unlisted := looks.find_unlisted(item.path for item in items)):
        click.echo(f"c2p: {Message('photos-unlisted', count=len(unlisted), path=unlisted[0])}", err=True)
    from c2p_core.batch import run
    from c2p_core.batch.engine import Control, Job

    processes = 0 if engine_name == "ray" else jobs or 1
    job = Job(options, strip_personal, thumbnails=with_report, looks=looks, mark=mark, processes=processes)
    if dry_run:
        return _print_estimate(make_store, selection, items, destination, job, no_detect, as_json)
    store = make_store()
    job = replace(job, options=check_options(resolve_profile(options, store), store))
    digest_settings = run.make_settings_digester(job)
    cancel = SignalToken()
    with open_destination(destination) as folder:
        results = run.read_results(folder, digest_settings)
        plan = results.plan(items)
        traces = None
        if looks is not None:
            traces = looks.make_traces(_find_finished(folder, plan, make_store().root, options["device"]))
        _print_plan(selection, plan, as_json)
        if isinstance(destination, Path):
            warn_if_space_short(destination, plan.bytes)
        summary = run.Summary()
        write_error = None
        try:
            with handle_termination(cancel.handle_signal), show_batch(plan, as_json) as display:
                # Without photos to protect, no models are loaded.
                if plan.pending:
                    run.run(
                        folder,
                        plan.pending,
                        job,
                        pick_engine(jobs or 1) if engine_name == "local" else pick_cluster(address, jobs, cores, nice),
                        Control(make_store, cancel, display.report_progress),
                        results,
                        summary=summary,
                        overwrite=overwrite,
                        finish=display.finish,
                        traces=traces,
                    )
        except Interrupted as interrupted:
            # Searches are still running in their threads; the folder is consistent at any moment.
            exit_immediately("Stopped at once.", interrupted.exit_code)
        except CannotWrite as error:
            write_error = error
        if with_report:
            write_batch_report(folder)
        report = str(destination) if with_report else None
        return _print_summary(summary, plan, selection, cancel, write_error, report, as_json)


def _read_looks(path: Path | None, only: str, skip: str) -> ShootLooks | None:
    """Read the looks of people, and who is to be protected.

    Raises:
        BadRequest: people are chosen without a looks file, or not by numbers; see also ``ShootLooks.read``.
        UnreadableImage: see ``ShootLooks.read``.
    """
    if path is None:
        if only or skip:
            raise click.UsageError("--only-people and --skip-people go with --looks")
        return None
    from c2p_core.people.shoot import ShootLooks

    return ShootLooks.read(path, parse_people(only), parse_people(skip))


def parse_people(text: str) -> tuple[int, ...]:
    """Parse comma-separated numbers of people; none from an empty text.

    Raises:
        BadRequest: it is something else.
    """
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise BadRequest("people-not-named", value=text)
    return tuple(int(part) for part in parts)


def _find_finished(folder: Folder, plan: Plan, models: Path, device: Device) -> Results:
    """The results that stay as they are, by their photos."""
    from c2p_core.people.results import Results

    pending = {item.path for item in plan.pending}
    done = [result for result in folder.journal.read_known() if result.state == "done" and result.source not in pending]
    return Results({result.source: folder.path / result.target for result in done if result.target}, models, device)


def pick_engine(jobs: int) -> Engine:
    """The engine of processes on this machine."""
    from c2p_core.batch.processes import protect_in_processes

    return protect_in_processes(jobs)


def pick_cluster(address: str | None, jobs: int | None, cores: int | None, nice: int) -> Engine:
    """The engine of a Ray cluster."""
    from c2p_core.batch.cluster import CORES, Cluster, protect_on_ray

    return protect_on_ray(Cluster(address, jobs, cores or CORES, nice))


@contextmanager
def open_destination(destination: Path | str) -> Iterator[Folder]:
    """Open a folder of results, which may be a URL."""
    if isinstance(destination, str):
        from c2p_core.batch.store_folder import open_store_folder

        with open_store_folder(destination) as folder:
            yield folder
        return
    from c2p_core.batch.run import open_folder

    with open_folder(destination) as folder:
        yield folder


def read_standard_input() -> bytes:
    """Read all of standard input; empty if it is closed."""
    return sys.stdin.buffer.read() if sys.stdin is not None else b""


def exit_immediately(sentence: str, code: int) -> None:
    """End the process without waiting for threads."""
    fail(sentence, code)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def warn_if_space_short(folder: Path, needed: int) -> None:
    """Warn if the disk seems to be too small."""
    from c2p_core.batch.estimate import find_free_space
    from c2p_core.batch.formatting import format_size

    free = find_free_space(folder)
    if needed > free:
        problem = Message("space-short", needed=format_size(needed), free=format_size(free))
        click.echo(f"c2p: {problem}", err=True)


def write_batch_report(folder: Any) -> None:
    """Write the report; a failure is printed, and does not affect the results."""
    from c2p_core.batch.report import write_report

    try:
        write_report(folder.path, folder.journal, folder.reader)
        folder.publish()
    except CannotWrite as error:
        fail(str(error), error.exit_code)


def _print_plan(selection: Sources, plan: Plan, as_json: bool) -> None:
    for message in selection.unreadable:
        click.echo(f"c2p: {message}", err=True)
    if as_json:
        return
    for line in _describe_plan(selection, plan):
        click.echo(line)


def _describe_plan(selection: Sources, plan: Plan) -> Iterator[str]:
    from c2p_core.batch.formatting import format_count, format_size

    parts = [f"{format_count(len(plan.pending), 'photo')} to protect ({format_size(plan.bytes)})"]
    parts += [f"{plan.done} done already"] if plan.done else []
    parts += [f"{plan.without_face} known to have no face"] if plan.without_face else []
    yield f"{', '.join(parts)}."
    if plan.changed:
        yield f"{format_count(len(plan.changed), 'result')} changed since by somebody else; they stay as they are."
    if selection.left_out:
        endings = selection.left_out.most_common(_MAX_ENDINGS)
        listed = ", ".join(f"{number} {ending or 'without ending'}" for ending, number in endings)
        others = " and others" if len(selection.left_out) > len(endings) else ""
        yield f"Left out by their endings: {listed}{others}."
    if selection.raw:
        yield str(Message("raw-left-out", count=selection.raw))
    for folder in selection.results:
        yield f"Left out, because it holds the results of another batch: {folder}."


def _print_summary(
    summary: Summary,
    plan: Plan,
    selection: Sources,
    cancel: SignalToken,
    write_error: CannotWrite | None,
    report: str | None,
    as_json: bool,
) -> int:
    """Print the summary of the run; returns the exit code."""
    from c2p_core.batch.formatting import format_count, format_duration
    from c2p_core.batch.sources import PAGE

    remaining = len(plan.pending) - summary.finished - len(summary.failed)
    if as_json:
        values = {
            "protected": summary.protected,
            "copied": summary.copied,
            "done_before": plan.done + summary.known,
            "left_out": dict(selection.left_out),
            "raw_left_out": selection.raw,
            "without_face": summary.without_face + plan.without_face,
            "failed": summary.failed,
            "remaining": remaining,
            "faces": summary.faces,
            "seconds": round(summary.seconds, 1),
            "search_seconds": round(summary.search_seconds, 1),
            "unreadable_folders": [message.described() for message in selection.unreadable],
            "report": None if report is None else f"{report}/{PAGE}",
        }
        click.echo(json.dumps(values, indent=2))
    else:
        duration = format_duration(summary.seconds)
        parts = [
            f"{format_count(summary.protected, 'photo')} protected ({format_count(summary.faces, 'face')}, {duration})"
        ]
        parts += [f"{summary.copied} of them copied from the same photo"] if summary.copied else []
        parts += [f"{summary.known} known by content and done already"] if summary.known else []
        parts += [f"{summary.without_face} without a face"] if summary.without_face else []
        parts += [f"{len(summary.failed)} failed"] if summary.failed else []
        click.echo(f"{', '.join(parts)}.")
        if report is not None:
            click.echo(f"The report: {report}/{PAGE}")
        if summary.protected:
            from c2p_core.io.report import NO_PROMISE

            click.echo(NO_PROMISE)
    if write_error is not None:
        return fail(
            f"{write_error} {format_count(remaining, 'photo')} left; solve this and run the same command again.",
            write_error.exit_code,
        )
    if cancel.cancelled:
        return fail(
            f"Stopped; {format_count(remaining, 'photo')} left. Run the same command again to go on.", cancel.exit_code
        )
    if summary.failed or selection.unreadable:
        sentences = [f"{len(summary.failed)} of {len(plan.pending)} photos failed."] if summary.failed else []
        sentences += [str(message) for message in selection.unreadable]
        return fail(" ".join(sentences), SOME_FAILED)
    return 0


def _print_estimate(
    make_store: StoreMaker,
    selection: Sources,
    items: Sequence[Item],
    destination: Path | str,
    job: Job,
    no_detect: bool,
    as_json: bool,
) -> int:
    from c2p_core.batch.estimate import describe_estimate, plan_and_estimate

    options = dict(job.options)
    if options["profile"] == AUTO:
        options = resolve_profile(options, make_store())
    if not no_detect or options["references"]:
        options = check_options(options, make_store())
    cancel = SignalToken()
    with handle_termination(cancel.handle_signal):
        plan, estimate = plan_and_estimate(
            items, destination, replace(job, options=options), None if no_detect else make_store, cancel
        )
    if as_json:
        values = {
            "photos": len(plan.pending),
            "bytes": plan.bytes,
            "done_before": plan.done,
            "without_face": plan.without_face,
            "left_out": dict(selection.left_out),
            "raw_left_out": selection.raw,
            **estimate.as_json(),
        }
        click.echo(json.dumps(values, indent=2))
    else:
        for line in (*_describe_plan(selection, plan), *describe_estimate(estimate, len(plan.pending))):
            click.echo(line)
    for message in selection.unreadable:
        click.echo(f"c2p: {message}", err=True)
    return SOME_FAILED if selection.unreadable else 0


@dataclass
class BatchDisplay:
    """Shows the progress of a running batch."""

    report_progress: Callable[[Item, Progress], None]
    finish: Callable[[Row, Summary], None]


@contextmanager
def show_batch(plan: Plan, as_json: bool) -> Iterator[BatchDisplay]:
    """Show the progress of a batch: a bar on a terminal, else a line per photo, or nothing for JSON."""
    if not sys.stderr.isatty():
        yield BatchDisplay(lambda item, progress: None, lambda row, summary: print_row(row, as_json))
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    columns = (
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=_MAX_NAME_COLUMNS),
        ),
        BarColumn(),
        TextColumn("{task.fields[done]} of {task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=True, speed_estimate_period=_SPEED_PERIOD) as bars:
        bar = _BatchBar(bars, bars.add_task("photos", total=len(plan.pending), done=0, count=len(plan.pending)))
        yield BatchDisplay(bar.report_progress, bar.finish)


@dataclass
class _BatchBar:
    """One bar over all photos, which also moves within each."""

    bars: Bars
    task: TaskID
    finished: int = 0
    running: dict[str, float] = field(default_factory=dict)

    def report_progress(self, item: Item, progress: Progress) -> None:
        if progress.stage == "search" and progress.faces:
            self.running[item.path] = (progress.face - 1 + progress.fraction) / progress.faces
            self._move(f"{item.place}: face {progress.face} of {progress.faces}")

    def finish(self, row: Row, summary: Summary) -> None:
        self.finished = summary.finished + len(summary.failed)
        self.running.pop(row.source, None)
        if row.state == "failed":
            self.bars.console.print(f"c2p: {row.report['error']['text']}", markup=False, highlight=False)
        self._move(None)

    def _move(self, description: str | None) -> None:
        done = self.finished + sum(self.running.values())
        self.bars.update(self.task, completed=done, description=description, done=self.finished)


def print_row(row: Row, as_json: bool) -> None:
    """Print the outcome of a photo on one line; with JSON only failures, which go to stderr."""
    if row.state == "failed":
        fail(row.report["error"]["text"], row.report["exit_code"])
    elif not as_json:
        from c2p_core.batch.formatting import format_count

        if row.state == "done":
            click.echo(
                f"{row.source} -> {row.report['protected']} ({format_count(row.faces, 'face')}, {row.seconds:.0f} s)"
            )
        else:
            click.echo(f"{row.source}: {row.report['error']['text']}")
