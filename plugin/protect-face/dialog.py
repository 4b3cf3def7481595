"""The dialog of Protect Face: settings, a preview to steer by eye, and a meter."""

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
from worker_client.report import name_left_out  # noqa: E402
from worker_client.settings import (  # noqa: E402
    ALL,
    AMOUNTS,
    LARGEST,
    LOCKS,
    MAKEUP,
    PRIORS,
    SELECTED,
    amounts_header,
    job_header,
    search_settings,
)
from worker_client.texts import _, device_name, duration, megabytes, ngettext, profile, sentence, stage  # noqa: E402

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
from run_settings import ALL_IMAGES, ANOTHER, SHAPE, STRONGER, RunSettings, grant, list_offers, read_config  # noqa: E402

_QUICK_STEPS = 12
_SEVERAL = 3
_GAP = 12
_SIZE = (940, 680)
_SHOWN = 900  # pixels of the reduced photo on its longer side
_LOCKS = tuple(name.replace("_", "-") for name, _part, _label in LOCKS)
_ASKED = ("prompt", "strength", "keep-expression", *_LOCKS, "mode", "prior", "steps", "seed")
_BUTTON, _BAR = "button", "bar"
_USUAL, _MORE = "usual", "more"


def ask(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, source: Source) -> Choice | None:
    """Shows the dialog; what the user chose there, or None when they cancelled. The settings are in ``config``."""
    GimpUi.init("protect-face")
    config.set_property(ALL_IMAGES, False)  # images that nobody thinks of now are left alone
    asked = ProtectDialog(procedure, config, source)
    wanted = asked.run()
    if wanted is not None:
        recent_prompts.add_prompt(config.get_property("prompt"))
    return wanted


