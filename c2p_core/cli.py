"""The ``c2p`` command. ``docs/cli.md`` lists its exit codes; every failure is one sentence on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from c2p_core.api import DEFAULT_IDLE, Device, FaceReport, Progress
from c2p_core.commands.batch import batch, read_standard_input
from c2p_core.commands.display import print_table, show_progress
from c2p_core.commands.exits import INTERRUPTED, SOME_FAILED, SignalToken, fail
from c2p_core.commands.models import models
from c2p_core.commands.options import (
    StoreMaker,
    add_recognisers,
    check_options,
    check_recognisers,
    mark_option,
    read_search_options,
    recogniser_option,
    search_options,
)
from c2p_core.commands.watch import watch
from c2p_core.errors import BadRequest, C2PError, Cancelled, CannotWrite, Message, NoFace
from c2p_core.io import report
from c2p_core.io.atomic_files import check_folder, write_whole
from c2p_core.memory_errors import is_out_of_memory
from c2p_core.memory_limit import COMPARE, FIND, SEARCH, check_memory_limit
from c2p_core.photo_file import UNEXPECTED_EXIT_CODE, WriteOptions, describe_unexpected, try_protect
from c2p_core.signals import Interrupted, handle_termination, interrupt
from c2p_core.streams import Output, find_standard_stream, standard_streams
from c2p_core.targets import check_not_input, plan_targets
from c2p_core.version import __version__

# Torch, Pillow and libvips are imported where they are needed, so that `c2p --help` is fast.
if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore

# Labels of the verdicts in a check's table: on other photos of the person, and on this same photo.
OTHER_PHOTO_LABELS = {"lost": "lost", "may match": "may match", None: "-"}
SAME_PHOTO_LABELS = {"protected": "lost", "mostly protected": "not sure", "recognised": "matched"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    debug = bool(os.environ.get("C2P_DEBUG"))
    with standard_streams(silence=not debug) as output:
        try:
            code = _run(arguments)
        except Exception as error:
            if debug:
                raise
            code = fail(describe_unexpected(error).text(), UNEXPECTED_EXIT_CODE)
        output.flush()
        if output.failure:
            failure_code = fail(Message("output-lost", reason=output.failure).text(), CannotWrite.exit_code)
            code = code or (failure_code if output.is_result else 0)
        return code


def _run(arguments: Sequence[str] | None) -> int:
    args = list(arguments) if arguments is not None else None
    try:
        with handle_termination(interrupt):
            code = c2p.main(args=args, prog_name="c2p", standalone_mode=False)
    except C2PError as error:
        if is_out_of_memory(error):
            raise
        return fail(str(error), error.exit_code)
    except click.UsageError as error:
        return fail(" ".join(error.format_message().split()).rstrip(".") + "; see --help.", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return fail("Stopped.", INTERRUPTED)
    except Interrupted as stopped:
        return fail("Stopped.", stopped.exit_code)
    return code if isinstance(code, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--models", type=click.Path(path_type=Path), envvar="C2P_MODELS", help="Folder of the models.")
@click.option("--offline", is_flag=True, envvar="C2P_OFFLINE", help="Fetch nothing.")
@click.version_option(__version__, prog_name="c2p", message="%(prog)s %(version)s")
@click.pass_context
def c2p(context: click.Context, models: Path | None, offline: bool) -> None:
    """Protects faces in photos from face recognition."""

    try:
        Path.cwd()
    except OSError as error:
        # Relative paths can't be resolved, and Intel's MKL would end the process silently.
        raise BadRequest("current-folder-gone") from error

    def store() -> ModelStore:
        from c2p_core.models.store import ModelStore

        return ModelStore(models, offline)

    context.obj = store


@c2p.command()
@click.argument("photos", nargs=-1, required=True, metavar="IN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="OUT|DIR", help="File or folder; without it IN.protected beside IN.")
@click.option("--overwrite", is_flag=True, help="Replace results of earlier runs.")
@click.option("--strip-personal", is_flag=True, help="Remove places, names and serial numbers from the metadata.")
@mark_option
@search_options
@click.option("--report", "report_file", type=click.Path(path_type=Path), metavar="FILE", help="Write a JSON report.")
@click.option("--json", "as_json", is_flag=True, help="Print the report instead of sentences.")
@click.pass_obj
def protect(
    make_store: StoreMaker,
    /,
    photos: tuple[Path, ...],
    output: str | None,
    overwrite: bool,
    strip_personal: bool,
    mark: bool,
    report_file: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Protects the faces in photos."""
    check_memory_limit(SEARCH)
    prints_report = as_json or (report_file is not None and find_standard_stream(report_file) is sys.stdout)
    if isinstance(sys.stdout, Output):
        sys.stdout.is_result = prints_report
    options = read_search_options(options)
    targets = plan_targets(photos, output, overwrite)
    for target in targets:
        check_not_input(target, options["references"])
    writing = WriteOptions(overwrite, strip_personal, mark)
    if report_file is not None and find_standard_stream(report_file) is None:
        check_not_input(report_file, [*photos, *options["references"], *targets])
        check_folder(report_file)

    store = make_store()
    options = check_options(options, store)
    from c2p_core.models.loaded import WarmModels

    warm = WarmModels()
    reports: list[dict[str, Any]] = []
    cancel = SignalToken()
    try:
        with handle_termination(cancel.handle_signal):
            for photo, target in zip(photos, targets, strict=True):
                with show_progress(str(photo), human=not as_json) as watch:
                    reports.append(try_protect(photo, target, writing, options, store, warm, watch, cancel))
                if "error" in reports[-1]:
                    fail(reports[-1]["error"]["text"], reports[-1]["exit_code"])
                elif not as_json:
                    _print_outcome(reports[-1])
    except (Cancelled, KeyboardInterrupt, Interrupted):
        done = sum("error" not in entry for entry in reports)
        progress = f"{done} of {len(photos)} photos were done" if reports else "nothing was changed"
        return fail(f"Stopped; {progress}.", cancel.exit_code)
    finally:
        if reports:
            _write_report(report_file, reports)
    failures = [entry for entry in reports if "error" in entry]
    if as_json:
        click.echo(json.dumps(report.document(reports), indent=2))
    elif len(failures) < len(photos):
        rows = [row for entry in reports for face in entry.get("faces", ()) for row in face["similarities"]]
        if any(row["other_photos"] for row in rows):
            click.echo(report.OTHER_PHOTOS)
        click.echo(report.NO_PROMISE)
    if not failures:
        return 0
    if len(photos) == 1:
        return int(failures[0]["exit_code"])
    failed_names = ", ".join(f"'{entry['photo']}'" for entry in failures)
    return fail(f"{len(failures)} of {len(photos)} photos failed: {failed_names}.", SOME_FAILED)


