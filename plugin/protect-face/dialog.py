"""The dialog of Protect Face: settings, a preview and a meter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, replace
from typing import Any

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gimp, GimpUi, GObject, Gtk  # noqa: E402
from worker_client import Event, Picture, WorkerProblem  # noqa: E402
from worker_client.faces import get_chosen_faces  # noqa: E402
from worker_client.messages import Message  # noqa: E402
from worker_client.report import describe_skipped  # noqa: E402
from worker_client.settings import (  # noqa: E402
    ALL,
    AMOUNTS,
    DEFAULT_PRIOR,
    LARGEST,
    LOCKS,
    PRIORS,
    SELECTED,
    get_search_settings,
    make_amounts_header,
    make_job_header,
)
from worker_client.texts import (  # noqa: E402
    _,
    describe_device,
    describe_profile,
    describe_stage,
    format_duration,
    format_megabytes,
    ngettext,
    to_sentence,
)

import presets  # noqa: E402
import preview  # noqa: E402
import recent_prompts  # noqa: E402
import run  # noqa: E402
from background import MEASURE, RENDER, Background, Request  # noqa: E402
from candidates import Candidate, Strip  # noqa: E402
from layers import Source, as_shown, check_there  # noqa: E402
from locks import build_locks  # noqa: E402
from meter import Meter  # noqa: E402
from pixels import Rect  # noqa: E402
from reading import LayerReader  # noqa: E402
from run import Choice  # noqa: E402
from run_settings import ALL_IMAGES, ANOTHER, SHAPE, STRONGER, RunSettings, apply_offer, list_offers, read_config  # noqa: E402

_QUICK_STEPS = 12
_SEVERAL = 3
_GAP = 12
_SIZE = (940, 680)
_PHOTO_SIDE = 900  # pixels of the reduced photo on its longer side
_LOCKS = tuple(name.replace("_", "-") for name, _part, _label in LOCKS)
_SEARCH_ARGUMENTS = ("prompt", "strength", "keep-expression", *_LOCKS, "mode", "prior", "steps", "seed")
_BUTTON, _BAR = "button", "bar"
_USUAL, _MORE = "usual", "more"


def ask(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, source: Source) -> Choice | None:
    """Shows the dialog; returns the user's choice, or None if they cancelled. The settings are in ``config``."""
    GimpUi.init("protect-face")
    config.set_property(ALL_IMAGES, False)  # has to be chosen each time: users may not think of the other images
    dialog = ProtectDialog(procedure, config, source)
    choice = dialog.run()
    if choice is not None:
        recent_prompts.add_prompt(config.get_property("prompt"))
    return choice


