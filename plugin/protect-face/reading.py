"""Pixels of a layer for a job that another thread submits. GTK's thread, the only one that may call GIMP, reads them
strip by strip while they are sent: a large photo is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from worker_client import Picture
from worker_client.results import PixelDigest

import run
from layers import Source, as_shown, check_there
from pixels import Rect


class LayerReader:
    """Rectangles of a layer, and the selection over them.

    Attributes:
        pictures: to be sent once.
    """

    def __init__(
        self, source: Source, rects: Sequence[Rect], ask: Callable[[Callable[[], bytes | None]], bytes | None]
    ) -> None:
        """Args:
        source: the layer.
        rects: of it.
        ask: calls a function in GTK's thread, and gives what it returns.
        """
        self._source = source
        self._ask = ask
        self._open = ExitStack()
        buffer = self._open.enter_context(as_shown(source.layer))
        self.pictures = [run.read_photo(buffer, source.form, rect) for rect in rects]
        self.pictures += run.read_selections(source, rects)
        self._digest = PixelDigest()
        for picture in self.pictures:
            picture.strips = self._read(picture, iter(picture.strips))

    @property
    def digest(self) -> str:
        """Of the pixels that were sent, see ``PixelDigest``."""
        return self._digest.value

    def close(self) -> None:
        """Releases the layer; called from GTK's thread."""
        self._open.close()

    def _read(self, picture: Picture, strips: Iterator[bytes]) -> Iterator[bytes]:
        def read_next() -> bytes | None:
            check_there(self._source)
            return next(strips, None)

        self._digest.begin(picture)
        while (strip := self._ask(read_next)) is not None:
            self._digest.add(strip)
            yield strip