@c2p.command()
@click.argument("original", type=click.Path(path_type=Path))
@click.argument("protected", type=click.Path(path_type=Path))
@click.option("--device", type=click.Choice(get_args(Device)), default="auto", show_default=True)
@recogniser_option("Another recogniser to compare with, such as onnx:FILE; may be repeated.")
@click.option("--robustness", is_flag=True, help="Compare again after JPEG, resizing, filters and a typical upload.")
@click.option("--survival", is_flag=True, hidden=True)  # the name in 0.1.0
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the result on one page.")
@click.option("--json", "as_json", is_flag=True, help="Print the report instead of a table.")
@click.pass_obj
def check(
    make_store: StoreMaker,
    /,
    original: Path,
    protected: Path,
    device: Device,
    more: tuple[str, ...],
    robustness: bool,
    survival: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compares the faces of ORIGINAL and PROTECTED with all recognisers."""
    check_memory_limit(COMPARE)
    from c2p_core.io import photo_files

    if plot is not None:
        photo_files.check_target(plot)
        check_not_input(plot, [original, protected])
        check_folder(plot)
    store, recognisers = make_store(), add_recognisers("auto", more)
    if more:
        check_recognisers(store, recognisers, "auto")
    before, after = photo_files.read(original), photo_files.read(protected)
    from c2p_core import compare

    messages: list[Message] = []
    faces = compare.check(
        before,
        after,
        store=store,
        device=device,
        robustness=robustness or survival,
        warnings=messages,
        recognisers=recognisers,
    )
    if plot is not None:
        from c2p_core.io.plot import page

        photo_files.write(plot, page(before, after, faces, protected.name))
    if as_json:
        click.echo(json.dumps(report.document([report.photo_report(original, protected, faces, messages)]), indent=2))
        return
    _print_similarities(faces)
    _print_robustness(faces)
    for line in (*(report.describe_face_report(face) for face in faces), *map(str, messages)):
        click.echo(line)
    if report.judged_by_other_photos(faces):
        click.echo(report.OTHER_PHOTOS)
    click.echo(report.NO_PROMISE)


@c2p.command()
@click.argument("photo", metavar="IN", type=click.Path(path_type=Path))
@click.option("--overlay", type=click.Path(path_type=Path), metavar="FILE", help="Draw the faces into a picture.")
@click.pass_obj
def faces(make_store: StoreMaker, /, photo: Path, overlay: Path | None) -> None:
    """Lists the faces of a photo, largest first."""
    check_memory_limit(FIND)
    from c2p_core.io import photo_files

    if overlay is not None:
        photo_files.check_target(overlay)
        check_not_input(overlay, [photo])
        check_folder(overlay)
    picture = photo_files.read(photo)
    store = make_store()
    from c2p_core.faces import find_faces

    detected = find_faces(picture, store)
    if not detected:
        raise NoFace("no-face-in-file", path=str(photo))
    for face in detected:
        x0, y0, x1, y1 = (round(edge) for edge in face.box)
        skipped = f"; skipped: {face.skipped}" if face.skipped else ""
        description = f"{x1 - x0} x {y1 - y0} px at ({x0}, {y0}), eyes {face.eye_distance:.0f} px apart"
        click.echo(f"{face.number}: {description}{skipped}")
    if overlay is not None:
        from c2p_core.io.overlay import draw_faces

        photo_files.write(overlay, draw_faces(picture, detected))


@c2p.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    default="people",
    show_default=True,
    metavar="DIR",
    help="Folder of looks.toml and the contact sheet.",
)
@click.option("--device", type=click.Choice(get_args(Device)), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.pass_obj
def people(make_store: StoreMaker, /, sources: tuple[str, ...], folder: Path, device: Device, as_json: bool) -> None:
    """Groups the faces of a shoot by person, for looks of their own.

    SRC are photos, folders and patterns as for c2p batch. Nobody is identified: people get numbers.
    """
    check_memory_limit(COMPARE)
    from c2p_core.batch.sources import find_sources
    from c2p_core.batch.urls import is_url

    selection = find_sources(sources, folder, read_standard_input)
    if url := next((source.path for source in selection.files if is_url(source.path)), None):
        raise BadRequest("store-not-here", url=url)
    store = make_store()
    from c2p_core.device import pick_device
    from c2p_core.people.listing import count_photos
    from c2p_core.people.looks_file import PersonLook
    from c2p_core.people.sheet import NAME, describe_look, order_people
    from c2p_core.people.update import update_people

    messages = [*selection.unreadable]
    photos = [Path(source.path) for source in selection.files]
    torch_device = pick_device(device, messages)
    with show_progress(", ".join(sources), human=not as_json) as watch:
        grouped, looks = update_people(
            photos,
            folder,
            store,
            torch_device,
            messages,
            lambda done: watch(Progress("detect", step=done, steps=len(photos))),
        )
    counts = count_photos(grouped.faces, looks.merged)
    others = sum(not face.group for face in grouped.faces)
    if as_json:
        rows = [{"person": n, "photos": counts[n][0], "faces": counts[n][1]} for n in order_people(counts)]
        described = [message.described() for message in messages]
        click.echo(json.dumps({"people": rows, "others": others, "warnings": described}, indent=2))
        return
    print_table(
        ("person", "photos", "faces", "look"),
        [
            (str(n), *map(str, counts[n]), describe_look(looks.people.get(n, PersonLook())))
            for n in order_people(counts)
        ],
    )
    click.echo(f"Faces of nobody in particular: {others}.")
    for message in messages:
        click.echo(message)
    click.echo(f"Check '{folder / NAME}', and choose everybody's look in looks.toml beside it.")


@c2p.command()
@click.option(
    "--faces", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Photos of people."
)
@click.option("--recogniser", "names", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--save", is_flag=True, help="Save those of your own recognisers.")
@click.option("--device", type=click.Choice(get_args(Device)), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the thresholds as JSON.")
@click.pass_obj
def thresholds(
    make_store: StoreMaker, /, folder: Path, names: tuple[str, ...], save: bool, device: Device, as_json: bool
) -> None:
    """Measures the thresholds of recognisers on your own photos.

    DIR holds a folder for each person, or photos named after the person with a number, such as anna1.jpg. Without
    either, every face counts as a different person.
    """
    check_memory_limit(COMPARE)
    store = make_store()
    from c2p_core.device import pick_device
    from c2p_core.models.licences import licence_warnings
    from c2p_core.recognition import impostors

    messages: list[Message] = []
    torch_device = pick_device(device, messages)
    recognisers = names or ("auto",)
    with show_progress(str(folder), human=not as_json) as watch:
        embedded = impostors.embed_folder(
            folder,
            recognisers,
            store,
            torch_device,
            messages,
            lambda done, count: watch(Progress("detect", step=done, steps=count)),
        )
    measured = impostors.measure_folder(embedded)
    saved_path = impostors.save_own_thresholds(measured, store, embedded.keys) if save else None
    messages += [*licence_warnings(store, measured), *store.take_notices()]
    if as_json:
        people = len(set(embedded.people)) if embedded.known else None
        described = [message.described() for message in messages]
        statistics = {name: asdict(pairs) for name, pairs in measured.items()}
        click.echo(json.dumps({"people": people, "recognisers": statistics, "warnings": described}, indent=2))
        return
    rows = [
        (
            name,
            *("-" if far is None else f"{far:.3f}" for far in (stats.far1, stats.far01)),
            f"{stats.mean:.3f}",
            f"{stats.std:.3f}",
        )
        for name, stats in measured.items()
    ]
    print_table(("recogniser", "FAR 1 %", "FAR 0.1 %", "mean", "deviation"), rows)
    pairs = next(iter(measured.values())).pairs
    people_note = f"{len(set(embedded.people))} people" if embedded.known else "each counted as another person"
    click.echo(f"{pairs} pairs of different people from {len(embedded.people)} faces ({people_note}).")
    if pairs < 1000 * impostors.ENOUGH:
        click.echo(f"A reliable rate needs pairs: 1 % {100 * impostors.ENOUGH}, 0.1 % {1000 * impostors.ENOUGH}.")
    for message in messages:
        click.echo(message)
    if saved_path is not None:
        click.echo(f"Saved in '{saved_path}'.")


c2p.add_command(batch)
c2p.add_command(watch)
c2p.add_command(models)


@c2p.command()
@click.option("--clear", is_flag=True, help="Delete all of them.")
def cache(clear: bool) -> None:
    """Shows or clears the faces cached by the prior stylegan2."""
    from c2p_core.priors.inversion_cache import InversionCache

    inversions = InversionCache()
    if clear:
        click.echo(f"{inversions.clear()} faces forgotten.")
        return
    sizes = [path.stat().st_size for path in inversions.entries()]
    click.echo(f"{len(sizes)} faces, {sum(sizes) / 1e6:.1f} MB in {inversions.folder}; --clear forgets them.")


@c2p.group()
def worker() -> None:
    """Runs, queries and ends the worker, the process that plug-ins use."""


@worker.command()
@click.option(
    "--idle",
    type=float,
    default=DEFAULT_IDLE,
    envvar="C2P_IDLE",
    show_default=True,
    help="Seconds without work after which it ends.",
)
@click.option("--tcp", is_flag=True, help="Listen on 127.0.0.1, for sandboxes that allow nothing else.")
def run(idle: float, tcp: bool) -> int:
    """Runs the worker in this terminal until it is idle or Ctrl-C; only needed where plug-ins can't start it."""
    check_memory_limit(SEARCH)
    from c2p_core.worker import run as serve

    hint = "Plug-ins can use the worker while this runs; Ctrl-C ends it."
    return serve.run(idle=idle, tcp=tcp, on_start=lambda: click.echo(hint))


@worker.command()
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
def status(as_json: bool) -> None:
    """Shows what the worker is doing."""
    from c2p_core.worker import control

    state = control.status()
    if as_json:
        click.echo(json.dumps(state, indent=2))
        return
    print_table(("", ""), [(name, str(value)) for name, value in state.items() if name not in ("kind", "job")])


@worker.command()
def stop() -> None:
    """Ends the worker and cancels its current job."""
    from c2p_core.worker import control

    click.echo(control.stop().message)


def _write_report(path: Path | None, reports: Sequence[dict[str, Any]]) -> None:
    if path is None:
        return
    text = json.dumps(report.document(reports), indent=2) + "\n"
    if (stream := find_standard_stream(path)) is not None:
        stream.write(text)
        stream.flush()
    else:
        write_whole(path, text.encode())


def _print_outcome(outcome: dict[str, Any]) -> None:
    click.echo(f"{outcome['photo']} -> {outcome['protected']}")
    stronger = [outcome["stronger"]["sentence"]] if outcome["stronger"] else []
    messages = [warning["text"] for warning in outcome["warnings"]]
    profile = []
    if outcome["computation"] and outcome["settings"]["profile"] != "embedded":
        profile = [outcome["computation"]["why"]["text"]]
    for line in filter(None, [face["sentence"] for face in outcome["faces"]] + stronger + profile + messages):
        click.echo(f"  {line}")


def _print_similarities(faces: Sequence[FaceReport]) -> None:
    rows = [
        (
            str(face.number),
            similarity.recogniser,
            f"{similarity.after:.3f}",
            OTHER_PHOTO_LABELS[similarity.other_photos],
            SAME_PHOTO_LABELS[similarity.verdict],
            f"{similarity.far1:.3f}",
            f"{similarity.far01:.3f}",
        )
        for face in faces
        for similarity in face.similarities
    ]
    # Two lines, so that the names fit into a terminal of 80 columns.
    head = ("face", "recogniser", "similarity", "other\nphotos", "same\nphoto", "FAR 1 %", "FAR 0.1 %")
    print_table(head, rows)


def _print_robustness(faces: Sequence[FaceReport]) -> None:
    """A table per face; a star marks similarities that match the original again."""
    for face in faces:
        if not face.robustness:
            continue
        rows = []
        for degraded in face.robustness:
            marked = [f"{s.after:.3f}{' ' if s.verdict == 'protected' else '*'}" for s in degraded.similarities]
            missing = ["no face"] * (len(face.similarities) - len(marked))
            lost = len(missing) + sum(s.verdict == "protected" for s in degraded.similarities)
            rows.append((degraded.degradation, *marked, *missing, f"{lost} of {len(face.similarities)}"))
        click.echo(
            f"Face {face.number} compared with this same photo, after what happens to published pictures (* matches "
            "again, FAR 1 %):"
        )
        names = [f"{s.recogniser} ({s.far1:.3f})" for s in face.similarities]
        print_table(("", *names, "lose it"), rows)
