"""One run over every open image: each with its own layer, its own undo step, and the same settings."""

from __future__ import annotations

from typing import Any

from gi.repository import Gimp
from worker_client.errors import Refused
from worker_client.several_images import Outcome, check_any_done, protect_each, summarise_outcomes

import run
from layers import find_photo
from procedures import connect_with_progress, show_progress, showing_result
from run_settings import RunSettings


def run_and_show(
    mode: Gimp.RunMode,
    front: Gimp.Image,
    drawables: list[Gimp.Drawable],
    settings: RunSettings,
    choice: run.Choice | None,
) -> None:
    """Protects all images that are open now, and reports the outcome for each.

    Args:
        mode: of the procedure.
        front: the image that it was called with, which comes first.
        drawables: of that image; of the others the selected layer is protected.
        settings: for all of them.
        choice: from the dialog, for the image in front only.

    Raises:
        WorkerProblem: there is no worker, or none of the images was changed.
    """
    outcomes = _protect_all(front, drawables, settings, choice)
    if mode != Gimp.RunMode.INTERACTIVE:
        check_any_done(outcomes)
    with showing_result():
        if mode == Gimp.RunMode.INTERACTIVE:
            import images_dialog  # GTK is only loaded where there is a window

            images_dialog.show(outcomes)
        elif mode == Gimp.RunMode.WITH_LAST_VALS or not all(outcome.result for outcome in outcomes):
            Gimp.message(summarise_outcomes(outcomes))


def _protect_all(
    front: Gimp.Image, drawables: list[Gimp.Drawable], settings: RunSettings, choice: run.Choice | None
) -> list[Outcome]:
    images = [front, *(image for image in Gimp.get_images() if image.get_id() != front.get_id())]
    with connect_with_progress() as worker:

        def protect_one(index: int, on_event: run.OnEvent) -> dict[str, Any]:
            image = images[index]
            if not image.is_valid():
                raise Refused("image-closed")
            try:
                source = find_photo(image, image.get_selected_layers() if index else drawables)
                return run.protect(worker, source, settings, on_event, None if index else choice)
            except Exception:
                worker.close()  # pixels may still be on their way; the next job reconnects
                raise
            finally:
                Gimp.displays_flush()

        return protect_each([image.get_name() for image in images], protect_one, show_progress, Gimp.directory())
