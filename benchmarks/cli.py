"""`python -m benchmarks`: run, others, paper, covered, batch, scale and more measure; report, sheets, closeups show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args

import click

from benchmarks.data import (
    OUT,
    SHARED_FACES,
    find_run_folders,
    list_faces,
    list_people,
    sample_evenly,
    write_sample_portrait,
)
from benchmarks.errors import BadRecogniser, NoData
from benchmarks.methods.strengths import CURVES, DECOY_METHOD, OUTSIDE_COMPARISON, PRODUCT_METHOD
from c2p_core.api import DEFAULT_HOLD_OUT, DEFAULT_PROMPT, DEFAULT_STRENGTH, PRIORS, Profile

if TYPE_CHECKING:
    from benchmarks.suites.runner import Outcome

SUITES = ("protect", "natural", "robustness", "speed", "all")
ALL_CURVES = CURVES | OUTSIDE_COMPARISON
_PER_SHEET = 4

Photos = TypeVar("Photos")
Command = TypeVar("Command", bound=Callable[..., None])


def _parse_strengths(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no list of numbers") from error
    if not all(0.0 <= number <= 1.0 for number in numbers):
        raise click.BadParameter("strengths lie between 0 and 1")
    return numbers


def _parse_names(known: Sequence[str], value: str) -> tuple[str, ...]:
    names = tuple(value.split(","))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}")
    return names


def _parse_priors(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return _parse_names(PRIORS, value)


def _parse_families(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Families to hold out: the given ones, or all of the manifest."""
    from benchmarks.recognisers import list_families

    return list_families() if value is None else _parse_names(list_families(), value)


def _combine_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Combine several options in one decorator."""
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


_PATH = click.Path(path_type=Path)
_OUT = click.option(
    "--out", type=_PATH, help="Folder of rows and pictures; benchmarks/results and benchmarks/out by default."
)
_FACES = _combine_options(
    click.option("--faces", type=_PATH, help="Text file of photo names; benchmark40.txt by default."),
    click.option("--photos", type=_PATH, help="Folder of photos; the shared faces by default."),
)
_WORKERS = click.option("--workers", type=int, default=2, show_default=True, help="Processes, one core each.")
# The fields of a plan that configure the product's search.
_SEARCH_OPTIONS = _combine_options(
    click.option("--prompt", default=DEFAULT_PROMPT, show_default=True),
    click.option("--prior", type=click.Choice(PRIORS), default=PRIORS[0], show_default=True),
    click.option("--steps", type=int, help="Search steps; the product's default by default."),
    click.option("--seed", type=int, default=0, show_default=True),
)
_HOLD_OUT_OPTIONS = _combine_options(
    click.option("--hold-out", callback=_parse_families, help="Families to hold out in turn; all by default."),
    _SEARCH_OPTIONS,
)
# Options that select pictures to show.
_PICTURE_OPTIONS = _combine_options(
    click.option("--method", default=PRODUCT_METHOD, show_default=True),
    click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True),
    click.option(
        "--hold-out", default=DEFAULT_HOLD_OUT, show_default=True, help='"none" for methods without a search.'
    ),
    click.option(
        "--prior",
        "priors",
        default=PRIORS[0],
        show_default=True,
        callback=_parse_priors,
        help="Several are shown side by side.",
    ),
    click.option("--others", is_flag=True, help="Show the photos that `others` protected."),
    click.option("--photos", type=_PATH, help="Folder of the originals."),
)


def _warn(sentence: str) -> None:
    click.secho(sentence, fg="red", bold=True, err=True)


def _find_photos(find: Callable[[], Photos], chosen_by_user: bool) -> Photos:
    """Find the photos to measure; exits with a warning, but without an error, if the shared ones are missing.

    Args:
        chosen_by_user: whether the user chose the photos, so that missing ones are an error.
    """
    try:
        return find()
    except NoData as error:
        if chosen_by_user:
            raise click.UsageError(str(error)) from error
        _warn(f"NOTHING WAS MEASURED. {error}")
        sys.exit(0)


def _find_faces(faces: Path | None, photos: Path | None) -> tuple[Path, ...]:
    return _find_photos(lambda: list_faces(faces, photos), chosen_by_user=faces is not None or photos is not None)


def _refuse_other_options(context: click.Context, option: str, *allowed: str) -> None:
    """Refuse options on the command line that ``option`` does not use."""
    for parameter in context.command.params:
        name = parameter.name or ""
        is_given = context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
        if is_given and name not in allowed:
            raise click.UsageError(f"{option} takes no {parameter.opts[0]}")


def _require_out(out: Path | None, own_weights: Sequence[str]) -> None:
    """Refuse to add rows of unvouched weights to the project's own rows."""
    if out is None and own_weights:
        raise click.UsageError(
            f"Nobody vouches for the weights of {', '.join(own_weights)}; give --out, a folder of your own."
        )


