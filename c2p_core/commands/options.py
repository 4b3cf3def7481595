"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import click
import numpy as np

from c2p_core.api import (
    AUTO,
    DEFAULT_PROMPT,
    DEFAULT_STRENGTH,
    PRIORS,
    Device,
    FaceChoice,
    Mode,
    Part,
    Profile,
    ProtectRequest,
)
from c2p_core.errors import BadRequest
from c2p_core.photo import Photo

if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore

StoreMaker = Callable[[], "ModelStore"]
"""Opens the store of models, which takes a while to import; the context object of commands."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


def recogniser_option(help_text: str) -> Callable[[Any], Any]:
    """The option that names one more recogniser, whose name may hold a comma."""
    return click.option("--recogniser", "more", multiple=True, metavar="NAME", help=help_text)


_SEARCH_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--prompt", default=DEFAULT_PROMPT, show_default=True, help="Makeup style in words."),
    click.option("--strength", type=float, default=DEFAULT_STRENGTH, show_default=True, help="0 discreet to 1 strong."),
    click.option(
        "--keep-expression/--no-keep-expression",
        default=True,
        show_default=True,
        help="Keep the shape of brows, lips, nose and jaw, or of the eyes only.",
    ),
    click.option(
        "--lock",
        "locks",
        multiple=True,
        type=click.Choice(get_args(Part)),
        help="Part of the face that does not move at all; may be repeated.",
    ),
    click.option(
        "--mode",
        type=click.Choice(get_args(Mode)),
        default="dodge",
        show_default=True,
        help="Away from the person, or to a decoy.",
    ),
    click.option("--faces", default="all", show_default=True, metavar="all|largest|N,M", help="Faces to protect."),
    click.option(
        "--profile",
        type=click.Choice(get_args(Profile)),
        default="embedded",
        show_default=True,
        envvar="C2P_PROFILE",
        help="Models where the next three are auto: the included ones, those of the full profile, or whichever suit.",
    ),
    click.option("--prior", default=AUTO, show_default=True, help=f"How faces are changed: {', '.join(PRIORS)}."),
    click.option("--clip", default=AUTO, show_default=True, metavar="MODEL:TAG|FILE", help="Text model of open_clip."),
    click.option(
        "--recognisers", default="auto", show_default=True, metavar="auto|NAMES", help="Recognisers to protect from."
    ),
    recogniser_option("Another recogniser to protect from, such as onnx:FILE; may be repeated."),
    click.option(
        "--hold-out", default="auto", show_default=True, metavar="NAME", help="Recogniser that only verifies."
    ),
    click.option(
        "--reference",
        "references",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Another photo of the person, unprotected; may be repeated.",
    ),
    click.option("--steps", type=click.IntRange(min=1), help="Search steps per face."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random numbers."),
    click.option("--free-noise", is_flag=True, help="stylegan2: also optimise its noise maps below 512 px."),
    click.option("--device", type=click.Choice(get_args(Device)), default="auto", show_default=True),
)


mark_option = click.option(
    "--mark/--no-mark",
    default=True,
    help="Whether the metadata say that the photo was edited, and how (IPTC Digital Source Type).",
)


# Of commands that fill a folder of results.
_FOLDER_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("-o", "--output", required=True, metavar="DEST", help="Folder of results."),
    click.option("--overwrite", is_flag=True, help="Replace results of earlier runs that nobody has changed since."),
    click.option("--strip-personal", is_flag=True, help="Remove places, names and serial numbers from the metadata."),
    mark_option,
)


def search_options(command: _Command) -> _Command:
    """Give a command the options that determine how faces are protected; ``read_search_options`` reads them."""
    return reduce(lambda decorated, option: option(decorated), reversed(_SEARCH_OPTIONS), command)


def folder_options(command: _Command) -> _Command:
    """Give a command the options of its folder of results."""
    return reduce(lambda decorated, option: option(decorated), reversed(_FOLDER_OPTIONS), command)


def read_search_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of ``search_options`` as fields of a request; references stay paths.

    Raises:
        BadRequest: the value of ``--faces`` is invalid.
    """
    names = options["recognisers"]
    chosen = add_recognisers("auto" if names == "auto" else tuple(map(str.strip, names.split(","))), options["more"])
    locks = tuple(part for part in get_args(Part) if part in options["locks"])
    fields = {name: value for name, value in options.items() if name != "more"}
    return fields | {"faces": parse_faces(options["faces"]), "recognisers": chosen, "locks": locks}


