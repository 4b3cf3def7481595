"""`python -m benchmarks`: run, others, report, sheets, closeups, gimp, inversion, fullsize."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.data import OUT, NoData, face_list, people_list, places, sample_portrait, spread
from benchmarks.sweeps import ASIDE, CURVES
from c2p_core.api import DEFAULT_HOLD_OUT, DEFAULT_PROMPT, DEFAULT_STRENGTH, PRIORS

OUT_HELP = "Folder of rows and pictures; benchmarks/results and benchmarks/out when not given."


_PER_SHEET = 4
SUITES = ("protect", "natural", "survive", "speed", "all")
DRAWN = CURVES | ASIDE
_FACES = click.option(
    "--faces", type=click.Path(path_type=Path), help="Text file of photo names; benchmark40.txt by default."
)
_FOLDER = click.option(
    "--photos", type=click.Path(path_type=Path), help="Folder of photos; the shared faces by default."
)
_HELD_OUT = click.option("--hold-out", help="Families to leave out in turn, all of them when not given.")
_WORKERS = click.option("--workers", type=int, default=2, show_default=True, help="Processes, one core each.")


def _photos(faces: Path | None, photos: Path | None, limit: int | None) -> tuple[Path, ...]:
    """The photos to measure; ends loudly, and in peace, where the shared faces are not there."""
    try:
        return face_list(faces, photos)[:limit]
    except NoData as error:
        if faces is not None or photos is not None:
            raise click.UsageError(str(error)) from error
        click.secho(f"NOTHING WAS MEASURED. {error}", fg="red", bold=True, err=True)
        sys.exit(0)


def _only(context: click.Context, what: str, *taken: str) -> None:
    """Refuses options that were given and that ``what`` has no use for."""
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
        if given and name not in taken:
            raise click.UsageError(f"{what} takes no {parameter.opts[0]}")


def _numbers(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no list of numbers") from error
    if not all(0.0 <= number <= 1.0 for number in numbers):
        raise click.BadParameter("strengths lie between 0 and 1")
    return numbers


def _names(known: Sequence[str], value: str) -> tuple[str, ...]:
    names = tuple(value.split(","))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}")
    return names


def _families(asked: str | None) -> tuple[str, ...]:
    """Families to hold out: those that were asked for, or all that the manifest knows."""
    from benchmarks import judges

    return judges.families() if asked is None else _names(judges.families(), asked)


@click.group()
def main() -> None:
    """Measure what Protect Face does."""


@main.command()
@click.option("--suite", type=click.Choice(SUITES), default="all", show_default=True)
@_FACES
@_FOLDER
@click.option("--methods", default="c2p,look", show_default=True, help="Measured on every face.")
@click.option(
    "--strength",
    "strengths",
    default=f"{DEFAULT_STRENGTH:g}",
    show_default=True,
    callback=_numbers,
    help="Of these methods.",
)
@click.option("--curves", default=",".join(DRAWN), show_default=True, help='Drawn over strengths; "none".')
@click.option("--curve-faces", type=int, default=8, show_default=True, help="How many faces the curves are drawn of.")
@_HELD_OUT
@click.option("--prompt", default=DEFAULT_PROMPT, show_default=True)
@click.option("--prior", type=click.Choice(PRIORS), default=PRIORS[0], show_default=True)
@click.option("--steps", type=int, help="Search steps, the product's default when not given.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--pairs/--no-pairs", default=True, help="Also compare with other photos of the same person.")
@click.option("--gallery/--no-gallery", default=True, help="Also search for the person among others.")
@click.option("--extra-recogniser", default="", metavar="MODULE:FUNCTION", help="A judge of your own.")
@_WORKERS
@click.option("--quick", is_flag=True, help="Six faces, few steps, into a folder of its own; checks signs, not sizes.")
@click.option("--limit", type=int, help="Only the first N faces.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
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
    hold_out: str | None,
    prompt: str,
    prior: str,
    steps: int | None,
    seed: int,
    pairs: bool,
    gallery: bool,
    extra_recogniser: str,
    workers: int,
    quick: bool,
    limit: int | None,
    out: Path | None,
) -> None:
    """Protect and measure; what has a row already is not measured again."""
    from benchmarks import judges
    from benchmarks import run as runner
    from benchmarks.gallery import candidates
    from benchmarks.methods import METHODS
    from benchmarks.process import code_fingerprint

    if quick:
        _only(context, "--quick", "quick", "faces", "photos", "workers", "out")
        sys.exit(_quick(faces, photos, workers, out))
    if suite == "speed":
        _only(context, "--suite speed", "suite", "faces", "photos", "limit", "strengths", "prior", "out")
        if len(strengths) > 1:
            raise click.UsageError("--suite speed takes one --strength")
    where = places(out)
    chosen = _photos(faces, photos, limit)
    if extra_recogniser:
        try:
            judges.extra(extra_recogniser)
        except judges.BadRecogniser as error:
            raise click.BadParameter(str(error), param_hint="--extra-recogniser") from error
    failed = 0
    if suite != "speed":
        drawn = () if curves == "none" else _names(tuple(METHODS), curves)
        plan = runner.Plan(
            photos=chosen,
            methods=_names(tuple(METHODS), methods),
            strengths=strengths,
            hold_out=_families(hold_out),
            prompt=prompt,
            prior=prior,
            steps=steps,
            seed=seed,
            suites=frozenset({"protect", "natural", "survive"} if suite == "all" else {suite}),
            curves={name: DRAWN.get(name, strengths) for name in drawn},
            curve_photos=spread(chosen, curve_faces),
            pairs=_pairs(where.pictures) if pairs and suite in ("protect", "all") else (),
            extra=extra_recogniser,
            search_among=candidates(chosen) if gallery else (),
        )
        with runner.pool(workers) as executor:
            runner.describe(chosen, where, executor, click.echo)
            outcome = runner.run(plan, where, code_fingerprint(), executor, click.echo)
        click.echo(f"{outcome.measured} settings measured, {outcome.kept} were there, {outcome.failed} failed.")
        failed = outcome.failed
    if suite in ("speed", "all"):
        from benchmarks import cost

        cost.run(chosen, strengths[0], prior, where.rows, click.echo)
    sys.exit(1 if failed else 0)


def _pairs(folder: Path) -> tuple[Path, ...]:
    """Photos of one person; without them the rest goes on."""
    from benchmarks import pairs

    try:
        return pairs.photos(folder / "pairs")
    except NoData as error:
        click.secho(f"NO OTHER PHOTO OF THE SAME PERSON WAS ASKED. {error}", fg="red", bold=True, err=True)
        return ()


def _quick(faces: Path | None, photos: Path | None, workers: int, out: Path | None) -> int:
    """The small suite: the exit code is 0 when every effect has the sign it should have."""
    from benchmarks import quick

    folder = (out or OUT) / "quick"
    try:
        chosen = spread(face_list(faces, photos), quick.FACES)
    except NoData as error:
        click.secho(
            f"THE SHARED FACES WERE SKIPPED. {error} One sample portrait is measured instead.",
            fg="red",
            bold=True,
            err=True,
        )
        chosen = (sample_portrait(folder),)
    problems = quick.measure(chosen, folder, workers, click.echo)
    for problem in problems:
        click.secho(problem, fg="red", err=True)
    click.echo("Every effect has its sign." if not problems else f"{len(problems)} effects have the wrong sign.")
    return 1 if problems else 0


@main.command()
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of several photos of several people; the shared ones by default.",
)
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@_HELD_OUT
@click.option("--prompt", default=DEFAULT_PROMPT, show_default=True)
@click.option("--prior", type=click.Choice(PRIORS), default=PRIORS[0], show_default=True)
@click.option("--steps", type=int, help="Search steps, the product's default when not given.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--strangers/--no-strangers", default=True, help="Also search among the shared validation faces.")
@_WORKERS
@click.option("--limit", type=int, help="Protect only the first N photos.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def others(
    photos: Path | None,
    strength: float,
    hold_out: str | None,
    prompt: str,
    prior: str,
    steps: int | None,
    seed: int,
    strangers: bool,
    workers: int,
    limit: int | None,
    out: Path | None,
) -> None:
    """Protect photos of people of whom there are other photos, and search for them among these."""
    from benchmarks import others as measuring
    from benchmarks import run as runner
    from benchmarks.gallery import candidates
    from benchmarks.process import code_fingerprint

    try:
        people = people_list(photos)
    except NoData as error:
        if photos is not None:
            raise click.UsageError(str(error)) from error
        click.secho(f"NOTHING WAS MEASURED. {error}", fg="red", bold=True, err=True)
        sys.exit(0)
    plan = measuring.Plan(
        people=people,
        strength=strength,
        hold_out=_families(hold_out),
        prompt=prompt,
        prior=prior,
        steps=steps,
        seed=seed,
        limit=limit,
        strangers={photo.stem: photo for photo in candidates(())} if strangers else {},
    )
    with runner.pool(workers) as executor:
        outcome = measuring.run(plan, places(out), code_fingerprint(), executor, click.echo)
    click.echo(f"{outcome.measured} settings measured, {outcome.kept} were there, {outcome.failed} failed.")
    sys.exit(1 if outcome.failed else 0)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def report(out: Path | None) -> None:
    """Write REPORT.md from the rows, and contact sheets of the product's pictures that are kept."""
    from benchmarks import sheets
    from benchmarks.data import SHARED_FACES
    from benchmarks.report import MAIN_METHOD, MAIN_STRENGTH, write_report

    where = places(out)
    click.echo(f"{write_report(where)} written.")
    for shown in (*((prior,) for prior in PRIORS), PRIORS):
        made = sheets.make(
            where, SHARED_FACES / "photos", MAIN_METHOD, MAIN_STRENGTH, DEFAULT_HOLD_OUT, _PER_SHEET, False, shown
        )
        if made:
            click.echo(f"{len(made)} contact sheets of {' and '.join(shown)} in {made[0].parent}")


