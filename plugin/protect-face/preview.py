"""The preview: the photo with a numbered box for each face, or a face before and after with a draggable divider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gi

gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GdkPixbuf, GLib, Gtk  # noqa: E402
from worker_client import Picture  # noqa: E402
from worker_client.report import describe_face  # noqa: E402
from worker_client.texts import _  # noqa: E402

PHOTO, FACE, PIXELS = "photo", "face", "pixels"
Area = tuple[int, int, int, int]

_MIN_SIDE = 360  # smallest width and height, in pixels
_GRAB_DISTANCE = 12  # pixels from the line within which a drag moves it
_STEP = 0.02  # share of the width by which an arrow key moves the line
_PAN = 40  # pixels of the photo by which an arrow key moves the shown part
_REDRAW_DELAY = 120  # milliseconds after which a resized window is redrawn
_MARGIN = 0.45  # shown around a face, as a share of its height
_CHOSEN, _LEFT_OUT, _LINE, _SHADE = 0x2E8B57FF, 0xA0A0A0FF, 0xFFFFFFFF, 0x000000FF


@dataclass(frozen=True)
class Pair:
    """A part of the photo, before and after.

    Attributes:
        area: x, y, width and height in pixels of the layer.
        before, after: of the same size.
    """

    area: Area
    before: GdkPixbuf.Pixbuf
    after: GdkPixbuf.Pixbuf


class Preview(Gtk.Layout):
    """Draws by hand into pictures, because not every GIMP's Python has cairo."""

    def __init__(self, on_toggle: Callable[[int], object], on_view: Callable[[], object]) -> None:
        """Args:
        on_toggle: called with the number of a face whose box was pressed.
        on_view: called when another part or size has to be shown; see ``get_view``.
        """
        super().__init__(can_focus=True)
        self._on_toggle = on_toggle
        self._on_view = on_view
        self._photo: tuple[GdkPixbuf.Pixbuf, tuple[int, int]] | None = None
        self._faces: list[dict[str, Any]] = []
        self._chosen: set[int] = set()
        self._pair: Pair | None = None
        self._focus: dict[str, Any] | None = None
        self._bounds: Area = (0, 0, 1, 1)
        self._drawn: Area = (0, 0, 1, 1)
        self._centre: tuple[float, float] | None = None
        self.mode = PHOTO
        self.split = 0.5
        self.comparing = False
        self._dragged: tuple[float, float] | None = None
        self._redraw_timer = 0
        self._size = (0, 0)
        self._image = Gtk.Image()
        self.put(self._image, 0, 0)
        self._numbers: dict[int, Gtk.ToggleButton] = {}
        self.set_size_request(_MIN_SIDE, _MIN_SIDE)
        mask = Gdk.EventMask
        self.add_events(
            mask.BUTTON_PRESS_MASK | mask.BUTTON_RELEASE_MASK | mask.POINTER_MOTION_MASK | mask.KEY_RELEASE_MASK
        )
        for signal, handler in (
            ("size-allocate", self._on_resized),
            ("button-press-event", self._on_pressed),
            ("button-release-event", self._on_released),
            ("motion-notify-event", self._on_moved),
            ("key-press-event", self._on_key_pressed),
            ("key-release-event", self._on_key_released),
            ("focus-out-event", lambda *_: self.compare(False)),
        ):
            self.connect(signal, handler)

    # What is shown

    def show_photo(self, picture: Picture, full: tuple[int, int], faces: list[dict[str, Any]]) -> None:
        """Shows the whole photo, reduced, and its faces; ``full`` is the photo's original width and height.

        Faces that can't be protected have a box and a number with the reason, and can't be chosen.
        """
        self._photo = to_pixbuf(picture), full
        self._faces = faces
        for button in self._numbers.values():
            button.destroy()
        self._numbers = {}
        for face in self._faces:
            tooltip = describe_face(face) if face["skipped"] else _("Whether this face is protected")
            button = Gtk.ToggleButton(label=str(face["number"]), tooltip_text=tooltip, sensitive=not face["skipped"])
            button.connect("toggled", self._on_toggled, face["number"])
            self._numbers[face["number"]] = button
            self.put(button, 0, 0)
        self.draw()

    def choose(self, numbers: set[int]) -> None:
        """Marks the faces that will be protected."""
        self._chosen = numbers
        for number, button in self._numbers.items():
            if button.get_active() != (number in numbers):
                button.set_active(number in numbers)
        self.draw()

    def focus_on(self, face: dict[str, Any], bounds: Area) -> None:
        """Sets the face for the modes ``FACE`` and ``PIXELS``, and the part of the layer that was searched."""
        self._focus = face
        self._bounds = bounds
        self._centre = None

    def set_mode(self, mode: str) -> None:
        """Shows the whole photo, a whole face, or a part of it at 100 %."""
        self.mode = mode
        self.set_tooltip_text(None if mode == PHOTO else _explain_line())
        self.draw()
        if mode != PHOTO:
            self._on_view()

    def show_pair(self, pair: Pair | None) -> None:
        """Shows a part of the photo before and after; None for nothing."""
        self._pair = pair
        self.draw()

    def compare(self, comparing: bool) -> None:
        """Shows the photo as it was, until this is called with False."""
        if comparing != self.comparing:
            self.comparing = comparing
            self.draw()

    def set_split(self, split: float) -> None:
        """Moves the line between before and after to a share 0..1 of the width."""
        self.split = min(1.0, max(0.0, split))
        self.draw()

    def get_view(self) -> tuple[Area, tuple[int, int]] | None:
        """The part of the layer to show, and the largest size of its picture; None if the whole photo is shown."""
        if self._focus is None or self.mode == PHOTO:
            return None
        full = self._bounds[2:]
        x0, y0, x1, y1 = self._focus["box"]
        window = self._get_window_size()
        centre = self._centre or ((x0 + x1) / 2, (y0 + y1) / 2)
        if self.mode == PIXELS:
            width, height = (min(a, b) for a, b in zip(window, full, strict=True))
            return _fit_around(centre, (width, height), self._bounds), (width, height)
        view_height = (1 + 2 * _MARGIN) * max(x1 - x0, y1 - y0)
        view_width = view_height * window[0] / window[1]
        if view_width < view_height:
            view_width, view_height = view_height, view_height * window[1] / window[0]
        size = min(round(view_width), full[0]), min(round(view_height), full[1])
        scale = min(1.0, window[0] / size[0], window[1] / size[1])
        return _fit_around(centre, size, self._bounds), (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))

    def draw(self) -> None:
        """Redraws everything."""
        for button in self._numbers.values():
            button.set_visible(self.mode == PHOTO)
        if self.mode == PHOTO:
            self._draw_photo()
        elif self._pair is not None:
            self._draw_pair(self._pair)
        else:
            self._image.clear()

    def _draw_photo(self) -> None:
        if self._photo is None:
            self._image.clear()
            return
        photo, full = self._photo
        drawn, (left, top) = self._fit(photo)
        scale = drawn.get_width() / full[0]
        for face in self._faces:
            x0, y0, x1, y1 = (round(value * scale) for value in face["box"])
            colour = _CHOSEN if face["number"] in self._chosen else _LEFT_OUT
            _draw_outline(drawn, (x0, y0, x1, y1), colour)
            button = self._numbers[face["number"]]
            # Above the box, so that it hides nothing of the face.
            self.move(button, left + max(0, x0), max(0, top + y0 - button.get_preferred_height()[1]))
        self._show_image(drawn, left, top)

    def _draw_pair(self, pair: Pair) -> None:
        before, (left, top) = self._fit(pair.before)
        if self.comparing:
            self._show_image(before, left, top)
            return
        drawn, _corner = self._fit(pair.after)
        width, height = drawn.get_width(), drawn.get_height()
        line = round(self.split * width)
        if line > 0:
            before.copy_area(0, 0, line, height, drawn, 0, 0)
        for x, colour in ((line - 1, _SHADE), (line, _LINE), (line + 1, _SHADE)):
            if 0 <= x < width:
                drawn.new_subpixbuf(x, 0, 1, height).fill(colour)
        self._show_image(drawn, left, top)

    def _fit(self, picture: GdkPixbuf.Pixbuf) -> tuple[GdkPixbuf.Pixbuf, tuple[int, int]]:
        """A copy scaled to the window, and its position there; not scaled at 100 %."""
        window = self._get_window_size()
        width, height = picture.get_width(), picture.get_height()
        scale = 1.0 if self.mode == PIXELS else min(window[0] / width, window[1] / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        position = (window[0] - size[0]) // 2, (window[1] - size[1]) // 2
        if size == (width, height):
            return picture.copy(), position
        return picture.scale_simple(*size, GdkPixbuf.InterpType.BILINEAR), position

    def _show_image(self, picture: GdkPixbuf.Pixbuf, left: int, top: int) -> None:
        self._image.set_from_pixbuf(picture)
        self.move(self._image, left, top)
        self._drawn = (left, top, picture.get_width(), picture.get_height())

    def _get_window_size(self) -> tuple[int, int]:
        return max(1, self.get_allocated_width()), max(1, self.get_allocated_height())

    # What the user does

    def _on_resized(self, *_: object) -> None:
        if self._get_window_size() == self._size:
            return
        self._size = self._get_window_size()
        if self._redraw_timer:
            GLib.source_remove(self._redraw_timer)
        self._redraw_timer = GLib.timeout_add(_REDRAW_DELAY, self._redraw)

    def _redraw(self) -> bool:
        self._redraw_timer = 0
        self.draw()
        if self.mode != PHOTO:
            self._on_view()
        return False

    def _on_toggled(self, button: Gtk.ToggleButton, number: int) -> None:
        if button.get_active() != (number in self._chosen):
            self._on_toggle(number)

    def _on_pressed(self, _widget: Gtk.Widget, event: Gdk.EventButton) -> bool:
        # The second press of a double click arrives twice: as a press and as a double click.
        if event.type != Gdk.EventType.BUTTON_PRESS or event.button != Gdk.BUTTON_PRIMARY:
            return False
        self.grab_focus()
        if self.mode == PHOTO:
            number = self._find_face_at(event.x, event.y)
            if number is not None:
                self._on_toggle(number)
        elif self._pair is not None:
            left, _top, width, _height = self._drawn
            near = abs(event.x - left - self.split * width) <= _GRAB_DISTANCE
            if self.mode == PIXELS and not near:
                self._dragged = event.x, event.y
            else:
                self._dragged = None
                self.set_split((event.x - left) / width)
        return True

    def _on_moved(self, _widget: Gtk.Widget, event: Gdk.EventMotion) -> bool:
        if not event.state & Gdk.ModifierType.BUTTON1_MASK or self._pair is None or self.mode == PHOTO:
            return False
        if self._dragged is None:
            self.set_split((event.x - self._drawn[0]) / self._drawn[2])
        else:
            x, y = self._dragged
            self._dragged = event.x, event.y
            self._pan(x - event.x, y - event.y)
        return True

    def _on_released(self, *_: object) -> bool:
        self._dragged = None
        return False

    def _on_key_pressed(self, _widget: Gtk.Widget, event: Gdk.EventKey) -> bool:
        if self.mode == PHOTO:
            return False
        if event.keyval == Gdk.KEY_space:
            self.compare(True)
            return True
        direction = {Gdk.KEY_Left: (-1, 0), Gdk.KEY_Right: (1, 0), Gdk.KEY_Up: (0, -1), Gdk.KEY_Down: (0, 1)}.get(
            event.keyval
        )
        if direction is None:
            return False
        if self.mode == PIXELS and event.state & Gdk.ModifierType.SHIFT_MASK:
            self._pan(direction[0] * _PAN, direction[1] * _PAN)
        elif direction[0]:
            self.set_split(self.split + direction[0] * _STEP)
        return True

    def _on_key_released(self, _widget: Gtk.Widget, event: Gdk.EventKey) -> bool:
        if event.keyval == Gdk.KEY_space:
            self.compare(False)
            return True
        return False

    def _pan(self, dx: float, dy: float) -> None:
        view = self.get_view()
        if view is None:
            return
        x, y, width, height = view[0]
        self._centre = x + width / 2 + dx, y + height / 2 + dy
        self._on_view()

    def _find_face_at(self, x: float, y: float) -> int | None:
        if self._photo is None:
            return None
        left, top, width, _height = self._drawn
        scale = self._photo[1][0] / width
        x, y = (x - left) * scale, (y - top) * scale
        usable = [face for face in self._faces if not face["skipped"]]
        inside = [f for f in usable if f["box"][0] <= x <= f["box"][2] and f["box"][1] <= y <= f["box"][3]]
        return int(min(inside, key=lambda face: float(face["eye_distance"]))["number"]) if inside else None


def to_pixbuf(picture: Picture) -> GdkPixbuf.Pixbuf:
    """A picture from the worker (8-bit RGB) as a pixbuf."""
    data = GLib.Bytes.new(b"".join(picture.strips))
    width, height = picture.width, picture.height
    return GdkPixbuf.Pixbuf.new_from_bytes(data, GdkPixbuf.Colorspace.RGB, False, 8, width, height, 3 * width)


def _explain_line() -> str:
    return _("Drag the line, or move it by the arrow keys; hold the space bar to see the photo as it was.")


def _fit_around(centre: tuple[float, float], size: tuple[int, int], bounds: Area) -> Area:
    """A rectangle of a size around a point, moved so that it lies within bounds."""
    x, y = (
        min(max(low, round(middle - length / 2)), low + whole - length)
        for middle, length, low, whole in zip(centre, size, bounds[:2], bounds[2:], strict=True)
    )
    return x, y, *size


def _draw_outline(picture: GdkPixbuf.Pixbuf, box: tuple[int, int, int, int], colour: int) -> None:
    """Draws the outline of the part of a box that lies in the picture."""
    width, height = picture.get_width(), picture.get_height()
    x0, y0 = (max(0, value) for value in box[:2])
    x1, y1 = min(width, box[2]), min(height, box[3])
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    for x, y, wide, high in (
        (x0, y0, x1 - x0, 2),
        (x0, y1 - 2, x1 - x0, 2),
        (x0, y0, 2, y1 - y0),
        (x1 - 2, y0, 2, y1 - y0),
    ):
        picture.new_subpixbuf(x, y, wide, high).fill(colour)