def add_recognisers(
    names: Literal["auto"] | tuple[str, ...], more: tuple[str, ...]
) -> Literal["auto"] | tuple[str, ...]:
    """The recognisers named by ``--recognisers`` and by ``--recogniser``."""
    if not more:
        return names
    from c2p_core.models.user_recognisers import add_names

    return add_names(names, *more)


def parse_faces(text: str) -> FaceChoice:
    """Parse the value of ``--faces``.

    Raises:
        BadRequest: it is not all, largest, or comma-separated numbers from 1.
    """
    if text == "all":
        return "all"
    if text == "largest":
        return "largest"
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in numbers):
        raise BadRequest("faces-not-named", value=text)
    return tuple(sorted({int(part) for part in numbers}))


def check_recognisers(store: ModelStore, names: Sequence[str], hold_out: str, more: Sequence[str] = ()) -> None:
    """Refuse unknown names, and a held-out recogniser that does not take part.

    The pipeline checks this as well, but for every photo, and only after detection.

    Args:
        store: has the manifest.
        names: "auto", or names.
        hold_out: the recogniser to hold out.
        more: names that "auto" includes besides the default ones.
    """
    from c2p_core.models.user_recognisers import expand_names, is_user_recogniser, parse_user_recogniser

    known = {entry.name: entry.family for entry in store.catalogue() if entry.role == "recogniser"}
    default_names = [entry.name for entry in store.entries() if entry.role == "recogniser"]
    chosen: dict[str, str] = {}
    for name in expand_names(names, [*default_names, *more]):
        if not is_user_recogniser(name) and name not in known:
            raise BadRequest("recogniser-unknown", name=name, known=list(known))
        chosen[name] = parse_user_recogniser(name).family if is_user_recogniser(name) else known[name]
    if is_user_recogniser(hold_out):
        parse_user_recogniser(hold_out)
    elif hold_out not in {"auto", *chosen, *chosen.values()}:
        raise BadRequest("hold-out-unknown", name=hold_out, known=list(chosen))


def check_options(options: dict[str, Any], store: ModelStore) -> dict[str, Any]:
    """Check the options of ``read_search_options`` before any photo is read.

    Returns:
        the options with the references read.

    Raises:
        BadRequest: an option is out of range or unknown.
        UnreadableImage: a reference can't be read.
    """
    blank, references = Photo(np.zeros((1, 1, 3), np.uint8)), options["references"]
    request = ProtectRequest(blank, **options | {"references": (blank,) * len(references)})
    check_recognisers(store, options["recognisers"], AUTO)
    from c2p_core.profiles import choose_profile, list_full_recognisers
    from c2p_core.validate import check_request

    device = None
    if request.profile == AUTO:
        from c2p_core.device import pick_device  # imports torch, which takes a while

        device = pick_device(request.device)
    chosen = choose_profile(request, store, device).request
    more = list_full_recognisers(store) if chosen.profile == "full" else ()
    check_recognisers(store, options["recognisers"], options["hold_out"], more)
    check_request(chosen)
    if not references:
        return options
    from c2p_core.io import photo_files

    return options | {"references": tuple(map(photo_files.read, references))}


def resolve_profile(options: dict[str, Any], store: ModelStore) -> dict[str, Any]:
    """The options with "embedded" or "full" in place of the profile "auto", for a whole folder of photos; says why.

    Raises:
        BadRequest: there is no such device.
    """
    if options["profile"] != AUTO:
        return options
    from c2p_core.device import pick_device
    from c2p_core.profiles import choose_profile

    blank = Photo(np.zeros((1, 1, 3), np.uint8))
    chosen = choose_profile(
        ProtectRequest(blank, **options | {"references": ()}), store, pick_device(options["device"])
    )
    click.echo(f"c2p: {chosen.why}", err=True)
    return options | {"profile": chosen.request.profile}
