"""The window of the user's presets: use one, save the current settings, rename, delete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import GdkPixbuf, Gimp, GLib, Gtk  # noqa: E402
from worker_client import WorkerProblem  # noqa: E402
from worker_client.texts import _, to_sentence  # noqa: E402

from preset_store import MAX_NAME_LENGTH, Preset, PresetStore  # noqa: E402

_USE, _RENAME, _DELETE = 2, 3, 4
_GAP = 12
_SIDE = 72
_SMALL = (420, 260)


def open_store() -> PresetStore:
    """The user's presets, in GIMP's folder for its user."""
    return PresetStore(Path(Gimp.directory()) / "protect-face" / "presets")


class PresetsDialog:
    """The window; ``run`` returns when the user closes it."""

    def __init__(
        self, parent: Gtk.Window, store: PresetStore, settings: Mapping[str, Any], thumbnail: GdkPixbuf.Pixbuf | None
    ) -> None:
        """Args:
        parent: window that it belongs to.
        store: has the presets.
        settings: those that are saved.
        thumbnail: what they look like; None if that is not known yet.
        """
        self._store = store
        self._settings = settings
        self._thumbnail = thumbnail
        self.presets: list[Preset] = []
        self.dialog = Gtk.Dialog(title=_("Presets"), transient_for=parent, modal=True, use_header_bar=False)
        for number, label in ((_DELETE, _("_Delete")), (_RENAME, _("_Rename")), (_USE, _("_Use"))):
            self.dialog.add_button(label, number)
        self.dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
        self.dialog.set_default_response(_USE)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6, border_width=_GAP)
        box.pack_start(self._build_list(), True, True, 0)
        self._notice = Gtk.Label(xalign=0, wrap=True, max_width_chars=50, no_show_all=True)
        box.pack_start(self._notice, False, False, 0)
        box.pack_start(self._build_saving(), False, False, 0)
        self.dialog.get_content_area().pack_start(box, True, True, 0)
        box.show_all()
        self._fill()
        (self.rows if self.presets else self.name).grab_focus()

    def run(self) -> dict[str, Any] | None:
        """Shows the window; returns the settings of the preset that the user wants to use, None for none."""
        settings = None
        while settings is None and (response := int(self.dialog.run())) in (_USE, _RENAME, _DELETE):
            preset = self._get_selected()
            if preset is None:
                continue
            if response == _USE:
                settings = preset.settings
            with self._problems_shown():
                if response == _RENAME:
                    self._store.rename(preset.name, self.name.get_text())
                    self._fill(self.name.get_text().strip())
                if response == _DELETE and self._confirm_deletion(preset):
                    self._store.delete(preset.name)
                    self._fill()
        self.dialog.destroy()
        return settings

    def _build_list(self) -> Gtk.Widget:
        self.rows = Gtk.ListBox(activate_on_single_click=False)
        self.rows.connect("row-selected", lambda *_: self._on_row_selected())
        self.rows.connect("row-activated", lambda *_: self.dialog.response(_USE))
        # By default this activates the focused row, which would use the preset.
        self.rows.connect("mnemonic-activate", lambda *_: self._focus_rows())
        empty = Gtk.Label(label=_("Nothing is saved yet."))
        empty.show()
        self.rows.set_placeholder(empty)
        title = Gtk.Label(label=_("Saved _presets"), use_underline=True, xalign=0, mnemonic_widget=self.rows)
        holder = Gtk.ScrolledWindow(
            hscrollbar_policy=Gtk.PolicyType.NEVER,
            shadow_type=Gtk.ShadowType.IN,
            min_content_width=_SMALL[0],
            min_content_height=_SMALL[1],
        )
        holder.add(self.rows)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        box.pack_start(title, False, False, 0)
        box.pack_start(holder, True, True, 0)
        return box

    def _build_saving(self) -> Gtk.Widget:
        self.name = Gtk.Entry(max_length=MAX_NAME_LENGTH, hexpand=True)
        self.name.connect("changed", lambda _entry: self._update_buttons())
        self.name.connect("activate", lambda _entry: self._save())
        title = Gtk.Label(label=_("_Name"), use_underline=True, xalign=0, mnemonic_widget=self.name)
        self.save = Gtk.Button(use_underline=True)
        self.save.connect("clicked", lambda _button: self._save())
        self.with_thumbnail = Gtk.CheckButton(
            label=_("With the _thumbnail, which shows the face"),
            use_underline=True,
            sensitive=self._thumbnail is not None,
            tooltip_text=_("It is stored in GIMP's folder on this computer until you delete the preset"),
        )
        grid = Gtk.Grid(column_spacing=6, row_spacing=6)
        grid.attach(title, 0, 0, 1, 1)
        grid.attach(self.name, 1, 0, 1, 1)
        grid.attach(self.save, 2, 0, 1, 1)
        grid.attach(self.with_thumbnail, 1, 1, 2, 1)
        return grid

    def _fill(self, selected: str | None = None) -> None:
        """Lists the stored presets, with one of them selected."""
        for row in self.rows.get_children():
            row.destroy()
        self.presets, damaged = self._store.list_presets()
        for preset in self.presets:
            self.rows.add(_build_row(preset))
        self.rows.show_all()
        self._show_notice("\n".join(to_sentence(message) for message in damaged))
        index = next((number for number, preset in enumerate(self.presets) if preset.name == selected), None)
        if index is not None:
            self.rows.select_row(self.rows.get_row_at_index(index))
        self._update_buttons()

    def _focus_rows(self) -> bool:
        """Moves the keyboard focus to the selected preset, else to the first."""
        row = self.rows.get_selected_row() or self.rows.get_row_at_index(0)
        if row is not None:
            self.rows.select_row(row)
            row.grab_focus()
        return True

    def _get_selected(self) -> Preset | None:
        row = self.rows.get_selected_row()
        return None if row is None else self.presets[row.get_index()]

    def _on_row_selected(self) -> None:
        preset = self._get_selected()
        if preset is not None:
            self.name.set_text(preset.name)
            self.with_thumbnail.set_active(preset.thumbnail is not None and self._thumbnail is not None)
        self._update_buttons()

    def _update_buttons(self) -> None:
        """Updates which buttons can be pressed, and whether saving replaces a preset."""
        preset, name = self._get_selected(), self.name.get_text().strip()
        exists = name in [saved.name for saved in self.presets]
        self.save.set_label(_("_Overwrite") if exists else _("_Save settings"))
        self.save.set_sensitive(bool(name))
        for number in (_USE, _DELETE):
            self.dialog.set_response_sensitive(number, preset is not None)
        self.dialog.set_response_sensitive(_RENAME, preset is not None and bool(name) and not exists)

    def _save(self) -> None:
        name, picture = self.name.get_text().strip(), None
        if self._thumbnail is not None and self.with_thumbnail.get_active():
            _done, picture = self._thumbnail.save_to_bufferv("png", [], [])
        with self._problems_shown():
            self._store.save(name, self._settings, picture)
            self._fill(name)

    def _confirm_deletion(self, preset: Preset) -> bool:
        dialog = Gtk.MessageDialog(
            transient_for=self.dialog,
            modal=True,
            message_type=Gtk.MessageType.QUESTION,
            text=_("Delete the preset “{}”?").format(preset.name),
        )
        dialog.add_button(_("_Cancel"), Gtk.ResponseType.CANCEL)
        dialog.add_button(_("_Delete"), Gtk.ResponseType.OK)
        dialog.set_default_response(Gtk.ResponseType.CANCEL)
        response = dialog.run()
        dialog.destroy()
        return bool(response == Gtk.ResponseType.OK)

    @contextmanager
    def _problems_shown(self) -> Iterator[None]:
        """Shows an error above the name; the window stays open."""
        try:
            yield
        except WorkerProblem as problem:
            self._show_notice(to_sentence(problem.message))

    def _show_notice(self, text: str) -> None:
        self._notice.set_text(text)
        self._notice.set_visible(bool(text))


def _build_row(preset: Preset) -> Gtk.Widget:
    """A thumbnail, and beside it the name, prompt and strength."""
    markup = "<b>" + GLib.markup_escape_text(preset.name) + "</b>"
    if "prompt" in preset.settings and "strength" in preset.settings:
        about = _("{prompt}, strength {strength:.2f}").format(**preset.settings)
        markup += "\n<small>" + GLib.markup_escape_text(about) + "</small>"
    label = Gtk.Label(xalign=0, wrap=True, max_width_chars=44)
    label.set_markup(markup)
    picture = Gtk.Image()
    picture.set_size_request(_SIDE, -1)
    if preset.thumbnail is not None:
        # Only the head of the PNG was checked; the rest may be damaged.
        try:
            picture.set_from_pixbuf(GdkPixbuf.Pixbuf.new_from_file_at_size(str(preset.thumbnail), _SIDE, _SIDE))
        except GLib.Error:
            picture.set_from_icon_name("image-missing", Gtk.IconSize.DIALOG)
    box = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=_GAP, border_width=4)
    box.pack_start(picture, False, False, 0)
    box.pack_start(label, True, True, 0)
    return box
