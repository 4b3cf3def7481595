"""``c2p models``: lists, fetches, verifies and removes the models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from c2p_core.api import Progress
from c2p_core.commands.display import print_table, show_progress
from c2p_core.commands.exits import fail
from c2p_core.commands.options import StoreMaker
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.priors.checkpoint_files import FOLDER, GENERATORS

# The store's own modules are imported where they are needed, so that `c2p --help` is fast.
if TYPE_CHECKING:
    from c2p_core.models.manifest import ModelEntry
    from c2p_core.models.store import ModelStore

_USES = {"any": "any", "research": "research only"}


@click.group()
def models() -> None:
    """Lists, fetches, verifies and removes the models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print all details, with full hashes.")
@click.pass_obj
def list_models(make_store: StoreMaker, /, as_json: bool) -> None:
    """Lists all models: what for, in which profile, what their licence allows, size, presence and source."""
    store = make_store()
    entries = store.catalogue()
    if as_json:
        descriptions = [
            asdict(entry) | {"size": entry.size, "source": entry.source, "present": store.is_present(entry.name)}
            for entry in entries
        ]
        click.echo(json.dumps(descriptions, indent=2))
        return
    rows = [
        (
            entry.name,
            entry.role,
            entry.profile,
            _USES[entry.use],
            entry.licence,
            _describe_size(entry),
            "yes" if store.is_present(entry.name) else "no",
            entry.source,
        )
        for entry in entries
    ]
    print_table(("name", "role", "profile", "use", "licence", "size", "there", "source"), rows)


@models.command()
@click.argument("names", nargs=-1)
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take them from files in DIR, whatever their names.",
)
@click.option("--accept-licences", is_flag=True, help="Accept the licences without being asked.")
@click.pass_obj
def fetch(make_store: StoreMaker, /, names: tuple[str, ...], folder: Path | None, accept_licences: bool) -> int:
    """Fetches missing and damaged models: NAMES, or a profile such as full.

    Without NAMES it fetches what belongs to the installation and is missing or, with --from, takes whatever it
    recognises.
    """
    store = make_store()
    if folder is not None:
        return _take_from(folder, names, store, accept_licences)
    single_names = [name for name in names if name not in _list_profiles()]
    missing = [entry for entry in _choose(names, store, store.entries()) if not store.is_intact(entry.name)]
    _print_notices(store)
    # A profile may include models that only the user can provide, which is no failure.
    to_fetch = [
        entry for entry in missing if entry.name in single_names or entry.fetchable or entry.profile == "embedded"
    ]
    for entry in missing:
        if entry not in to_fetch:
            click.echo(store.describe_missing(entry.name))
    if not missing:
        click.echo("There is nothing to fetch: the models are here.")
    downloads = [entry for entry in to_fetch if entry.fetchable]
    if downloads and not store.offline and not _confirm_licences(downloads, accept_licences):
        return 0
    failed = 0
    for entry in to_fetch:
        try:
            with show_progress(entry.name, human=True) as watch:
                store.fetch(entry.name, _track_bytes(watch))
        except ModelUnavailable as error:
            failed = fail(str(error), error.exit_code)
        else:
            _print_encoder_hint(entry, store)
    _print_notices(store)
    return failed


@models.command()
@click.argument("names", nargs=-1)
@click.pass_obj
def verify(make_store: StoreMaker, /, names: tuple[str, ...]) -> int:
    """Verifies the hashes of the models: NAMES, a profile, or all that are here."""
    store = make_store()
    defaults = store.entries()
    present = [entry for entry in store.catalogue() if entry in defaults or store.is_present(entry.name)]
    failed = 0
    for entry in _choose(names, store, present):
        try:
            store.verify(entry.name)
        except ModelUnavailable as error:
            failed = fail(str(error), error.exit_code)
        else:
            click.echo(f"{entry.name}: good")
    _print_notices(store)
    return failed


@models.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def remove(make_store: StoreMaker, /, names: tuple[str, ...]) -> None:
    """Removes models that were fetched or taken from your files: NAMES, or a profile such as full."""
    store = make_store()
    for entry in _choose(names, store, ()):
        freed = store.remove(entry.name)
        click.echo(f"{entry.name}: {f'{freed / 1e6:.1f} MB removed' if freed else 'was not here'}")


def _list_profiles() -> tuple[str, ...]:
    from c2p_core.models.manifest import Profile

    return get_args(Profile)