def _require_out_for_own_generator(out: Path | None, prior: str) -> None:
    """The same for suites whose only model that may not ship is the prior's generator."""
    from benchmarks.models import choose_models, list_own_models
    from benchmarks.recognisers import open_store
    from c2p_core.errors import C2PError

    try:
        _require_out(out, list_own_models(open_store(), choose_models(open_store(), "embedded", prior, None)))
    except C2PError as error:
        raise click.UsageError(str(error)) from error


def _exit_with_outcome(outcome: Outcome) -> NoReturn:
    """Print how a run ended, and exit; with an error if something failed."""
    click.echo(outcome)
    sys.exit(1 if outcome.failed else 0)


@click.group()
def main() -> None:
    """Measure what Protect Face does."""


@main.command()
@click.option("--suite", type=click.Choice(SUITES), default="all", show_default=True)
@_FACES
@click.option("--methods", default=f"{PRODUCT_METHOD},look", show_default=True, help="Measured on every face.")
@click.option(
    "--strength",
    "strengths",
    default=f"{DEFAULT_STRENGTH:g}",
    show_default=True,
    callback=_parse_strengths,
    help="Strengths of these methods.",
)
@click.option(
    "--curves", default=",".join(ALL_CURVES), show_default=True, help='Methods measured over strengths, or "none".'
)
@click.option("--curve-faces", type=int, default=8, show_default=True, help="Number of faces for the curves.")
@_HOLD_OUT_OPTIONS
@click.option("--pairs/--no-pairs", default=True, help="Also compare with other photos of the same person.")
@click.option("--gallery/--no-gallery", default=True, help="Also search for the person in a gallery.")
@click.option("--extra-recogniser", default="", metavar="MODULE:FUNCTION", help="A recogniser of your own.")
@_WORKERS
@click.option(
    "--quick", is_flag=True, help="Six faces and few steps, into a separate folder; only checks the signs of effects."
)
@click.option("--limit", type=int, help="Only the first N faces.")
@_OUT
@click.pass_context
def run(
    context: click.Context,
    /,
    suite: str,
    faces: Path | None,
    photos: Path | None,
    methods: str,
    strengths: tuple[float, ...],
    curves: str,
    curve_faces: int,
    pairs: bool,
    gallery: bool,
    extra_recogniser: str,
    workers: int,
    quick: bool,
    limit: int | None,
    out: Path | None,
    **search: Any,
) -> None:
    """Protect and measure; settings that have rows are not measured again."""
    from benchmarks.fingerprint import fingerprint_code
    from benchmarks.methods.catalogue import METHODS
    from benchmarks.recognisers import load_extra_recogniser
    from benchmarks.suites import cost, runner
    from benchmarks.suites.gallery import list_candidates

    if quick:
        _refuse_other_options(context, "--quick", "quick", "faces", "photos", "workers", "out")
        sys.exit(_run_quick(faces, photos, workers, out))
    if suite == "speed":
        allowed = ("suite", "faces", "photos", "limit", "strengths", "prior", "out")
        _refuse_other_options(context, "--suite speed", *allowed)
        if len(strengths) > 1:
            raise click.UsageError("--suite speed takes one --strength")
    _require_out_for_own_generator(out, search["prior"])
    folders, selected = find_run_folders(out), _find_faces(faces, photos)[:limit]
    if extra_recogniser:
        try:
            load_extra_recogniser(extra_recogniser)
        except BadRecogniser as error:
            raise click.BadParameter(str(error), param_hint="--extra-recogniser") from error
    failed = 0
    if suite != "speed":
        curve_methods = () if curves == "none" else _parse_names(tuple(METHODS), curves)
        plan = runner.Plan(
            photos=selected,
            methods=_parse_names(tuple(METHODS), methods),
            strengths=strengths,
            suites=frozenset({"protect", "natural", "robustness"} if suite == "all" else {suite}),
            curves={name: ALL_CURVES.get(name, strengths) for name in curve_methods},
            curve_photos=sample_evenly(selected, curve_faces),
            pairs=_fetch_pairs(folders.pictures) if pairs and suite in ("protect", "all") else (),
            extra=extra_recogniser,
            search_among=list_candidates(selected) if gallery else (),
            **search,
        )
        with runner.start_pool(workers) as executor:
            runner.describe_people(selected, folders, executor, click.echo)
            outcome = runner.run(plan, folders, fingerprint_code(), executor, click.echo)
        click.echo(outcome)
        failed = outcome.failed
    if suite in ("speed", "all"):
        cost.run(selected, strengths[0], search["prior"], folders.rows, click.echo)
    sys.exit(1 if failed else 0)


