"""What a batch has to do: the photos that are not done, and earlier results that serve."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from c2p_core.api import AUTO, DEFAULT_CLIP, PRIORS
from c2p_core.batch.engine import Reuse
from c2p_core.batch.journal import Known
from c2p_core.batch.layout import Item
from c2p_core.batch.result_readers import ResultReader

# Options that say where and for whom is computed, not what comes out.
_WITHOUT_EFFECT = ("device",)


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        pending: photos to protect.
        done: how many results are in their places.
        without_face: how many photos were found to have no face that can be protected.
        changed: places of results that somebody has changed since; they stay.
    """

    pending: list[Item] = field(default_factory=list)
    done: int = 0
    without_face: int = 0
    changed: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Of the photos to protect, as far as known."""
        return sum(max(0, item.size) for item in self.pending)


def settings_digest(
    options: Mapping[str, Any], strip_personal: bool, looks: Mapping[str, Any] | None = None, mark: bool = True
) -> str:
    """A digest of all settings that affect the result.

    Args:
        options: fields of the request, its references as photos.
        strip_personal: whether personal metadata are removed.
        looks: what single faces get, see ``engine.Looks.settings``.
        mark: whether the metadata say how the picture was edited.
    """
    said = {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT}
    if said.get("profile", "embedded") == "embedded":
        # As before there were profiles, so that results of then still serve.
        said.pop("profile", None)
        usual = {"prior": PRIORS[0], "clip": DEFAULT_CLIP}
        said |= {name: model for name, model in usual.items() if said.get(name, AUTO) == AUTO}
    said["references"] = [hashlib.sha256(photo.pixels.tobytes()).hexdigest() for photo in options.get("references", ())]
    all_settings = {"options": said, "strip_personal": strip_personal, "looks": looks, "mark": mark}
    told = json.dumps(all_settings, sort_keys=True, default=_plain)
    return hashlib.sha256(told.encode()).hexdigest()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


class Results:
    """The results that there are for photos with certain settings, by what the journal and the disk say.

    ``find`` may be called from any thread.
    """

    def __init__(self, reader: ResultReader, known: Iterable[Known], settings: Callable[[str], str]) -> None:
        """``settings`` is the digest of the settings for a photo, by its path."""
        self._reader = reader
        self._settings = settings
        self._by_place: dict[tuple[str, str], Known] = {}
        self._by_source: dict[tuple[str, str], Known] = {}
        self._by_digest: defaultdict[tuple[str, str], list[Known]] = defaultdict(list)
        for one in known:
            self.add(one)

    def add(self, known: Known) -> None:
        """Take in another result."""
        self._by_place[known.settings, known.place] = known
        self._by_source[known.settings, known.source] = known
        self._by_digest[known.settings, known.digest].append(known)

    def plan(self, items: Iterable[Item]) -> Plan:
        """Sort out what is done, without reading the photos: those of unchanged size and time are the same."""
        plan = Plan()
        for item in items:
            known = self._find_unchanged(item)
            condition = "gone" if known is None else self._look(known)
            if known is not None and known.state == "without-face":
                plan.without_face += 1
            elif known is None or condition == "gone":
                plan.pending.append(item)
            else:
                plan.done += 1
                if condition == "changed":
                    plan.changed.append(known.target or "")
        return plan

    def _find_unchanged(self, item: Item) -> Known | None:
        settings = self._settings(item.path)
        for known in (self._by_source.get((settings, item.path)), self._by_place.get((settings, item.place))):
            if known and item.size >= 0 and (known.size, known.mtime_ns) == (item.size, item.mtime_ns):
                return known
        return None

    def find(self, item: Item, digest: str) -> Reuse | None:
        """An earlier result of a photo of this content: its own, or that of another with the same ending."""
        alike = self._by_digest.get((self._settings(item.path), digest), [])
        for known in alike:
            own = item.place == known.place or item.path == known.source
            if own and (known.state == "without-face" or self._look(known) != "gone"):
                return Reuse(known.number)
        for known in alike:
            if known.state == "without-face":
                return Reuse(known.number)
            if os.path.splitext(known.place)[1] == os.path.splitext(item.place)[1]:
                data = self._read(known)
                if data is not None:
                    return Reuse(known.number, data)
        return None

    def _look(self, known: Known) -> str:
        """Whether a result is "there", "changed" by somebody, or "gone"."""
        stamp = self._reader.stat(known.target or "")
        if stamp is None:
            return "gone"
        if stamp == (known.result_size, known.result_mtime_ns):
            return "there"
        return "there" if self._read(known) is not None else "changed"

    def _read(self, known: Known) -> bytes | None:
        """The file of a result, unless it was changed; one of another size is not fetched."""
        stamp = self._reader.stat(known.target or "")
        if stamp is None or stamp[0] != known.result_size:
            return None
        data = self._reader.read(known.target or "")
        return data if data is not None and hashlib.sha256(data).hexdigest() == known.result_digest else None
