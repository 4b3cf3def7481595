"""What recognisers say of the image as it looks now, beside the original."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gi.repository import Gimp
from worker_client import Worker
from worker_client.detection_size import WHOLE_PIXELS
from worker_client.errors import Refused
from worker_client.report import describe_original
from worker_client.settings import ALL
from worker_client.texts import _

import layers
import pairs
import run
from layers import Source
from originals import Original, find_known, get_run_record, has_pixels_of, is_made_by_run, is_unprotected
from procedures import show_progress
from run_settings import STRONGER, list_offers, restore_settings


@dataclass
class Judgement:
    """A comparison, which can be repeated with another original.

    Attributes:
        selected: the selected layer.
        what: of ``CHECK_TARGETS``.
        original: the unprotected photo.
        upload: whether it is judged as a typical upload too.
        figures: the result, see ``measure``.
    """

    worker: Worker
    selected: Source
    what: str
    original: Original
    upload: bool = False
    figures: dict[str, Any] = field(default_factory=dict)

    def measure(self) -> None:
        """Lets the worker compare; the figures are the result of "check", with an entry on the original.

        Raises:
            WorkerProblem: the two can't be compared; the figures are unchanged.
        """
        try:
            figures, known = self._compare()
        finally:
            Gimp.progress_end()
        original_inside = self.original if self.original.layer is not None else find_known(self.selected)
        layer = None if original_inside is None else original_inside.name
        self.figures = figures | {"original": describe_original(self.original.name, known, layer)}

    @property
    def offers(self) -> tuple[str, ...]:
        """What can be done about a poor verdict."""
        offers = (STRONGER,) if self.original.layer is not None else ()
        record = get_run_record(self.selected)
        if record is None:
            # The other offers need the settings of the first run.
            return offers
        run_offers = list_offers(restore_settings(record["requested"]))
        return (*offers, *(offer for offer in run_offers if offer != STRONGER))

    def _compare(self) -> tuple[dict[str, Any], bool]:
        """The result of "check", and whether the original is known to be the unprotected photo."""
        Gimp.progress_init(_("Check Protection"))
        detection = None
        with self.original.opened() as source:
            layer = self.original.layer
            if layer is not None and is_made_by_run(layer):
                raise Refused("original-protected", name=self.original.name)
            known = _is_known(self.original, source, self.selected)
            if source.area.width * source.area.height > WHOLE_PIXELS:
                detection = run.detect(self.worker, source, ALL, show_progress, with_selection=False)
        with pairs.opened(self.original, self.selected, self.what) as pair:
            if not known and self._shows_the_photo(pair):
                raise Refused("original-judged", name=self.original.name)
            rects = pair.clip_rects(run.get_rects(detection) if detection else [pair.original.area])
            header: dict[str, Any] = {"full": pair.full, "upload": self.upload}
            if detection:
                header["faces"] = pairs.keep_inside(detection, rects)
            job = self.worker.submit("check", header, pair.read_pictures(rects, "original", "current"))
        return job.result(show_progress).header, known

    def _shows_the_photo(self, pair: pairs.Pair) -> bool:
        """Whether the judged pixels are themselves the unprotected photo of a run, and so the original is not."""
        records = layers.list_run_records(self.selected.image)
        return has_pixels_of(pair.current, pair.form, pair.area, records)


def _is_known(original: Original, source: Source, selected: Source) -> bool:
    """Whether the original is known to be the unprotected photo, and not only assumed."""
    records = layers.list_run_records(selected.image)
    if original.layer is not None and any(record["source"] == source.tattoo for record in records):
        return True
    return is_unprotected(source, records)