def _choose(names: Sequence[str], store: ModelStore, defaults: Iterable[ModelEntry]) -> list[ModelEntry]:
    """The models of these names and profiles, each once; the usual ones without names."""
    chosen: dict[str, ModelEntry] = {} if names else {entry.name: entry for entry in defaults}
    for name in names:
        if name in _list_profiles():
            chosen |= {entry.name: entry for entry in store.catalogue() if entry.profile == name}
        else:
            chosen[name] = store.entry(name)
    return list(chosen.values())


def _take_from(folder: Path, names: Sequence[str], store: ModelStore, accept_licences: bool) -> int:
    """Take models from the user's files; returns the exit code."""
    # Embedded models are only looked for if they are named.
    candidates = [
        entry
        for entry in _choose(names, store, store.catalogue())
        if entry.profile != "embedded" or entry.name in names
    ]
    with show_progress(str(folder), human=True) as watch:
        watch(Progress("find"))
        matches, messages = store.find_in(folder, [entry.name for entry in candidates])
    for message in messages:
        click.echo(message)
    matched_names = {model.entry.name for model in matches}
    # Checking all others would take minutes for nothing.
    selected = [entry.name for entry in candidates if entry.name in matched_names or entry.name in names]
    present = {name for name in selected if store.is_intact(name)}
    for entry in candidates:
        if entry.name in present:
            click.echo(f"{entry.name}: is here already")
    # Of a profile, a folder may have some models and others not.
    missing = [entry.name for entry in candidates if entry.name in names and entry.name not in matched_names | present]
    to_import = [model for model in matches if model.entry.name not in present]
    if not matches and (missing or not present & set(names)):
        names = missing or [entry.name for entry in candidates]
        raise ModelUnavailable("models-not-in-folder", path=str(folder), names=names)
    failed = 0
    if missing:
        error = ModelUnavailable("models-not-in-folder", path=str(folder), names=missing)
        failed = fail(str(error), error.exit_code)
    if not to_import or not _confirm_licences(
        [model.entry for model in to_import], accept_licences, [model.paths[0] for model in to_import]
    ):
        return failed
    for model in to_import:
        try:
            with show_progress(model.entry.name, human=True) as watch:
                store.bring(model, _track_bytes(watch))
        except ModelUnavailable as error:
            failed = fail(str(error), error.exit_code)
        else:
            _print_encoder_hint(model.entry, store)
    _print_notices(store)
    return failed


def _confirm_licences(entries: Sequence[ModelEntry], accept_licences: bool, paths: Sequence[Path] = ()) -> bool:
    """Show sizes and licences, and ask once.

    Raises:
        BadRequest: stdin or stdout is no terminal.
    """
    sources = [str(path) for path in paths] or [entry.source for entry in entries]
    rows = [
        (entry.name, _describe_size(entry), _USES[entry.use], entry.licence, source)
        for entry, source in zip(entries, sources, strict=True)
    ]
    print_table(("name", "size", "use", "licence", "from"), rows)
    if accept_licences:
        return True
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadRequest("licences-not-accepted", names=[entry.name for entry in entries])
    research = (
        " For research or evaluation only, where it says so."
        if any(entry.use == "research" for entry in entries)
        else ""
    )
    total = sum(entry.size for entry in entries) / 1e6
    # `input` prints its prompt from a library, whose output is dropped (see `c2p_core.streams`).
    click.echo(f"{len(entries)} models, {total:.0f} MB.{research} Do you accept these licences? [y/N] ", nl=False)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    click.echo("Nothing was fetched.")
    return False


def _describe_size(entry: ModelEntry) -> str:
    if not entry.files:
        return "-"
    return f"{'' if entry.is_size_known else 'up to '}{entry.size / 1e6:.1f} MB"


def _print_encoder_hint(entry: ModelEntry, store: ModelStore) -> None:
    """Print which encoder a generator needs."""
    if entry.name in GENERATORS:
        click.echo(Message("generator-without-encoder", name=entry.name, folder=str(store.root / FOLDER)))


def _print_notices(store: ModelStore) -> None:
    for notice in store.take_notices():
        click.echo(notice)


def _track_bytes(watch: Callable[[Progress], None]) -> Callable[[int, int], None]:
    return lambda done, size: watch(Progress("fetch", step=done, steps=size))