class ProtectDialog:
    """Puts the parts together. GIMP is only called from here; the worker is asked in ``Background``."""

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
        self._background = Background(self._greet, self._show_problem)
        self._preview = preview.Preview(self._toggle_face, self._view_changed)
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
        for name in (*_ASKED, "faces", ALL_IMAGES):
            config.connect(f"notify::{name}", lambda *_: self._settings_changed())
        for name, _label, _blurb in AMOUNTS:
            config.connect(f"notify::{name}", lambda *_: self._refresh())

    def run(self) -> Choice | None:
        self._start_detection()
        wanted = bool(self._dialog.run())
        choice = self._choice() if wanted else None
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
        self._offer([])
        entry = prompt.get_child()
        entry.set_max_length(300)
        entry.set_width_chars(34)
        entry.set_activates_default(True)
        self._config.bind_property(
            "prompt", entry, "text", GObject.BindingFlags.BIDIRECTIONAL | GObject.BindingFlags.SYNC_CREATE
        )
        label.set_mnemonic_widget(prompt)
        top = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=4)
        line = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL)
        line.pack_start(label, True, True, 0)
        own = Gtk.Button(label=_("Prese_ts…"), use_underline=True)
        own.connect("clicked", lambda _button: self._show_presets())
        line.pack_start(own, False, False, 0)
        top.pack_start(line, False, False, 0)
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
        self._meter = Meter((STRONGER, ANOTHER, SHAPE), self._grant, narrow=True)
        box.pack_start(self._meter, False, False, 0)
        inside = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP)
        inside.pack_start(back, False, False, 0)
        inside.pack_start(build_locks(self._dialog), False, False, 0)
        steps = self._dialog.get_widget("steps", GObject.TYPE_NONE).get_spin_button()
        steps.set_numeric(False)  # else it takes no words
        steps.connect("output", _show_usual)
        inside.pack_start(
            self._dialog.fill_box("details", ["output", "mode", "prior", "steps", "seed"]), False, False, 0
        )
        self._missing = Gtk.Label(xalign=0, wrap=True, max_width_chars=44)
        inside.pack_start(self._missing, False, False, 0)
        self._profile = Gtk.Label(xalign=0, wrap=True, max_width_chars=44)
        inside.pack_start(self._profile, False, False, 0)
        # One in place of the other: together they would be too tall, and have more controls than there are letters.
        self._pages = Gtk.Stack(vhomogeneous=False)
        self._pages.add_named(box, _USUAL)
        self._pages.add_named(inside, _MORE)
        # What GIMP fills its boxes with would else take half of a wide window from the preview.
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
            view.connect("toggled", self._view_chosen, mode)
            view.set_sensitive(mode == preview.PHOTO)
            self._views[mode] = view
            views.pack_start(view, False, False, 0)
        looked_at = Gtk.Label(label=_("_View"), use_underline=True, mnemonic_widget=self._focus_row)
        self._focus_row.bind_property("visible", looked_at, "visible", GObject.BindingFlags.SYNC_CREATE)
        views.pack_end(self._focus_row, False, False, 0)
        views.pack_end(looked_at, False, False, 0)
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

    def _view_chosen(self, button: Gtk.RadioButton, mode: str) -> None:
        if button.get_active():
            self._preview.set_mode(mode)

    def _build_buttons(self) -> Gtk.Widget:
        buttons = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=6, homogeneous=True)
        self._button = Gtk.Button(label=_("_Quick preview"), use_underline=True)
        self._button.connect("clicked", lambda _button: self._start_search(quick=True))
        self._search = Gtk.Button(label=_("Search _in full"), use_underline=True)
        self._search.connect("clicked", lambda _button: self._start_search(quick=False))
        self._several = Gtk.Button(label=_("Try _3 looks"), use_underline=True)
        self._several.connect("clicked", lambda _button: self._start_several())
        for button in (self._button, self._search, self._several):
            button.set_sensitive(False)
            buttons.pack_start(button, True, True, 0)
        self._bar = Gtk.ProgressBar(show_text=True, text="", valign=Gtk.Align.CENTER)
        stop = Gtk.Button(label=_("Stop search_ing"), use_underline=True)
        stop.connect("clicked", lambda _button: self._background.cancel())
        working = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=6)
        working.pack_start(self._bar, True, True, 0)
        working.pack_start(stop, False, False, 0)
        # One in place of the other, so that the dialog keeps its size.
        self._button_or_bar = Gtk.Stack()
        self._button_or_bar.add_named(buttons, _BUTTON)
        self._button_or_bar.add_named(working, _BAR)
        return self._button_or_bar

    def _build_status_line(self) -> Gtk.Widget:
        box = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=_GAP)
        self._status = Gtk.Label(label=_("Asking the worker…"), xalign=0, wrap=True, max_width_chars=80)
        self._fetch = Gtk.Button(no_show_all=True, sensitive=False, use_underline=True)
        self._fetch.connect("clicked", lambda _button: self._start_fetch())
        box.pack_start(self._status, True, True, 0)
        box.pack_start(self._fetch, False, False, 0)
        box.show_all()
        return box

    def _offer(self, presets: list[str]) -> None:
        """Fills the list of prompts: those used last, then the worker's presets."""
        self._prompts.remove_all()
        for text in dict.fromkeys([*recent_prompts.list_prompts(), *presets]):
            self._prompts.append_text(text)

    def _offer_priors(self, missing: dict[str, dict[str, Any]]) -> None:
        """Takes those that can't be used out of reach; ``missing`` says why."""
        if self._config.get_property("prior") in missing:
            self._config.set_property("prior", MAKEUP)
        choice = Gimp.param_spec_choice_get_choice(self._config.find_property("prior"))
        for name, _label in PRIORS:
            choice.set_sensitive(name, name not in missing)
        self._missing.set_text("\n".join(sentence(why) for why in missing.values()))
        self._missing.set_visible(bool(missing))

    def _show_presets(self) -> None:
        """Lets the user take up settings that they saved, or save those of now."""
        now, picture = asdict(read_config(self._config)), self._strip.thumbnail(self._current)
        wanted = presets.PresetsDialog(self._dialog, presets.open_store(), now, picture).run() or {}
        choice = Gimp.param_spec_choice_get_choice(self._config.find_property("prior"))
        if not choice.is_valid(wanted.get("prior", MAKEUP)):
            # Its row says why it can't be used here.
            del wanted["prior"]
        for name, value in wanted.items():
            self._config.set_property(name.replace("_", "-"), value)

    # Faces

    def _start_detection(self) -> None:
        with self._problems_shown():
            pictures = self._find_pictures()
            header = {"full": self._source.area.size, "choose": ALL, "show": [_SHOWN, _SHOWN]}
            self._set_busy(True)
            self._background.reconnect()
            self._background.submit(Request("find", header, self._show_faces, pictures, failed=self._search_failed))

    def _show_faces(self, event: Event) -> None:
        self._set_busy(False)
        self._detection = event.header
        self._preview.show_photo(event.pictures[0], self._source.area.size, event.header["faces"])
        self._choose_by_setting()

    def _usable(self) -> list[dict[str, Any]]:
        return [face for face in self._detection.get("faces", []) if not face["skipped"] and face["selected"] > 0]

    def _choose_by_setting(self) -> None:
        """Chooses the faces that the setting names; boxes that are pressed change that."""
        self._chosen = self._named_by_setting()
        self._chosen_changed()

    def _named_by_setting(self) -> set[int]:
        choice, usable = self._config.get_property("faces"), self._usable()
        if choice == LARGEST:
            usable = usable[:1]
        if choice == SELECTED:
            usable = [] if self._nothing_selected() else [face for face in usable if face["selected"] >= 0.5]
        return {face["number"] for face in usable}

    def _toggle_face(self, number: int) -> None:
        self._chosen ^= {number}
        self._chosen_changed()

    def _chosen_changed(self) -> None:
        self._preview.choose(set(self._chosen))
        numbers = sorted(self._chosen)
        kept = self._focus_row.get_active_id()
        self._focus_row.remove_all()
        for number in numbers:
            self._focus_row.append(str(number), _("Face {}").format(number))
        if kept is None or not self._focus_row.set_active_id(kept):
            self._focus_row.set_active(0)
        self._focus_row.set_visible(len(numbers) > 1)
        self._allow()
        self._settings_changed()

    def _focused(self) -> dict[str, Any] | None:
        name = self._focus_row.get_active_id()
        return next((face for face in self._usable() if str(face["number"]) == name), None)

    def _focus(self) -> None:
        """Shows the face that is named in the row, as far as the current search has it."""
        face = self._focused()
        if face is None or self._current is None or face["number"] not in self._current.faces:
            return
        regions = self._current.detection["regions"]
        region = next((r for r in regions if face["number"] in r["faces"]), None)
        if region is not None:
            self._preview.focus_on(face, (region["x"], region["y"], region["width"], region["height"]))
            self._view_changed()

    # Searches

    def _start_several(self) -> None:
        seed = self._config.get_property("seed")
        for number in range(1, _SEVERAL + 1):
            self._start_search(quick=True, seed=seed + number)

    def _start_search(self, quick: bool, seed: int | None = None) -> None:
        """Searches with the settings: quickly for the face that is shown, or in full for all that are chosen."""
        focused = self._focused()
        if focused is None:
            return
        settings = read_config(self._config)
        if seed is not None:
            settings = replace(settings, seed=seed)
        numbers = {focused["number"]} if quick else self._chosen
        regions = [region for region in self._detection["regions"] if numbers & set(region["faces"])]
        detection = self._detection | {"chosen": sorted(numbers), "regions": regions}
        with self._problems_shown():
            self._search_faces(settings, quick, detection)

    def _search_faces(self, settings: RunSettings, quick: bool, detection: dict[str, Any]) -> None:
        check_there(self._source)
        self._set_busy(True)
        reader = LayerReader(self._source, run.get_rects(detection), self._background.ask)
        self._readers.append(reader)
        header = job_header(asdict(settings))
        header |= {"faces": get_chosen_faces(detection), "full": self._source.area.size}
        if quick:
            header["steps"] = _QUICK_STEPS

        def failed(problem: WorkerProblem) -> None:
            reader.close()
            self._search_failed(problem)

        def finished(event: Event) -> None:
            reader.close()
            candidate = Candidate(
                event.header["search"],
                search_settings(asdict(settings)),
                frozenset(detection["chosen"]),
                quick,
                reader.digest,
                detection,
                event.header,
            )
            self._finished(candidate)

        self._background.submit(Request("search", header, finished, reader.pictures, self._show_progress, failed))

    def _finished(self, candidate: Candidate) -> None:
        self._background.keep(candidate.search)
        region = candidate.detection["regions"][0]
        face = next(face for face in candidate.detection["faces"] if face["number"] in candidate.faces)
        x0, y0, x1, y1 = face["box"]
        around = Rect(round(x0), round(y0), round(x1 - x0), round(y1 - y0))
        area = around.within(Rect(region["x"], region["y"], region["width"], region["height"]))
        header = {"search": candidate.search, "area": list(astuple(area)), "size": [2 * 72, 2 * 72]}

        def thumbnail(event: Event) -> None:
            self._set_busy(False)
            self._strip.add_candidate(candidate, preview.to_pixbuf(event.pictures[-1]))
            self._pick(candidate)

        self._background.submit(Request(RENDER, header, thumbnail, failed=self._search_failed))

    def _search_failed(self, _problem: WorkerProblem) -> None:
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
        self._refresh()

    def _discard(self, candidate: Candidate) -> None:
        """Forgets a candidate; where it is the one that is shown, the next one is, or the photo."""
        following = self._strip.discard(candidate)
        self._background.drop(candidate.search)
        if candidate is not self._current:
            self._refresh()
        elif following is not None:
            self._pick(following)
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

    def _grant(self, wish: str) -> None:
        """Does what a button below a poor verdict offers."""
        quick = self._current is None or self._current.quick
        granted = grant(read_config(self._config), wish)
        for name in ("strength", "seed", "shape"):
            self._config.set_property(name, getattr(granted, name))
        if wish != SHAPE:
            self._start_search(quick)

    # What is shown

    def _amounts_now(self) -> dict[str, Any]:
        return amounts_header(asdict(read_config(self._config)))

    def _view_changed(self) -> None:
        """Draws the part that is looked at now."""
        wanted = self._preview.wanted()
        if self._current is None or wanted is None:
            return
        area, size = wanted
        header = {"search": self._current.search, "area": list(area), "size": list(size)} | self._amounts_now()
        self._background.follow(Request(RENDER, header, self._show_pair, failed=self._search_lost))

    def _refresh(self) -> None:
        """Draws and measures the current search by the amounts of the sliders."""
        if self._current is None:
            return
        self._view_changed()
        self._meter.wait()
        header = {"search": self._current.search} | self._amounts_now()
        self._background.follow(Request(MEASURE, header, self._show_figures, failed=self._search_lost))
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

    def _search_lost(self, problem: WorkerProblem) -> None:
        if problem.code == "search-gone":
            self._current = None
            self._show_notes()

    def _settings_changed(self) -> None:
        self._meter.offer(list_offers(read_config(self._config)))
        self._show_estimate()
        self._show_notes()

    def _is_stale(self) -> bool:
        return self._current is not None and not self._current.fits(
            search_settings(asdict(read_config(self._config))), frozenset(self._chosen)
        )

    def _show_notes(self) -> None:
        """What there is to say of the picture."""
        notes: list[str] = []
        if self._current is not None:
            if self._is_stale():
                notes.append(_("The settings have changed since: this shows the earlier ones."))
            elif self._current.quick:
                notes.append(_("Found in a few steps: Protect searches in full, and applies as much of it."))
            else:
                notes.append(_("Protect inserts exactly this."))
            notes += [sentence(warning) for warning in self._current.figures.get("warnings", [])]
        skipped = [face for face in self._detection.get("faces", []) if face["skipped"] and face["selected"] > 0]
        self._notes.set_text("\n".join(notes + name_left_out(skipped)))

    def _show_progress(self, event: Event) -> None:
        if event.kind in ("queued", "progress"):
            self._bar.set_text(stage(event.header))
        if event.kind == "progress":
            self._bar.set_fraction(event.header["fraction"])

    def _set_busy(self, busy: bool) -> None:
        """Counts the jobs that buttons started; the bar is in the place of the buttons while there are any."""
        self._jobs = self._jobs + 1 if busy else max(0, self._jobs - 1)
        busy = self._jobs > 0
        if busy:
            self._bar.set_fraction(0)
            self._bar.set_text(_("Working…"))
        self._button_or_bar.set_visible_child_name(_BAR if busy else _BUTTON)
        self._allow()

    def _allow(self) -> None:
        """Whether the buttons that ask the worker can be pressed."""
        for button in (self._button, self._search, self._several):
            button.set_sensitive(not self._jobs and bool(self._chosen))
        self._fetch.set_sensitive(not self._jobs)
        # Where the setting names no face, the run says why.
        named = bool(self._chosen) or not self._named_by_setting()
        self._dialog.set_response_sensitive(Gtk.ResponseType.OK, named)

    def _start_fetch(self) -> None:
        self._set_busy(True)
        self._background.submit(
            Request("models", {"fetch": True}, lambda _event: self._start_detection(), [], self._show_progress,
                    self._search_failed)
        )  # fmt: skip

    def _greet(self, hello: dict[str, Any]) -> None:
        self._hello = hello
        self._offer([_(preset) for preset in hello["presets"]])
        self._offer_priors(hello["missing_priors"])
        self._profile.set_text(profile(hello))
        self._show_estimate()

    def _show_problem(self, problem: WorkerProblem) -> None:
        if problem.code != "cancelled":
            self._status.set_text(sentence(problem.message))

    @contextmanager
    def _problems_shown(self) -> Iterator[None]:
        """Shows what goes wrong in the line; the dialog goes on."""
        try:
            yield
        except WorkerProblem as problem:
            self._show_problem(problem)

    def _show_estimate(self) -> None:
        if not self._hello:
            return
        words = [self._faces_and_time()] if self._detection else []
        if self._config.get_property(ALL_IMAGES):
            words.append(_count_other_images())
        words.append(_("Computes on {device}.").format(device=device_name(self._hello)))
        self._status.set_text(" ".join(words))
        missing = [model for model in self._hello["models"]["missing"] if model["can_be_fetched"]]
        self._fetch.set_visible(bool(missing))
        if missing:
            size = megabytes(sum(model["size"] or 0 for model in missing))
            self._fetch.set_label(
                ngettext("Fetch {count} missing mo_del ({size})", "Fetch {count} missing mo_dels ({size})",
                         len(missing)).format(count=len(missing), size=size)
            )  # fmt: skip

    def _faces_and_time(self) -> str:
        if self._config.get_property("faces") == SELECTED and self._nothing_selected():
            return sentence(Message("nothing-selected"))
        count = len(self._chosen)
        if not self._usable():
            return _("There is no face in it that can be protected.")
        words = ngettext("{} face will be protected.", "{} faces will be protected.", count).format(count)
        seconds = self._hello["seconds_per_face"].get(self._config.get_property("prior"))
        if seconds is None:
            return words + " " + _("How long it takes is known after the first run.")
        usual = self._hello["defaults"]["steps"]
        longer = (self._config.get_property("steps") or usual) / usual
        return words + " " + _("It takes about {}.").format(duration(seconds * longer * count))

    def _nothing_selected(self) -> bool:
        image = self._source.image
        return bool(image.is_valid() and Gimp.Selection.is_empty(image))

    def _find_pictures(self) -> list[Picture]:
        check_there(self._source)
        with as_shown(self._source.layer) as buffer:
            return [_in_memory(picture) for picture in run.read_detection_pictures(self._source, buffer)]

    def _choice(self) -> Choice:
        """What the user wants done: the current search applied, or a new one for the faces that are chosen."""
        faces = None if self._chosen == self._named_by_setting() else sorted(self._chosen)
        current = self._current
        if current is None or current.quick or self._is_stale():
            return Choice(faces, None, "", self._detection)
        return Choice(faces, current.search, current.digest, current.detection)


def _show_usual(steps: Gtk.SpinButton) -> bool:
    """Shows 0 steps as what they mean; what is typed that is no number is 0 again."""
    if steps.get_value_as_int():
        return False
    steps.set_text(_("usual"))
    return True


def _count_other_images() -> str:
    """How many images come after the one in front, of which alone the dialog shows anything."""
    others = len(Gimp.get_images()) - 1
    words = ngettext(
        "{} other open image follows, without a preview.", "{} other open images follow, without a preview.", others
    )
    return words.format(others) if others else _("No other image is open.")


def _hide_saved_settings(dialog: GimpUi.ProcedureDialog) -> None:
    """Hides GIMP's two buttons that keep one set of settings without a name: presets are in their place."""
    below = dialog.get_action_area()
    for part in dialog.get_content_area().get_children():
        if part is not below and not below.is_ancestor(part):
            part.hide()


def _in_memory(picture: Picture) -> Picture:
    picture.strips = list(picture.strips)
    return picture
