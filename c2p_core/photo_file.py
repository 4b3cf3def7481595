"""Protects one photo file: read, search, write, report."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2p_core.api import CancelToken, Progress, ProtectRequest
from c2p_core.errors import BadRequest, C2PError, CannotWrite, Message, NoFace, UnreadableImage, name_error
from c2p_core.io import report
from c2p_core.io.atomic_files import check_folder, find_free_name, takes_a_stream, write_whole
from c2p_core.memory_errors import is_out_of_memory

# Torch, Pillow and libvips are imported where they are needed, so that `c2p --help` is fast.
if TYPE_CHECKING:
    from c2p_core.models.loaded import WarmModels
    from c2p_core.models.store import ModelStore

UNEXPECTED_EXIT_CODE = 1
"""Exit code of an unexpected error."""
# Errors that end one photo but not those after it.
_PER_PHOTO = (UnreadableImage, NoFace, CannotWrite, BadRequest)


@dataclass(frozen=True)
class WriteOptions:
    """How results are written.

    Attributes:
        overwrite: whether they replace earlier ones.
        strip_personal: whether personal metadata are removed.
        mark: whether metadata record how the picture was edited, see ``io.source_type``.
    """

    overwrite: bool = False
    strip_personal: bool = False
    mark: bool = True


def try_protect(
    source: Path,
    target: Path,
    write_options: WriteOptions,
    options: dict[str, Any],
    store: ModelStore,
    warm: WarmModels,
    on_progress: Callable[[Progress], None],
    cancel: CancelToken,
) -> dict[str, Any]:
    """Protect one photo; returns its part of the report, also if only this photo failed.

    Args:
        source: the photo.
        target: of the result; if another file has appeared there meanwhile, the result gets a number.
        write_options: see above.
        options: fields of the request.
        store, warm: the models, and those that are loaded.
        on_progress: called with the progress.
        cancel: see ``pipeline.protect``.

    Raises:
        Cancelled: ``cancel`` was set.
        ModelUnavailable: a model is missing, which every other photo needs too.
    """
    try:
        return _protect(source, target, write_options, options, store, warm, on_progress, cancel)
    except Exception as error:
        message, code = describe_failure(error)
        return report.failure_report(source, message, code)


def _protect(
    source: Path,
    target: Path,
    write_options: WriteOptions,
    options: dict[str, Any],
    store: ModelStore,
    warm: WarmModels,
    on_progress: Callable[[Progress], None],
    cancel: CancelToken,
) -> dict[str, Any]:
    from c2p_core.io import photo_files
    from c2p_core.io.sidecars import CopiedSidecars, carry_sidecars, find_turn
    from c2p_core.io.source_type import choose_source_type

    photo = photo_files.read(source)
    photo_files.check_target(target, photo)
    check_folder(target)
    from c2p_core import pipeline

    request = ProtectRequest(photo, **options)
    result = pipeline.protect(request, progress=on_progress, cancel=cancel, store=store, warm=warm)
    # A file may have appeared at this path during the search.
    if target.exists() and not write_options.overwrite:
        target = find_free_name(target)
    keep_personal = not write_options.strip_personal
    source_type = choose_source_type(result.generated) if write_options.mark else None
    encoded = photo_files.encode_as(target, result.photo, personal=keep_personal, source_type=source_type)
    write_whole(target, encoded.data)
    carried = CopiedSidecars()
    if not takes_a_stream(target) and not target.parent.resolve().samefile(source.parent.resolve()):
        turn = find_turn(photo, photo_files.FORMATS[target.suffix.lower()])
        carried = carry_sidecars(source, target, personal=keep_personal, source_type=encoded.source_type, turn=turn)
    warnings = result.warnings + encoded.warnings + carried.warnings
    photo_report = report.photo_report(
        source, target, result.faces, warnings, request, result.stronger, result.computation
    )
    return photo_report | report.describe_metadata(encoded.source_type, carried.present)


def describe_failure(error: Exception) -> tuple[Message, int]:
    """Describe an error that concerns only this photo, with its exit code; re-raise one that concerns all photos."""
    if isinstance(error, C2PError) and not is_out_of_memory(error):
        if not isinstance(error, _PER_PHOTO):
            raise error
        return error.message, error.exit_code
    if os.environ.get("C2P_DEBUG"):
        raise error
    return describe_unexpected(error), UNEXPECTED_EXIT_CODE


def describe_unexpected(error: Exception) -> Message:
    """The message for an unexpected error."""
    if is_out_of_memory(error):
        return Message("memory-full-for-photo")
    return Message("unexpected-error", error=name_error(error))