def _fetch_pairs(folder: Path) -> tuple[Path, ...]:
    """Fetch photos of one person; without them, the rest is still measured."""
    from benchmarks.suites import one_person

    try:
        return one_person.fetch_photos(folder / "pairs")
    except NoData as error:
        _warn(f"NO OTHER PHOTO OF THE SAME PERSON WAS COMPARED. {error}")
        return ()


def _run_quick(faces: Path | None, photos: Path | None, workers: int, out: Path | None) -> int:
    """Run the small suite; the exit code is 0 if every effect has the expected sign."""
    from benchmarks.suites import quick

    folder = (out or OUT) / "quick"
    try:
        selected = sample_evenly(list_faces(faces, photos), quick.FACES)
    except NoData as error:
        _warn(f"THE SHARED FACES WERE SKIPPED. {error} One sample portrait is measured instead.")
        selected = (write_sample_portrait(folder),)
    problems = quick.measure(selected, folder, workers, click.echo)
    for problem in problems:
        click.secho(problem, fg="red", err=True)
    click.echo("Every effect has its sign." if not problems else f"{len(problems)} effects have the wrong sign.")
    return 1 if problems else 0


@main.command()
@click.option("--photos", type=_PATH, help="Folder of several photos of several people; the shared ones by default.")
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@_HOLD_OUT_OPTIONS
@click.option("--strangers/--no-strangers", default=True, help="Also search among the shared validation faces.")
@_WORKERS
@click.option(
    "--made",
    type=(str, _PATH),
    metavar="NAME FOLDER",
    help="Compare photos that something else protected, named as the photos, instead of protecting them.",
)
@click.option("--limit", type=int, help="Protect only the first N photos.")
@_OUT
def others(
    photos: Path | None, strangers: bool, workers: int, made: tuple[str, Path] | None, out: Path | None, **plan: Any
) -> None:
    """Protect photos of people, and search for the people in their other photos."""
    from benchmarks.fingerprint import fingerprint_code
    from benchmarks.suites import other_photos, runner
    from benchmarks.suites.gallery import list_candidates

    _require_out_for_own_generator(out, plan["prior"])
    people = _find_photos(lambda: list_people(photos), chosen_by_user=photos is not None)
    crowd = {photo.stem: photo for photo in list_candidates(())} if strangers else {}
    if made is not None:
        plan |= {"method": made[0], "protected_photos": {picture.stem: picture for picture in made[1].iterdir()}}
    with runner.start_pool(workers) as executor:
        other_plan = other_photos.Plan(people=people, strangers=crowd, **plan)
        outcome = other_photos.run(other_plan, find_run_folders(out), fingerprint_code(), executor, click.echo)
    _exit_with_outcome(outcome)