def _show(
    out: Path | None,
    photos: Path | None,
    method: str,
    strength: float,
    hold_out: str,
    priors: tuple[str, ...],
    per_sheet: int,
    close: bool,
    others: bool,
) -> None:
    from benchmarks import sheets
    from benchmarks.data import SHARED_FACES
    from benchmarks.methods import PRODUCT

    if others:
        try:
            people = people_list(photos)
        except NoData as error:
            raise click.UsageError(str(error)) from error
        made = sheets.make_others(places(out), people, strength, hold_out, per_sheet, close, priors)
    else:
        folder = photos or SHARED_FACES / "photos"
        shown = priors if method in PRODUCT else ("",)
        made = sheets.make(places(out), folder, method, strength, hold_out, per_sheet, close, shown)
    if not made:
        click.secho(
            f"There is no picture of {method} at {strength:g} with {hold_out} held out; run it first.", err=True
        )
        sys.exit(1)
    for path in made:
        click.echo(path)


def _priors(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return _names(PRIORS, value)


_PRIORS = click.option(
    "--prior", "priors", default=PRIORS[0], show_default=True, callback=_priors, help="Several stand side by side."
)


_OTHERS = click.option("--others", is_flag=True, help="Of the photos that `others` protected.")


@main.command("sheets")
@click.option("--method", default="c2p", show_default=True)
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@click.option("--hold-out", default=DEFAULT_HOLD_OUT, show_default=True, help='"none" for methods that search nothing.')
@_PRIORS
@_OTHERS
@click.option("--per-sheet", type=int, default=_PER_SHEET, show_default=True)
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of the originals.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def sheets_command(
    method: str,
    strength: float,
    hold_out: str,
    priors: tuple[str, ...],
    others: bool,
    per_sheet: int,
    photos: Path | None,
    out: Path | None,
) -> None:
    """Contact sheets: before, after, difference x 8; every face at least 300 px wide."""
    _show(out, photos, method, strength, hold_out, priors, per_sheet, close=False, others=others)


@main.command()
@click.option("--method", default="c2p", show_default=True)
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@click.option("--hold-out", default=DEFAULT_HOLD_OUT, show_default=True, help='"none" for methods that search nothing.')
@_PRIORS
@_OTHERS
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of the originals.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def closeups(
    method: str,
    strength: float,
    hold_out: str,
    priors: tuple[str, ...],
    others: bool,
    photos: Path | None,
    out: Path | None,
) -> None:
    """One picture a face: before and after side by side at full size, at least 700 px wide each."""
    _show(out, photos, method, strength, hold_out, priors, per_sheet=1, close=True, others=others)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def gimp(out: Path | None) -> None:
    """What the filter costs in a real GIMP 3 beside the search; nothing else should be running meanwhile."""
    from benchmarks import gimp as in_gimp
    from tests.host.root import NoRoot

    try:
        path = in_gimp.run(places(out).rows, click.echo)
    except NoRoot as error:
        click.secho(f"NOTHING WAS MEASURED. {error}", fg="red", bold=True, err=True)
        sys.exit(0)
    click.echo(f"{path} written.")


@main.command()
@_FACES
@_FOLDER
@_WORKERS
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def inversion(faces: Path | None, photos: Path | None, workers: int, out: Path | None) -> None:
    """How well the prior stylegan2 reproduces faces: the encoder alone, and after tuning."""
    from benchmarks import inversion as inverting
    from benchmarks import run as runner

    chosen = _photos(faces, photos, None)
    with runner.pool(workers) as executor:
        click.echo(f"{inverting.run(chosen, places(out).rows, executor, click.echo)} written.")


@main.command()
@click.option("--timed", type=int, default=3, show_default=True, help="Steps of each kind to time.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def fullsize(timed: int, out: Path | None) -> None:
    """StyleGAN2 at 1024 px with random weights, against a plain loop; nothing else should be running meanwhile."""
    from benchmarks import fullsize as full

    click.echo(f"{full.run(places(out).rows, timed, click.echo)} written.")


if __name__ == "__main__":
    main()
