"""The dialog of Protect Face: settings, a line that says what will do the work and how long, and a quick preview."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import GdkPixbuf, Gimp, GimpUi, GLib, GObject, Gtk  # noqa: E402
from worker_client import Event, Picture, Worker, WorkerProblem  # noqa: E402
from worker_client.faces import get_chosen_faces  # noqa: E402
from worker_client.messages import Message  # noqa: E402
from worker_client.settings import ALL, LARGEST, MAKEUP, PRIORS, SELECTED, job_header  # noqa: E402
from worker_client.texts import _, device_name, duration, megabytes, ngettext, sentence, stage  # noqa: E402

import recent_prompts  # noqa: E402
import run  # noqa: E402
from layers import Source, as_shown, check_there  # noqa: E402
from run_settings import read_config  # noqa: E402

_PREVIEW_SIDE = 256
_PREVIEW_STEPS = 12
_GAP = 12
# A reduced copy above this many bytes is not read just to count faces while the dialog is open.
_FIND_LIMIT = 64 << 20


def ask(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, source: Source) -> bool:
    """Shows the dialog; True when the user wants the run, with the settings in ``config``."""
    GimpUi.init("protect-face")
    asked = _ProtectDialog(procedure, config, source)
    wanted = asked.run()
    if wanted:
        recent_prompts.add_prompt(config.get_property("prompt"))
    return wanted


def tell_result(words: str) -> None:
    """Says what came of a run."""
    GimpUi.init("protect-face")
    dialog = Gtk.MessageDialog(
        title=_("Protect Face"), message_type=Gtk.MessageType.INFO, buttons=Gtk.ButtonsType.CLOSE, text=_("Protected")
    )
    dialog.format_secondary_text(words)
    dialog.run()
    dialog.destroy()


class _ProtectDialog:
    """Talks to the worker in threads, on connections of its own, which end with it. GIMP is only called from here."""

    def __init__(self, procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, source: Source) -> None:
        self._config = config
        self._source = source
        self._worker: Worker | None = None
        self._detection: dict[str, Any] = {}
        self._closed = False
        self._dialog = GimpUi.ProcedureDialog.new(procedure, config, _("Protect Face"))
        self._dialog.set_ok_label(_("_Protect"))
        columns = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=2 * _GAP)
        columns.pack_start(self._build_settings(), True, True, 0)
        columns.pack_start(self._build_preview(), False, False, 0)
        area = self._dialog.get_content_area()
        area.set_spacing(_GAP)
        area.pack_start(columns, True, True, 0)
        area.pack_start(self._build_status_line(), False, False, 0)
        columns.show_all()
        for name in ("faces", "prior", "steps"):
            config.connect(f"notify::{name}", lambda *_: self._show_estimate())

    def run(self) -> bool:
        self._start_detection()
        wanted = bool(self._dialog.run())
        self._closed = True
        if self._worker is not None:
            self._worker.close()
        self._dialog.destroy()
        return wanted

    # Widgets

    def _build_settings(self) -> Gtk.Widget:
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP)
        label = Gtk.Label(label=_("Ma_keup style"), use_underline=True, xalign=0)
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
        top.pack_start(label, False, False, 0)
        top.pack_start(prompt, False, False, 0)
        box.pack_start(top, False, False, 0)
        self._dialog.get_scale_entry("strength", 1.0)
        box.pack_start(
            self._dialog.fill_box("main", ["strength", "keep-expression", "faces", "output"]), False, False, 0
        )
        more = Gtk.Expander(label=_("_More"), use_underline=True)
        details = self._dialog.fill_box("details", ["mode", "prior", "steps", "seed"])
        self._missing = Gtk.Label(xalign=0, wrap=True, max_width_chars=44, no_show_all=True)
        inside = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6, margin_top=6, margin_start=_GAP)
        inside.pack_start(details, False, False, 0)
        inside.pack_start(self._missing, False, False, 0)
        more.add(inside)
        box.pack_start(more, False, False, 0)
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

    def _build_preview(self) -> Gtk.Widget:
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        pair = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=6)
        self._images = []
        for caption in (_("Before"), _("After, roughly")):
            column = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=4)
            image = Gtk.Image.new_from_pixbuf(_empty_pixbuf())
            column.pack_start(image, False, False, 0)
            column.pack_start(Gtk.Label(label=caption), False, False, 0)
            pair.pack_start(column, False, False, 0)
            self._images.append(image)
        box.pack_start(pair, False, False, 0)
        self._button = Gtk.Button(label=_("Pre_view the largest face"), use_underline=True, sensitive=False)
        self._button.connect("clicked", lambda _button: self._start_preview())
        self._bar = Gtk.ProgressBar(show_text=True, text="", valign=Gtk.Align.CENTER)
        # One in place of the other, so that the dialog keeps its size.
        self._button_or_bar = Gtk.Stack()
        self._button_or_bar.add_named(self._button, "button")
        self._button_or_bar.add_named(self._bar, "bar")
        box.pack_start(self._button_or_bar, False, False, 0)
        return box

    def _build_status_line(self) -> Gtk.Widget:
        box = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=_GAP)
        self._status = Gtk.Label(label=_("Asking the worker…"), xalign=0, wrap=True, max_width_chars=80)
        self._fetch = Gtk.Button(no_show_all=True, sensitive=False)
        self._fetch.connect("clicked", lambda _button: self._start_fetch())
        box.pack_start(self._status, True, True, 0)
        box.pack_start(self._fetch, False, False, 0)
        box.show_all()
        return box

    # In the background

    def _connect_and_detect(self, pictures: list[Picture]) -> None:
        """Connects, tells what the worker is, and counts the faces."""
        if self._worker is not None:
            self._worker.close()
        worker = self._worker = run.connect()
        if self._closed:  # too early for ``run`` to close it
            worker.close()
            return
        self._call_in_main_thread(self._offer, worker.hello["presets"])
        self._call_in_main_thread(self._offer_priors, worker.hello["missing_priors"])
        self._call_in_main_thread(self._show_estimate)
        if pictures:
            header = {"full": self._source.area.size, "choose": "largest"}
            self._detection = worker.submit("find", header, pictures).result(lambda _event: None).header
            self._call_in_main_thread(self._show_estimate)

    def _start_preview(self) -> None:
        source = self._source
        with self._problems_shown():
            check_there(source)
            # Read here, because only this thread may call GIMP.
            with as_shown(source.layer) as buffer:
                pictures = [
                    _in_memory(run.read_photo(buffer, source.form, rect)) for rect in run.get_rects(self._detection)
                ]
            header = job_header(asdict(read_config(self._config)))
            header |= {"faces": get_chosen_faces(self._detection), "steps": _PREVIEW_STEPS, "full": source.area.size}
            header["output"] = "single"
            self._work_on("preview", header, pictures, self._show_preview)

    def _start_fetch(self) -> None:
        self._work_on("models", {"fetch": True}, [], lambda _event: self._start_detection())

    def _start_detection(self) -> None:
        with self._problems_shown():
            pictures = self._find_pictures()
            self._allow(False)

            def look() -> None:
                try:
                    self._connect_and_detect(pictures)
                finally:
                    self._call_in_main_thread(self._allow, True)

            self._in_background(look)

    def _allow(self, allowed: bool) -> None:
        """Whether the buttons that ask the worker can be pressed; it does one job at a time for each connection."""
        self._button.set_sensitive(allowed and bool(self._detection.get("chosen")))
        self._fetch.set_sensitive(allowed)

    def _work_on(
        self, kind: str, header: dict[str, Any], pictures: list[Picture], done: Callable[[Event], object]
    ) -> None:
        """Runs a job that a button started, with the bar in the place of the buttons."""
        worker = self._worker
        if worker is None:
            return
        self._allow(False)
        self._bar.set_fraction(0)
        self._bar.set_text(_("Working…"))
        self._button_or_bar.set_visible_child_name("bar")

        def work() -> None:
            try:
                event = worker.submit(kind, header, pictures).result(
                    lambda e: self._call_in_main_thread(self._show_progress, e)
                )
            finally:
                self._call_in_main_thread(self._button_or_bar.set_visible_child_name, "button")
                self._call_in_main_thread(self._allow, True)
            self._call_in_main_thread(done, event)

        self._in_background(work)

    def _in_background(self, work: Callable[[], None]) -> None:
        def safely() -> None:
            with self._problems_shown():
                work()

        threading.Thread(target=safely, daemon=True).start()

    @contextmanager
    def _problems_shown(self) -> Iterator[None]:
        """Shows what goes wrong in the line; the dialog goes on."""
        try:
            yield
        except WorkerProblem as problem:
            self._call_in_main_thread(self._status.set_text, sentence(problem.message))

    def _call_in_main_thread(self, call: Callable[..., object], *arguments: Any) -> None:
        """Calls in GIMP's thread, unless the dialog has been closed meanwhile."""

        def now() -> bool:
            if not self._closed:
                call(*arguments)
            return False

        GLib.idle_add(now)

    # What comes of it

    def _show_progress(self, event: Event) -> None:
        if event.kind in ("queued", "progress"):
            self._bar.set_text(stage(event.header))
        if event.kind == "progress":
            self._bar.set_fraction(event.header["fraction"])

    def _show_preview(self, event: Event) -> None:
        by_name = {picture.name: picture for picture in event.pictures}
        for image, name in zip(self._images, ("before", "after"), strict=True):
            image.set_from_pixbuf(_pixbuf(by_name[name]))

    def _show_estimate(self) -> None:
        if self._worker is None:
            return
        hello = self._worker.hello
        words = [self._faces_and_time(hello)] if self._detection else []
        missing = [model for model in hello["models"]["missing"] if model["can_be_fetched"]]
        about = _("Worker {version} on {device}; models: {models}.")
        models = ", ".join(hello["models"]["present"])
        device = device_name(hello)
        words.append(about.format(version=hello["version"], device=device, models=models))
        self._status.set_text("\n".join(words))
        self._fetch.set_visible(bool(missing))
        if missing:
            size = megabytes(sum(model["size"] or 0 for model in missing))
            self._fetch.set_label(
                ngettext("Fetch {count} missing model ({size})", "Fetch {count} missing models ({size})",
                         len(missing)).format(count=len(missing), size=size)
            )  # fmt: skip

    def _faces_and_time(self, hello: dict[str, Any]) -> str:
        usable = [face for face in self._detection["faces"] if not face["skipped"] and face["selected"] > 0]
        choice = self._config.get_property("faces")
        image = self._source.image
        if choice == SELECTED and image.is_valid() and Gimp.Selection.is_empty(image):
            return sentence(Message("nothing-selected"))
        count = {
            ALL: len(usable),
            LARGEST: min(1, len(usable)),
            SELECTED: sum(face["selected"] >= 0.5 for face in usable),
        }[choice]
        words = ngettext("{} face will be protected.", "{} faces will be protected.", count).format(count)
        if not count:
            return _("There is no face in it that can be protected.")
        seconds = hello["seconds_per_face"].get(self._config.get_property("prior"))
        if seconds is None:
            return words + " " + _("How long it takes is known after the first run.")
        usual = hello["defaults"]["steps"]
        longer = (self._config.get_property("steps") or usual) / usual
        return words + " " + _("It takes about {}.").format(duration(seconds * longer * count))

    def _find_pictures(self) -> list[Picture]:
        check_there(self._source)
        with as_shown(self._source.layer) as buffer:
            pictures = run.read_detection_pictures(self._source, buffer)
            if sum(picture.size for picture in pictures) > _FIND_LIMIT:
                return []
            return [_in_memory(picture) for picture in pictures]


def _in_memory(picture: Picture) -> Picture:
    picture.strips = list(picture.strips)
    return picture


def _empty_pixbuf() -> GdkPixbuf.Pixbuf:
    pixbuf = GdkPixbuf.Pixbuf.new(GdkPixbuf.Colorspace.RGB, True, 8, _PREVIEW_SIDE, _PREVIEW_SIDE)
    pixbuf.fill(0x80808030)
    return pixbuf


def _pixbuf(picture: Picture) -> GdkPixbuf.Pixbuf:
    data = GLib.Bytes.new(b"".join(picture.strips))
    width, height = picture.width, picture.height
    return GdkPixbuf.Pixbuf.new_from_bytes(data, GdkPixbuf.Colorspace.RGB, False, 8, width, height, 3 * width)