@main.command()
@click.option("--photos", type=_PATH, help="Folder of several photos of several people; the shared ones by default.")
@click.option(
    "--identities",
    type=_PATH,
    help="Who is on which photo: a name and an identity a line, such as CelebA's identity_CelebA.txt. By default a"
    " folder for each person, or names with numbers, say it.",
)
@click.option("--recognisers", help="Names; all of the profile's by default.")
@click.option("--hold-out", help="Families of these to hold out in turn; all by default.")
@click.option("--mode", type=click.Choice(("both", "impersonation", "dodging")), default="both", show_default=True)
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@_SEARCH_OPTIONS
@click.option(
    "--profile", type=click.Choice(get_args(Profile)), default="embedded", show_default=True, help="As of c2p protect."
)
@click.option("--clip", metavar="MODEL", help="The text model, as of c2p protect; the profile's by default.")
@_WORKERS
@click.option("--limit", type=int, help="Protect only N photos, of as many people as there are.")
@_OUT
def paper(
    photos: Path | None,
    identities: Path | None,
    recognisers: str | None,
    hold_out: str | None,
    mode: str,
    profile: Profile,
    clip: str | None,
    workers: int,
    out: Path | None,
    **plan: Any,
) -> None:
    """Measure as papers do: impersonation and dodging, each recogniser left out in turn; targets are synthetic."""
    from benchmarks import rows
    from benchmarks.data import read_identities
    from benchmarks.fingerprint import fingerprint_code
    from benchmarks.models import choose_models, list_own_models
    from benchmarks.recognisers import list_own_recognisers, load_named_recognisers, open_store
    from benchmarks.report.paper import write_section
    from benchmarks.suites import paper as suite
    from benchmarks.suites import runner
    from c2p_core.errors import C2PError
    from c2p_core.profiles import list_full_recognisers
    from c2p_core.recognition import list_recognisers

    people = _find_photos(
        lambda: list_people(photos, None if identities is None else read_identities(identities)),
        chosen_by_user=photos is not None or identities is not None,
    )
    store = open_store()
    try:
        requested = None if recognisers is None else tuple(recognisers.split(","))
        models = choose_models(store, profile, plan["prior"], clip, requested)
        names = requested or (
            *list_recognisers(store),
            *(list_full_recognisers(store) if models.profile == "full" else ()),
        )
        _require_out(out, (*list_own_recognisers(names), *list_own_models(store, models)))
        loaded = load_named_recognisers(names, store)
    except C2PError as error:
        raise click.UsageError(str(error)) from error
    if len({recogniser.family for recogniser in loaded if recogniser.judges_only is None}) < 2:
        raise click.UsageError(f"{', '.join(names)}: leaving one out takes two families that can be searched.")
    families = tuple(dict.fromkeys(recogniser.family for recogniser in loaded))
    methods = {"impersonation": (DECOY_METHOD,), "dodging": (PRODUCT_METHOD,)}.get(mode, (DECOY_METHOD, PRODUCT_METHOD))
    paper_plan = suite.Plan(
        people=people,
        recognisers=names,
        families=families if hold_out is None else _parse_names(families, hold_out),
        methods=methods,
        models=models,
        **plan,
    )
    folders = find_run_folders(out)
    with runner.start_pool(workers) as executor:
        outcome = suite.run(paper_plan, folders, fingerprint_code(), executor, click.echo)
    click.echo(write_section(rows.read_paper(folders.rows / rows.PAPER_FILE)))
    _exit_with_outcome(outcome)


