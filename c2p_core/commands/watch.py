"""``c2p watch``: protects the photos that arrive in a folder."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import click

from c2p_core.batch.urls import parse_location
from c2p_core.commands.batch import exit_immediately, print_row, write_batch_report
from c2p_core.commands.exits import SignalToken, fail
from c2p_core.commands.options import (
    StoreMaker,
    check_options,
    folder_options,
    read_search_options,
    resolve_profile,
    search_options,
)
from c2p_core.errors import BadRequest
from c2p_core.memory_limit import SEARCH, check_memory_limit
from c2p_core.priority import MAX_NICE, lower_priority
from c2p_core.signals import Interrupted, handle_termination
from c2p_core.streams import Output


@click.command()
@click.argument("folder", metavar="DIR")
@folder_options
@search_options
@click.option(
    "--nice", type=click.IntRange(0, MAX_NICE), default=0, show_default=True, help="Lower priority; 19 is the lowest."
)
@click.option(
    "--settle",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    help="Seconds without a change after which a photo counts as complete.",
)
@click.option("--poll", is_flag=True, help="List DIR every two seconds: for network drives, which report no changes.")
@click.option("--report/--no-report", "with_report", default=True, help="Write report.html and report.csv into DEST.")
@click.pass_obj
def watch(
    make_store: StoreMaker,
    /,
    folder: str,
    output: str,
    overwrite: bool,
    strip_personal: bool,
    mark: bool,
    nice: int,
    settle: float,
    poll: bool,
    with_report: bool,
    **options: Any,
) -> int:
    """Protects every photo that comes into DIR as soon as it is complete, until Ctrl-C.

    The results go into DEST as those of c2p batch do; what is in DIR already is protected first.
    """
    if isinstance(sys.stdout, Output):
        sys.stdout.is_result = False
    check_memory_limit(SEARCH)
    options = read_search_options(options)
    if isinstance(options["faces"], tuple):
        raise BadRequest("faces-in-batch", value=",".join(map(str, options["faces"])))
    watched, destination = _parse_folder(folder), _parse_folder(output)
    if not watched.is_dir():
        raise BadRequest("watch-no-folder", path=folder)
    # Photos in a folder of results are never taken, so a watched folder inside one would never yield any.
    if any(destination.exists() and destination.samefile(path) for path in (watched, *watched.resolve().parents)):
        raise BadRequest("batch-into-sources", path=output)
    lower_priority(nice)
    store = make_store()
    options = check_options(resolve_profile(options, store), store)
    from c2p_core.batch import arrivals, run
    from c2p_core.batch.engine import Control, Job
    from c2p_core.batch.processes import open_processes

    job = Job(options, strip_personal, thumbnails=with_report, mark=mark)
    digest_settings = run.make_settings_digester(job)
    cancel, summary = SignalToken(), run.Summary()
    incoming = arrivals.Arrivals(str(watched.absolute()), arrivals.locate_below(destination, watched), settle)

    def stop(number: int) -> None:
        cancel.handle_signal(number)
        incoming.wake()

    with run.open_folder(destination) as results_folder:
        results = run.read_results(results_folder, digest_settings)
        try:
            with handle_termination(stop), open_processes(1) as engine, arrivals.watch(incoming, poll):
                click.echo(f"Watching '{watched}'; Ctrl-C ends it.")
                while (first_item := incoming.wait()) is not None:
                    # Photos that become complete meanwhile are added, while the models are loaded.
                    items = (
                        item
                        for item in itertools.chain([first_item], incoming.take_ready())
                        if results.plan([item]).pending
                    )
                    control = Control(make_store, cancel)
                    finished_before = summary.finished + len(summary.failed)
                    run.run(
                        results_folder,
                        items,
                        job,
                        engine,
                        control,
                        results,
                        summary=summary,
                        overwrite=overwrite,
                        finish=lambda row, _: print_row(row, False),
                    )
                    if with_report and finished_before != summary.finished + len(summary.failed):
                        write_batch_report(results_folder)
        except Interrupted as interrupted:
            exit_immediately("Stopped at once.", interrupted.exit_code)
    return fail(f"Stopped; {summary.protected} photos were protected, {len(summary.failed)} failed.", cancel.exit_code)


def _parse_folder(name: str) -> Path:
    """Parse the path of a folder.

    Raises:
        BadRequest: it is the URL of a store; see also ``parse_location``.
    """
    location = parse_location(name)
    if isinstance(location, str):
        raise BadRequest("store-not-here", url=location)
    return location
