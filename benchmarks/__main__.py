"""`python -m benchmarks`: run, report, sheets, closeups, cost, fullsize."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.data import NoData, face_list, places
from c2p_core.api import DEFAULT_PROMPT, DEFAULT_STRENGTH

OUT_HELP = "Folder of rows and pictures; benchmarks/results and benchmarks/out when not given."


def _photos(faces: Path | None, photos: Path | None, limit: int | None, quick: bool = False) -> tuple[Path, ...]:
    """The photos to measure; ends loudly, and in peace, when there are none to be had."""
    from benchmarks.run import quick as six

    try:
        found = face_list(faces, photos)
    except NoData as error:
        click.secho(f"NOTHING WAS MEASURED. {error}", fg="red", bold=True, err=True)
        sys.exit(0)
    return (six(found) if quick else found)[:limit]


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


@click.group()
def main() -> None:
    """Measure what Protect Face does."""


@main.command()
@click.option("--suite", type=click.Choice(["protect", "natural", "all"]), default="all", show_default=True)
@click.option("--faces", type=click.Path(path_type=Path), help="Text file of photo names; benchmark40.txt by default.")
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of photos; the shared faces by default.")
@click.option("--methods", default="c2p,look", show_default=True, help="Of c2p, look, nothing, blackout.")
@click.option("--strength", "strengths", default="0.7,0.3,1.0", show_default=True, callback=_numbers)
@click.option("--hold-out", default="dlib,faceres,mobileface", show_default=True, help="Families to leave out in turn.")
@click.option("--prompt", default=DEFAULT_PROMPT, show_default=True)
@click.option("--prior", default="makeup", show_default=True)
@click.option("--steps", type=int, help="Search steps, the product's default when not given.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=int, default=2, show_default=True, help="Processes, one core each.")
@click.option("--quick", is_flag=True, help="Six faces at the default strength.")
@click.option("--limit", type=int, help="Only the first N faces.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def run(
    suite: str,
    faces: Path | None,
    photos: Path | None,
    methods: str,
    strengths: tuple[float, ...],
    hold_out: str,
    prompt: str,
    prior: str,
    steps: int | None,
    seed: int,
    workers: int,
    quick: bool,
    limit: int | None,
    out: Path | None,
) -> None:
    """Protect and measure; what has a row already is not measured again."""
    from benchmarks import run as runner
    from benchmarks.methods import METHODS
    from benchmarks.process import code_fingerprint

    plan = runner.Plan(
        photos=_photos(faces, photos, limit, quick),
        methods=_names(tuple(METHODS), methods),
        strengths=(DEFAULT_STRENGTH,) if quick else strengths,
        hold_out=_names(runner.FAMILIES, hold_out),
        prompt=prompt,
        prior=prior,
        steps=steps,
        seed=seed,
        suite="protect" if suite == "protect" else "natural" if suite == "natural" else "all",
    )
    with runner.pool(workers) as executor:
        outcome = runner.run(plan, places(out), code_fingerprint(), executor, click.echo)
    click.echo(f"{outcome.measured} settings measured, {outcome.kept} were there, {outcome.failed} failed.")
    sys.exit(1 if outcome.failed else 0)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def report(out: Path | None) -> None:
    """Write REPORT.md from the rows."""
    from benchmarks.report import write_report

    click.echo(f"{write_report(places(out))} written.")


def _show(
    out: Path | None, photos: Path | None, method: str, strength: float, hold_out: str, per_sheet: int, close: bool
) -> None:
    from benchmarks import sheets
    from benchmarks.data import SHARED_FACES

    made = sheets.make(places(out), photos or SHARED_FACES / "photos", method, strength, hold_out, per_sheet, close)
    if not made:
        click.secho(
            f"There is no picture of {method} at {strength:g} with {hold_out} held out; run it first.", err=True
        )
        sys.exit(1)
    for path in made:
        click.echo(path)


@main.command("sheets")
@click.option("--method", default="c2p", show_default=True)
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@click.option("--hold-out", default="dlib", show_default=True, help='"none" for methods that search nothing.')
@click.option("--per-sheet", type=int, default=4, show_default=True)
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of the originals.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def sheets_command(
    method: str, strength: float, hold_out: str, per_sheet: int, photos: Path | None, out: Path | None
) -> None:
    """Contact sheets: before, after, difference x 8; every face at least 300 px wide."""
    _show(out, photos, method, strength, hold_out, per_sheet, close=False)


@main.command()
@click.option("--method", default="c2p", show_default=True)
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@click.option("--hold-out", default="dlib", show_default=True, help='"none" for methods that search nothing.')
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of the originals.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def closeups(method: str, strength: float, hold_out: str, photos: Path | None, out: Path | None) -> None:
    """One picture a face: before and after side by side at full size, at least 700 px wide each."""
    _show(out, photos, method, strength, hold_out, per_sheet=1, close=True)


@main.command()
@click.option("--faces", type=click.Path(path_type=Path), help="Text file of photo names; benchmark40.txt by default.")
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of photos; the shared faces by default.")
@click.option("--limit", type=int, default=3, show_default=True, help="How many faces.")
@click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True)
@click.option("--steps", type=int, help="Search steps, the product's default when not given.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def cost(
    faces: Path | None, photos: Path | None, limit: int, strength: float, steps: int | None, out: Path | None
) -> None:
    """Seconds a face, peak memory, and what 24 megapixels add; nothing else should be running meanwhile."""
    from benchmarks import cost as costs

    path = costs.run(_photos(faces, photos, limit), strength, steps, places(out).rows, click.echo)
    click.echo(f"{path} written.")


@main.command()
@click.option("--timed", type=int, default=3, show_default=True, help="Steps of each kind to time.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
def fullsize(timed: int, out: Path | None) -> None:
    """StyleGAN2 at 1024 px with random weights, against a plain loop; nothing else should be running meanwhile."""
    from benchmarks import fullsize as full

    click.echo(f"{full.run(places(out).rows, timed, click.echo)} written.")


if __name__ == "__main__":
    main()