@main.command()
@_OUT
def report(out: Path | None) -> None:
    """Write REPORT.md from the rows, and contact sheets of the product's stored pictures."""
    from benchmarks.report import contact_sheets
    from benchmarks.report.document import MAIN_STRENGTH, write_report

    folders = find_run_folders(out)
    click.echo(f"{write_report(folders)} written.")
    for priors in (*((prior,) for prior in PRIORS), PRIORS):
        paths = contact_sheets.draw(
            folders, SHARED_FACES / "photos", PRODUCT_METHOD, MAIN_STRENGTH, DEFAULT_HOLD_OUT, _PER_SHEET, False, priors
        )
        if paths:
            click.echo(f"{len(paths)} contact sheets of {' and '.join(priors)} in {paths[0].parent}")


def _draw(
    out: Path | None,
    photos: Path | None,
    method: str,
    strength: float,
    hold_out: str,
    priors: tuple[str, ...],
    others: bool,
    per_sheet: int = 1,
    close: bool = False,
) -> None:
    from benchmarks.methods.catalogue import PRODUCT_METHODS
    from benchmarks.report import contact_sheets

    if others:
        people = _find_photos(lambda: list_people(photos), chosen_by_user=True)
        paths = contact_sheets.draw_other_photos(
            find_run_folders(out), people, strength, hold_out, per_sheet, close, priors
        )
    else:
        folder = photos or SHARED_FACES / "photos"
        drawn_priors = priors if method in PRODUCT_METHODS else ("",)
        paths = contact_sheets.draw(
            find_run_folders(out), folder, method, strength, hold_out, per_sheet, close, drawn_priors
        )
    if not paths:
        raise click.ClickException(
            f"There is no picture of {method} at {strength:g} with {hold_out} held out; run it first."
        )
    for path in paths:
        click.echo(path)


@main.command()
@_PICTURE_OPTIONS
@click.option("--per-sheet", type=int, default=_PER_SHEET, show_default=True)
@_OUT
def sheets(**options: Any) -> None:
    """Contact sheets: before, after, difference x 8; every face at least 300 px wide."""
    _draw(**options)


@main.command()
@_PICTURE_OPTIONS
@_OUT
def closeups(**options: Any) -> None:
    """One picture per face: before and after side by side at full size, at least 700 px wide each."""
    _draw(**options, close=True)


@main.command()
@_OUT
def gimp(out: Path | None) -> None:
    """Measure the filter's overhead in a real GIMP 3; nothing else should be running."""
    from benchmarks.suites import gimp as suite
    from tests.host.root import NoRoot

    try:
        click.echo(f"{suite.run(find_run_folders(out).rows, click.echo)} written.")
    except NoRoot as error:
        _warn(f"NOTHING WAS MEASURED. {error}")


@main.command()
@_FACES
@_WORKERS
@_OUT
def inversion(faces: Path | None, photos: Path | None, workers: int, out: Path | None) -> None:
    """Measure how well the prior stylegan2 reproduces faces: the encoder alone, and after tuning."""
    from benchmarks.suites import inversion as suite
    from benchmarks.suites import runner

    _require_out_for_own_generator(out, "stylegan2")
    selected = _find_faces(faces, photos)
    with runner.start_pool(workers) as executor:
        outcome = suite.run(selected, find_run_folders(out).rows, executor, click.echo)
    _exit_with_outcome(outcome)


@main.command()
@_FACES
@click.option("--uncovered", type=int, default=55, show_default=True, help="Faces with nothing before them.")
@click.option("--steps", type=int, help="Search steps; the product's default by default.")
@click.option("--unmasked/--no-unmasked", default=True, help="Also protect as if nothing looked for covers.")
@_WORKERS
@_OUT
def covered(
    faces: Path | None,
    photos: Path | None,
    uncovered: int,
    steps: int | None,
    unmasked: bool,
    workers: int,
    out: Path | None,
) -> None:
    """Measure faces with things before them: masks, hands, microphones, other people."""
    from benchmarks.suites import covered as suite
    from benchmarks.suites import runner

    folders, selected = find_run_folders(out), _find_faces(faces, photos)
    all_faces = _find_photos(lambda: list_faces(None, photos or SHARED_FACES / "photos"), photos is not None)
    tasks = suite.make_tasks(selected, sample_evenly(all_faces, uncovered), folders.pictures, steps, unmasked)
    with runner.start_pool(workers) as executor:
        outcome = suite.run(tasks, folders.rows, executor, click.echo)
    _exit_with_outcome(outcome)


