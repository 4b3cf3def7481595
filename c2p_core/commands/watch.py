"""``c2p watch``: protects what other programs put into a folder."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import click

from c2p_core.batch.urls import place_named
from c2p_core.commands.batch import leave_at_once, set_nice, tell_row, write_batch_report
from c2p_core.commands.exits import SignalToken, fail
from c2p_core.commands.options import (
    StoreMaker,
    check_options,
    folder_options,
    read_search_options,
    search_options,
    settle_profile,
)
from c2p_core.errors import BadRequest
from c2p_core.memory_limit import SEARCH, check_memory_limit
from c2p_core.signals import Interrupted, handle_ending
from c2p_core.streams import Output


@click.command()
@click.argument("folder", metavar="DIR")
@folder_options
@search_options
@click.option(
    "--nice", type=click.IntRange(0, 19), default=0, show_default=True, help="How far other programs go first."
)
@click.option(
    "--settle",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    help="Seconds without a change after which a photo counts as complete.",
)
@click.option("--poll", is_flag=True, help="List DIR every two seconds: for network drives, which tell of no change.")
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
        sys.stdout.needed = False
    check_memory_limit(SEARCH)
    options = read_search_options(options)
    if isinstance(options["faces"], tuple):
        raise BadRequest("faces-in-batch", value=",".join(map(str, options["faces"])))
    watched, destination = _name_folder(folder), _name_folder(output)
    if not watched.is_dir():
        raise BadRequest("watch-no-folder", path=folder)
    # Photos in a folder of results are never taken, so a source inside of one would never yield any.
    if any(destination.exists() and destination.samefile(one) for one in (watched, *watched.resolve().parents)):
        raise BadRequest("batch-into-sources", path=output)
    set_nice(nice)
    store = make_store()
    options = check_options(settle_profile(options, store), store)
    from c2p_core.batch import arrivals, run
    from c2p_core.batch.engine import Control, Job
    from c2p_core.batch.local import keep_models

    job = Job(options, strip_personal, thumbnails=with_report, mark=mark)
    settings, engine = run.choose_settings(job), keep_models()
    cancel, summary = SignalToken(), run.Summary()
    there = arrivals.Arrivals(str(watched.absolute()), arrivals.name_below(destination, watched), settle)

    def stop(number: int) -> None:
        cancel.take(number)
        there.wake()

    with run.open_folder(destination) as opened:
        results = run.read_results(opened, settings)
        try:
            with handle_ending(stop), arrivals.watch(there, poll):
                click.echo(f"Watching '{watched}'; Ctrl-C ends it.")
                while (first := there.wait()) is not None:
                    # What becomes complete meanwhile joins in, with the models loaded.
                    new = (item for item in itertools.chain([first], there.ready()) if results.plan([item]).pending)
                    control = Control(make_store, cancel)
                    before = summary.finished + len(summary.failed)
                    run.run(
                        opened,
                        new,
                        job,
                        engine,
                        control,
                        results,
                        summary=summary,
                        overwrite=overwrite,
                        finish=lambda row, _: tell_row(row, False),
                    )
                    if with_report and before != summary.finished + len(summary.failed):
                        write_batch_report(opened)
        except Interrupted as interrupted:
            leave_at_once("Stopped at once.", interrupted.exit_code)
    return fail(f"Stopped; {summary.protected} photos were protected, {len(summary.failed)} failed.", cancel.exit_code)


def _name_folder(name: str) -> Path:
    """The folder of a name.

    Raises:
        BadRequest: it is that of a store; see also ``place_named``.
    """
    place = place_named(name)
    if isinstance(place, str):
        raise BadRequest("store-not-here", url=place)
    return place