class ProtectDialog:
    """Puts the parts together. Only this class calls GIMP; ``Background`` talks to the worker."""

    def __init__(self, procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, source: Source) -> None:
        self._config = config
        self._source = source
        self._hello: dict[str, Any] = {}
        self._detection: dict[str, Any] = {}
        self._chosen: set[int] = set()
        self._current: Candidate | None = None
        self._jobs = 0
        self._readers: list[LayerReader] = []
        self._closed = False
        self._background = Background(self._show_hello, self._show_problem)
        self._preview = preview.Preview(self._toggle_face, self._draw_view)
        self._focus_row = Gtk.ComboBoxText()
        self._focus_row.connect("changed", lambda *_: self._focus())
        self._dialog = GimpUi.ProcedureDialog.new(procedure, config, _("Protect Face"))
        self._dialog.set_ok_label(_("_Protect"))
        columns = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=2 * _GAP)
        columns.pack_start(self._build_settings(), False, False, 0)
        columns.pack_start(self._build_preview(), True, True, 0)
        self._dialog.set_default_size(*_SIZE)
        area = self._dialog.get_content_area()
        area.set_spacing(_GAP)
        _hide_saved_settings(self._dialog)
        area.pack_start(columns, True, True, 0)
        area.pack_start(self._build_status_line(), False, False, 0)
        columns.show_all()
        self._missing.set_visible(False)
        self._meter.clear()
        self._focus_row.set_visible(False)
        config.connect("notify::faces", lambda *_: self._choose_by_setting())
        for name in (*_SEARCH_ARGUMENTS, "faces", ALL_IMAGES):
            config.connect(f"notify::{name}", lambda *_: self._on_settings_changed())
        for name, _label, _blurb in AMOUNTS:
            config.connect(f"notify::{name}", lambda *_: self._redraw_and_measure())

    def run(self) -> Choice | None:
        self._start_detection()
        accepted = bool(self._dialog.run())
        choice = self._make_choice() if accepted else None
        self._closed = True
        self._background.close(keep=choice.search if choice is not None else None)
        for reader in self._readers:
            reader.close()
        self._dialog.destroy()
        return choice

    # Widgets

    def _build_settings(self) -> Gtk.Widget:
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP)
        label = Gtk.Label(label=_("Makeup st_yle"), use_underline=True, xalign=0)
        prompt = Gtk.ComboBoxText.new_with_entry()
        self._prompts = prompt
        self._fill_prompts([])
        entry = prompt.get_child()
        entry.set_max_length(300)
        entry.set_width_chars(34)
        entry.set_activates_default(True)
        self._config.bind_property(
            "prompt", entry, "text", GObject.BindingFlags.BIDIRECTIONAL | GObject.BindingFlags.SYNC_CREATE
        )
        label.set_mnemonic_widget(prompt)
        top = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=4)
        header = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL)
        header.pack_start(label, True, True, 0)
        saved = Gtk.Button(label=_("Prese_ts…"), use_underline=True)
        saved.connect("clicked", lambda _button: self._show_presets())
        header.pack_start(saved, False, False, 0)
        top.pack_start(header, False, False, 0)
        top.pack_start(prompt, False, False, 0)
        box.pack_start(top, False, False, 0)
        self._dialog.get_scale_entry("strength", 1.0)
        box.pack_start(self._dialog.fill_box("main", ["strength", "faces", "all-images"]), False, False, 0)
        folders = Gtk.Label(label=_("For folders there is the command c2p batch."), xalign=0)
        folders.get_style_context().add_class("dim-label")
        box.pack_start(folders, False, False, 0)
        more, back = (
            Gtk.Button(label=text, use_underline=True, halign=Gtk.Align.START) for text in (_("_More"), _("Bac_k"))
        )
        more.connect("clicked", lambda _button: self._turn_to(_MORE, back))
        back.connect("clicked", lambda _button: self._turn_to(_USUAL, more))
        box.pack_start(more, False, False, 0)
        box.pack_start(Gtk.Separator(orientation=Gtk.Orientation.HORIZONTAL), False, False, 0)
        for name, _label, _blurb in AMOUNTS:
            self._dialog.get_scale_entry(name, 1.0)
        self._amounts = self._dialog.fill_box("amounts", ["amount", "shape", "light", "makeup"])
        box.pack_start(self._amounts, False, False, 0)
        self._meter = Meter((STRONGER, ANOTHER, SHAPE), self._apply_offer, narrow=True)
        box.pack_start(self._meter, False, False, 0)
        details = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP)
        details.pack_start(back, False, False, 0)
        details.pack_start(build_locks(self._dialog), False, False, 0)
        steps = self._dialog.get_widget("steps", GObject.TYPE_NONE).get_spin_button()
        steps.set_numeric(False)  # else it takes no words
        steps.connect("output", _show_usual)
        details.pack_start(
            self._dialog.fill_box("details", ["output", "mode", "prior", "steps", "seed"]), False, False, 0
        )
        self._missing = Gtk.Label(xalign=0, wrap=True, max_width_chars=44)
        details.pack_start(self._missing, False, False, 0)
        self._profile = Gtk.Label(xalign=0, wrap=True, max_width_chars=44)
        details.pack_start(self._profile, False, False, 0)
        # Only one is shown: together they would be too tall, and have more controls than there are mnemonics.
        self._pages = Gtk.Stack(vhomogeneous=False)
        self._pages.add_named(box, _USUAL)
        self._pages.add_named(details, _MORE)
        # GIMP's widgets expand, and would take half of a wide window from the preview.
        holder = Gtk.ScrolledWindow(
            hscrollbar_policy=Gtk.PolicyType.NEVER, propagate_natural_height=True, hexpand=False
        )
        holder.add(self._pages)
        return holder

    def _turn_to(self, page: str, first: Gtk.Widget) -> None:
        """Shows one of the pages of settings, with the keyboard on its button."""
        self._pages.set_visible_child_name(page)
        first.grab_focus()

    def _build_preview(self) -> Gtk.Widget:
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        views = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=6)
        self._views: dict[str, Gtk.RadioButton] = {}
        first = None
        labels = (
            (preview.PHOTO, _("_Whole photo")),
            (preview.FACE, _("_Zoom to the face")),
            (preview.PIXELS, _("_1:1")),
        )
        for mode, label in labels:
            view = Gtk.RadioButton.new_with_mnemonic_from_widget(first, label)
            first = first or view
            view.connect("toggled", self._on_view_chosen, mode)
            view.set_sensitive(mode == preview.PHOTO)
            self._views[mode] = view
            views.pack_start(view, False, False, 0)
        view_label = Gtk.Label(label=_("_View"), use_underline=True, mnemonic_widget=self._focus_row)
        self._focus_row.bind_property("visible", view_label, "visible", GObject.BindingFlags.SYNC_CREATE)
        views.pack_end(self._focus_row, False, False, 0)
        views.pack_end(view_label, False, False, 0)
        box.pack_start(views, False, False, 0)
        frame = Gtk.Frame()
        frame.add(self._preview)
        box.pack_start(frame, True, True, 0)
        self._notes = Gtk.Label(xalign=0, wrap=True, max_width_chars=60)
        box.pack_start(self._notes, False, False, 0)
        self._strip = Strip(self._pick, self._discard)
        strip = Gtk.ScrolledWindow(vscrollbar_policy=Gtk.PolicyType.NEVER, propagate_natural_height=True)
        strip.add(self._strip)
        box.pack_start(strip, False, False, 0)
        box.pack_start(self._build_buttons(), False, False, 0)
        return box

    def _on_view_chosen(self, button: Gtk.RadioButton, mode: str) -> None:
        if button.get_active():
            self._preview.set_mode(mode)

    def _build_buttons(self) -> Gtk.Widget:
        buttons = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=6, homogeneous=True)
        self._quick_button = Gtk.Button(label=_("_Quick preview"), use_underline=True)
        self._quick_button.connect("clicked", lambda _button: self._start_search(quick=True))
        self._search_button = Gtk.Button(label=_("Search _in full"), use_underline=True)
        self._search_button.connect("clicked", lambda _button: self._start_search(quick=False))
        self._several_button = Gtk.Button(label=_("Try _3 looks"), use_underline=True)
        self._several_button.connect("clicked", lambda _button: self._start_several())
        for button in (self._quick_button, self._search_button, self._several_button):
            button.set_sensitive(False)
            buttons.pack_start(button, True, True, 0)
        self._progress_bar = Gtk.ProgressBar(show_text=True, text="", valign=Gtk.Align.CENTER)
        stop = Gtk.Button(label=_("Stop search_ing"), use_underline=True)
        stop.connect("clicked", lambda _button: self._background.cancel())
        working = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=6)
        working.pack_start(self._progress_bar, True, True, 0)
        working.pack_start(stop, False, False, 0)
        # Only one is shown, so that the dialog keeps its size.
        self._button_or_bar = Gtk.Stack()
        self._button_or_bar.add_named(buttons, _BUTTON)
        self._button_or_bar.add_named(working, _BAR)
        return self._button_or_bar

    def _build_status_line(self) -> Gtk.Widget:
        box = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=_GAP)
        self._status = Gtk.Label(label=_("Asking the worker…"), xalign=0, wrap=True, max_width_chars=80)
        self._fetch_button = Gtk.Button(no_show_all=True, sensitive=False, use_underline=True)
        self._fetch_button.connect("clicked", lambda _button: self._start_fetch())
        box.pack_start(self._status, True, True, 0)
        box.pack_start(self._fetch_button, False, False, 0)
        box.show_all()
        return box

    def _fill_prompts(self, presets: list[str]) -> None:
        """Fills the list of prompts: recent ones, then the worker's presets."""
        self._prompts.remove_all()
        for text in dict.fromkeys([*recent_prompts.list_prompts(), *presets]):
            self._prompts.append_text(text)

    def _offer_priors(self, missing: dict[str, dict[str, Any]]) -> None:
        """Disables the priors that can't be used; ``missing`` has the reasons."""
        if self._config.get_property("prior") in missing:
            self._config.set_property("prior", DEFAULT_PRIOR)
        choice = Gimp.param_spec_choice_get_choice(self._config.find_property("prior"))
        for name, _label in PRIORS:
            choice.set_sensitive(name, name not in missing)
        self._missing.set_text("\n".join(to_sentence(why) for why in missing.values()))
        self._missing.set_visible(bool(missing))

    def _show_presets(self) -> None:
        """Lets the user load saved settings, or save the current ones."""
        settings, thumbnail = asdict(read_config(self._config)), self._strip.get_thumbnail(self._current)
        preset = presets.PresetsDialog(self._dialog, presets.open_store(), settings, thumbnail).run() or {}
        choice = Gimp.param_spec_choice_get_choice(self._config.find_property("prior"))
        if not choice.is_valid(preset.get("prior", DEFAULT_PRIOR)):
            # The dialog shows why it can't be used here.
            del preset["prior"]
        for name, value in preset.items():
            self._config.set_property(name.replace("_", "-"), value)

    # Faces

    def _start_detection(self) -> None:
        with self._problems_shown():
            pictures = self._find_pictures()
            header = {"full": self._source.area.size, "choose": ALL, "show": [_PHOTO_SIDE, _PHOTO_SIDE]}
            self._set_busy(True)
            self._background.reconnect()
            self._background.submit(
                Request("find", header, self._show_faces, pictures, on_failure=self._on_search_failed)
            )

    def _show_faces(self, event: Event) -> None:
        self._set_busy(False)
        self._detection = event.header
        self._preview.show_photo(event.pictures[0], self._source.area.size, event.header["faces"])
        self._choose_by_setting()

    def _list_usable_faces(self) -> list[dict[str, Any]]:
        return [face for face in self._detection.get("faces", []) if not face["skipped"] and face["selected"] > 0]

    def _choose_by_setting(self) -> None:
        """Chooses the faces of the setting; pressing boxes changes the choice."""
        self._chosen = self._list_faces_of_setting()
        self._show_chosen()

    def _list_faces_of_setting(self) -> set[int]:
        choice, usable = self._config.get_property("faces"), self._list_usable_faces()
        if choice == LARGEST:
            usable = usable[:1]
        if choice == SELECTED:
            usable = [] if self._is_nothing_selected() else [face for face in usable if face["selected"] >= 0.5]
        return {face["number"] for face in usable}

    def _toggle_face(self, number: int) -> None:
        self._chosen ^= {number}
        self._show_chosen()

    def _show_chosen(self) -> None:
        self._preview.choose(set(self._chosen))
        numbers = sorted(self._chosen)
        active = self._focus_row.get_active_id()
        self._focus_row.remove_all()
        for number in numbers:
            self._focus_row.append(str(number), _("Face {}").format(number))
        if active is None or not self._focus_row.set_active_id(active):
            self._focus_row.set_active(0)
        self._focus_row.set_visible(len(numbers) > 1)
        self._update_buttons()
        self._on_settings_changed()

    def _get_focused_face(self) -> dict[str, Any] | None:
        name = self._focus_row.get_active_id()
        return next((face for face in self._list_usable_faces() if str(face["number"]) == name), None)

    def _focus(self) -> None:
        """Shows the face that is selected in the row, if the current search includes it."""
        face = self._get_focused_face()
        if face is None or self._current is None or face["number"] not in self._current.faces:
            return
        areas = self._current.detection["regions"]
        area = next((area for area in areas if face["number"] in area["faces"]), None)
        if area is not None:
            self._preview.focus_on(face, (area["x"], area["y"], area["width"], area["height"]))
            self._draw_view()

    # Searches

    def _start_several(self) -> None:
        seed = self._config.get_property("seed")
        for number in range(1, _SEVERAL + 1):
            self._start_search(quick=True, seed=seed + number)

    def _start_search(self, quick: bool, seed: int | None = None) -> None:
        """Starts a search with the settings: a quick one for the shown face, or a full one for all chosen faces."""
        focused = self._get_focused_face()
        if focused is None:
            return
        settings = read_config(self._config)
        if seed is not None:
            settings = replace(settings, seed=seed)
        numbers = {focused["number"]} if quick else self._chosen
        areas = [area for area in self._detection["regions"] if numbers & set(area["faces"])]
        detection = self._detection | {"chosen": sorted(numbers), "regions": areas}
        with self._problems_shown():
            self._search_faces(settings, quick, detection)

    def _search_faces(self, settings: RunSettings, quick: bool, detection: dict[str, Any]) -> None:
        check_there(self._source)
        self._set_busy(True)
        reader = LayerReader(self._source, run.get_rects(detection), self._background.ask)
        self._readers.append(reader)
        header = make_job_header(asdict(settings))
        header |= {"faces": get_chosen_faces(detection), "full": self._source.area.size}
        if quick:
            header["steps"] = _QUICK_STEPS

        def on_failure(problem: WorkerProblem) -> None:
            reader.close()
            self._on_search_failed(problem)

        def on_result(event: Event) -> None:
            reader.close()
            candidate = Candidate(
                event.header["search"],
                get_search_settings(asdict(settings)),
                frozenset(detection["chosen"]),
                quick,
                reader.digest,
                detection,
                event.header,
            )
            self._add_candidate(candidate)

        self._background.submit(Request("search", header, on_result, reader.pictures, self._show_progress, on_failure))

    def _add_candidate(self, candidate: Candidate) -> None:
        self._background.keep(candidate.search)
        searched = candidate.detection["regions"][0]
        face = next(face for face in candidate.detection["faces"] if face["number"] in candidate.faces)
        x0, y0, x1, y1 = face["box"]
        face_rect = Rect(round(x0), round(y0), round(x1 - x0), round(y1 - y0))
        area = face_rect.intersect(Rect(searched["x"], searched["y"], searched["width"], searched["height"]))
        header = {"search": candidate.search, "area": list(astuple(area)), "size": [2 * 72, 2 * 72]}

        def on_thumbnail(event: Event) -> None:
            self._set_busy(False)
            self._strip.add_candidate(candidate, preview.to_pixbuf(event.pictures[-1]))
            self._pick(candidate)

        self._background.submit(Request(RENDER, header, on_thumbnail, on_failure=self._on_search_failed))

    def _on_search_failed(self, _problem: WorkerProblem) -> None:
        self._set_busy(False)

    def _pick(self, candidate: Candidate) -> None:
        """Shows a candidate, with the settings that found it."""
        self._current = candidate
        for name, value in candidate.settings.items():
            self._config.set_property(name.replace("_", "-"), value)
        self._strip.mark(candidate)
        for view in self._views.values():
            view.set_sensitive(True)
        if self._preview.mode == preview.PHOTO:
            self._views[preview.FACE].set_active(True)
        number = next((str(n) for n in sorted(candidate.faces) if str(n) == self._focus_row.get_active_id()), None)
        if number is None:
            self._focus_row.set_active_id(str(min(candidate.faces)))
        self._focus()
        self._redraw_and_measure()

    def _discard(self, candidate: Candidate) -> None:
        """Discards a candidate; if it is shown, the next one is shown instead, or the photo."""
        next_candidate = self._strip.discard(candidate)
        self._background.drop(candidate.search)
        if candidate is not self._current:
            self._redraw_and_measure()
        elif next_candidate is not None:
            self._pick(next_candidate)
        else:
            self._show_no_candidate()

    def _show_no_candidate(self) -> None:
        self._current = None
        self._views[preview.PHOTO].set_active(True)
        for mode, view in self._views.items():
            view.set_sensitive(mode == preview.PHOTO)
        self._preview.show_pair(None)
        self._meter.clear()
        self._show_notes()

    def _apply_offer(self, offer: str) -> None:
        """Searches with the changed settings that a button below a poor verdict offers."""
        quick = self._current is None or self._current.quick
        changed = apply_offer(read_config(self._config), offer)
        for name in ("strength", "seed", "shape"):
            self._config.set_property(name, getattr(changed, name))
        if offer != SHAPE:
            self._start_search(quick)

    # What is shown

    def _get_amounts(self) -> dict[str, Any]:
        return make_amounts_header(asdict(read_config(self._config)))

    def _draw_view(self) -> None:
        """Requests a drawing of the visible part."""
        view = self._preview.get_view()
        if self._current is None or view is None:
            return
        area, size = view
        header = {"search": self._current.search, "area": list(area), "size": list(size)} | self._get_amounts()
        self._background.follow(Request(RENDER, header, self._show_pair, on_failure=self._on_search_lost))

    def _redraw_and_measure(self) -> None:
        """Requests a drawing and figures of the current search with the amounts of the sliders."""
        if self._current is None:
            return
        self._draw_view()
        self._meter.wait()
        header = {"search": self._current.search} | self._get_amounts()
        self._background.follow(Request(MEASURE, header, self._show_figures, on_failure=self._on_search_lost))
        self._show_notes()

    def _show_pair(self, event: Event) -> None:
        if self._current is None:  # it was discarded meanwhile
            return
        pictures = {picture.name: preview.to_pixbuf(picture) for picture in event.pictures}
        self._preview.show_pair(preview.Pair(tuple(event.header["area"]), pictures["before"], pictures["after"]))

    def _show_figures(self, event: Event) -> None:
        if self._current is None:  # as above
            return
        self._meter.show_figures(event.header)
        self._meter.offer(list_offers(read_config(self._config)))
        self._show_notes()

    def _on_search_lost(self, problem: WorkerProblem) -> None:
        if problem.code == "search-gone":
            self._current = None
            self._show_notes()

    def _on_settings_changed(self) -> None:
        self._meter.offer(list_offers(read_config(self._config)))
        self._show_estimate()
        self._show_notes()

    def _is_stale(self) -> bool:
        return self._current is not None and not self._current.fits(
            get_search_settings(asdict(read_config(self._config))), frozenset(self._chosen)
        )

    def _show_notes(self) -> None:
        """Shows the notes on the picture."""
        notes: list[str] = []
        if self._current is not None:
            if self._is_stale():
                notes.append(_("The settings have changed since: this shows the earlier ones."))
            elif self._current.quick:
                notes.append(_("Found in a few steps: Protect searches in full, and applies as much of it."))
            else:
                notes.append(_("Protect inserts exactly this."))
            notes += [to_sentence(warning) for warning in self._current.figures.get("warnings", [])]
        skipped = [face for face in self._detection.get("faces", []) if face["skipped"] and face["selected"] > 0]
        self._notes.set_text("\n".join(notes + describe_skipped(skipped)))

    def _show_progress(self, event: Event) -> None:
        if event.kind in ("queued", "progress"):
            self._progress_bar.set_text(describe_stage(event.header))
        if event.kind == "progress":
            self._progress_bar.set_fraction(event.header["fraction"])

    def _set_busy(self, busy: bool) -> None:
        """Counts the jobs that buttons started; while there are any, the bar replaces the buttons."""
        self._jobs = self._jobs + 1 if busy else max(0, self._jobs - 1)
        busy = self._jobs > 0
        if busy:
            self._progress_bar.set_fraction(0)
            self._progress_bar.set_text(_("Working…"))
        self._button_or_bar.set_visible_child_name(_BAR if busy else _BUTTON)
        self._update_buttons()

    def _update_buttons(self) -> None:
        """Updates which buttons can be pressed."""
        for button in (self._quick_button, self._search_button, self._several_button):
            button.set_sensitive(not self._jobs and bool(self._chosen))
        self._fetch_button.set_sensitive(not self._jobs)
        # If there is no face for the setting, the run reports why.
        usable = bool(self._chosen) or not self._list_faces_of_setting()
        self._dialog.set_response_sensitive(Gtk.ResponseType.OK, usable)

    def _start_fetch(self) -> None:
        self._set_busy(True)
        self._background.submit(
            Request("models", {"fetch": True}, lambda _event: self._start_detection(), [], self._show_progress,
                    self._on_search_failed)
        )  # fmt: skip

    def _show_hello(self, hello: dict[str, Any]) -> None:
        self._hello = hello
        self._fill_prompts([_(preset) for preset in hello["presets"]])
        self._offer_priors(hello["missing_priors"])
        self._profile.set_text(describe_profile(hello))
        self._show_estimate()

    def _show_problem(self, problem: WorkerProblem) -> None:
        if problem.code != "cancelled":
            self._status.set_text(to_sentence(problem.message))

    @contextmanager
    def _problems_shown(self) -> Iterator[None]:
        """Shows an error in the status line; the dialog stays open."""
        try:
            yield
        except WorkerProblem as problem:
            self._show_problem(problem)

    def _show_estimate(self) -> None:
        if not self._hello:
            return
        sentences = [self._describe_run()] if self._detection else []
        if self._config.get_property(ALL_IMAGES):
            sentences.append(_count_other_images())
        sentences.append(_("Computes on {device}.").format(device=describe_device(self._hello)))
        self._status.set_text(" ".join(sentences))
        missing = [model for model in self._hello["models"]["missing"] if model["can_be_fetched"]]
        self._fetch_button.set_visible(bool(missing))
        if missing:
            size = format_megabytes(sum(model["size"] or 0 for model in missing))
            self._fetch_button.set_label(
                ngettext("Fetch {count} missing mo_del ({size})", "Fetch {count} missing mo_dels ({size})",
                         len(missing)).format(count=len(missing), size=size)
            )  # fmt: skip

    def _describe_run(self) -> str:
        if self._config.get_property("faces") == SELECTED and self._is_nothing_selected():
            return to_sentence(Message("nothing-selected"))
        count = len(self._chosen)
        if not self._list_usable_faces():
            return _("There is no face in it that can be protected.")
        text = ngettext("{} face will be protected.", "{} faces will be protected.", count).format(count)
        seconds = self._hello["seconds_per_face"].get(self._config.get_property("prior"))
        if seconds is None:
            return text + " " + _("How long it takes is known after the first run.")
        default_steps = self._hello["defaults"]["steps"]
        factor = (self._config.get_property("steps") or default_steps) / default_steps
        return text + " " + _("It takes about {}.").format(format_duration(seconds * factor * count))

    def _is_nothing_selected(self) -> bool:
        image = self._source.image
        return bool(image.is_valid() and Gimp.Selection.is_empty(image))

    def _find_pictures(self) -> list[Picture]:
        check_there(self._source)
        with as_shown(self._source.layer) as buffer:
            return [_load_strips(picture) for picture in run.read_detection_pictures(self._source, buffer)]

    def _make_choice(self) -> Choice:
        """The user's choice: apply the current search, or start a new one for the chosen faces."""
        faces = None if self._chosen == self._list_faces_of_setting() else sorted(self._chosen)
        current = self._current
        if current is None or current.quick or self._is_stale():
            return Choice(faces, None, "", self._detection)
        return Choice(faces, current.search, current.digest, current.detection)


def _show_usual(steps: Gtk.SpinButton) -> bool:
    """Shows 0 steps as "usual"; text that is not a number becomes 0 again."""
    if steps.get_value_as_int():
        return False
    steps.set_text(_("usual"))
    return True


def _count_other_images() -> str:
    """A sentence on how many images follow the one in front, the only one that the dialog shows."""
    others = len(Gimp.get_images()) - 1
    template = ngettext(
        "{} other open image follows, without a preview.", "{} other open images follow, without a preview.", others
    )
    return template.format(others) if others else _("No other image is open.")


def _hide_saved_settings(dialog: GimpUi.ProcedureDialog) -> None:
    """Hides GIMP's two buttons for one unnamed set of settings, which presets replace."""
    buttons = dialog.get_action_area()
    for child in dialog.get_content_area().get_children():
        if child is not buttons and not buttons.is_ancestor(child):
            child.hide()


def _load_strips(picture: Picture) -> Picture:
    picture.strips = list(picture.strips)
    return picture