@main.command()
@_FACES
@click.option("--shoot", "count", type=int, default=60, show_default=True, help="Photos of the shoot.")
@click.option(
    "--most",
    type=int,
    default=10,
    show_default=True,
    help="Largest number of faces in a photo; photos have 1 up to this many, more often few.",
)
@click.option("--steps", type=int, help="Search steps; the product's default by default.")
@click.option("--planned", type=int, default=100_000, show_default=True, help="Files of the plan.")
@_OUT
def batch(
    faces: Path | None,
    photos: Path | None,
    count: int,
    most: int,
    steps: int | None,
    planned: int,
    out: Path | None,
) -> None:
    """Measure a whole shoot and a large plan with c2p batch; nothing else should be running."""
    from benchmarks.suites import batch as suite

    selected = _find_faces(faces, photos)
    click.echo(f"{suite.run(selected, find_run_folders(out).rows, count, most, steps, planned, click.echo)} written.")


@main.command()
@click.option("--timed", type=int, default=3, show_default=True, help="Steps of each kind to time.")
@_OUT
def fullsize(timed: int, out: Path | None) -> None:
    """Time StyleGAN2 at 1024 px with random weights against a plain loop; nothing else should be running."""
    from benchmarks.suites import fullsize as suite

    click.echo(f"{suite.run(find_run_folders(out).rows, timed, click.echo)} written.")


@main.command()
@_FACES
@click.option(
    "--shoot",
    "count",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="Photos to compare workers with; 0 keeps the comparison measured before.",
)
@click.option("--steps", type=int, help="Search steps; the product's default by default.")
@_OUT
def scale(faces: Path | None, photos: Path | None, count: int, steps: int | None, out: Path | None) -> None:
    """Measure what several machines are limited by, and write SCALE.md; nothing else should be running."""
    from benchmarks.report.scale import write_scale
    from benchmarks.suites import scale as suite

    selected, folders = _find_faces(faces, photos), find_run_folders(out)
    try:
        click.echo(f"{suite.run(selected, folders.rows, count, steps, click.echo)} written.")
    except NoData as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{write_scale(folders.rows)} written.")


@main.command()
@click.option("--photos", type=_PATH, help="Folder of several photos of several people; the shared ones by default.")
@click.option("--protect", "protected", type=int, default=3, show_default=True, help="Protect the first N people.")
@click.option("--each", type=click.IntRange(min=2), help="Protect only the first N photos of each.")
@click.option("--strangers/--no-strangers", default=True, help="Also group among the shared validation faces.")
@click.option("--looks", type=int, default=2, show_default=True, help="Shared portraits to paint in four lights each.")
@click.option("--hold-out", default="arcface", show_default=True, help="Family that the search never sees.")
@click.option("--prompt", default=DEFAULT_PROMPT, show_default=True)
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@click.option("--steps", type=int, help="Search steps; the product's default by default.")
@_WORKERS
@_OUT
def shoot(
    photos: Path | None,
    protected: int,
    each: int | None,
    strangers: bool,
    looks: int,
    workers: int,
    out: Path | None,
    **options: Any,
) -> None:
    """Group people, and protect their photos as a shoot and each by itself."""
    from benchmarks.suites import runner
    from benchmarks.suites import shoot as suite
    from benchmarks.suites.gallery import list_candidates

    people = _find_photos(lambda: list_people(photos), chosen_by_user=photos is not None)
    crowd = {photo.stem: photo for photo in list_candidates(())} if strangers else {}
    portraits = sample_evenly(_find_faces(None, None), looks) if looks else ()
    with runner.start_pool(workers) as executor:
        path = suite.run(
            people, crowd, protected, each, portraits, options, find_run_folders(out), executor, click.echo
        )
    click.echo(f"{path} written.")
