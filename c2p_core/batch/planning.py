"""Plans a batch: finds the photos that are not done, and earlier results that can be used."""

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
from c2p_core.batch.journal import KnownResult
from c2p_core.batch.layout import Item
from c2p_core.batch.result_readers import ResultReader

# Options that don't affect the result.
_WITHOUT_EFFECT = ("device",)


@dataclass
class Plan:
    """The plan of a batch.

    Attributes:
        pending: photos to protect.
        done: number of results in their places.
        without_face: number of photos known to have no face that can be protected.
        changed: places of results that somebody has changed since; they are kept.
    """

    pending: list[Item] = field(default_factory=list)
    done: int = 0
    without_face: int = 0
    changed: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Total size of the photos to protect, as far as known."""
        return sum(max(0, item.size) for item in self.pending)


def hash_settings(
    options: Mapping[str, Any], strip_personal: bool, looks: Mapping[str, Any] | None = None, mark: bool = True
) -> str:
    """A digest of all settings that affect the result.

    Args:
        options: fields of the request, with the references as photos.
        strip_personal: whether personal metadata are removed.
        looks: looks of single faces, see ``engine.Looks.settings_for``.
        mark: whether the metadata say how the picture was edited.
    """
    effective = {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT}
    if effective.get("profile", "embedded") == "embedded":
        # As before there were profiles, so that results from then can still be used.
        effective.pop("profile", None)
        defaults = {"prior": PRIORS[0], "clip": DEFAULT_CLIP}
        effective |= {name: model for name, model in defaults.items() if effective.get(name, AUTO) == AUTO}
    effective["references"] = [
        hashlib.sha256(photo.pixels.tobytes()).hexdigest() for photo in options.get("references", ())
    ]
    all_settings = {"options": effective, "strip_personal": strip_personal, "looks": looks, "mark": mark}
    text = json.dumps(all_settings, sort_keys=True, default=_to_json_value)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json_value(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


class Results:
    """The existing results for photos with certain settings, according to the journal and the disk.

    ``find`` may be called from any thread.
    """

    def __init__(
        self, reader: ResultReader, known: Iterable[KnownResult], digest_settings: Callable[[str], str]
    ) -> None:
        """``digest_settings`` gives the digest of the settings for the photo at a path."""
        self._reader = reader
        self._digest_settings = digest_settings
        self._by_place: dict[tuple[str, str], KnownResult] = {}
        self._by_source: dict[tuple[str, str], KnownResult] = {}
        self._by_digest: defaultdict[tuple[str, str], list[KnownResult]] = defaultdict(list)
        for result in known:
            self.add(result)

    def add(self, result: KnownResult) -> None:
        """Add another result."""
        self._by_place[result.settings, result.place] = result
        self._by_source[result.settings, result.source] = result
        self._by_digest[result.settings, result.digest].append(result)

    def plan(self, items: Iterable[Item]) -> Plan:
        """Find what is done without reading the photos: those of unchanged size and time are the same."""
        plan = Plan()
        for item in items:
            result = self._find_unchanged(item)
            condition = "gone" if result is None else self._check_condition(result)
            if result is not None and result.state == "without-face":
                plan.without_face += 1
            elif result is None or condition == "gone":
                plan.pending.append(item)
            else:
                plan.done += 1
                if condition == "changed":
                    plan.changed.append(result.target or "")
        return plan

    def _find_unchanged(self, item: Item) -> KnownResult | None:
        settings = self._digest_settings(item.path)
        for result in (self._by_source.get((settings, item.path)), self._by_place.get((settings, item.place))):
            if result and item.size >= 0 and (result.size, result.mtime_ns) == (item.size, item.mtime_ns):
                return result
        return None

    def find(self, item: Item, digest: str) -> Reuse | None:
        """Find an earlier result for a photo of this content: its own, or that of a copy with the same ending."""
        same_content = self._by_digest.get((self._digest_settings(item.path), digest), [])
        for result in same_content:
            is_own = item.place == result.place or item.path == result.source
            if is_own and (result.state == "without-face" or self._check_condition(result) != "gone"):
                return Reuse(result.number)
        for result in same_content:
            if result.state == "without-face":
                return Reuse(result.number)
            if os.path.splitext(result.place)[1] == os.path.splitext(item.place)[1]:
                data = self._read_unchanged(result)
                if data is not None:
                    return Reuse(result.number, data)
        return None

    def _check_condition(self, result: KnownResult) -> str:
        """Whether a result is "there", "changed" by somebody, or "gone"."""
        stamp = self._reader.stat(result.target or "")
        if stamp is None:
            return "gone"
        if stamp == (result.result_size, result.result_mtime_ns):
            return "there"
        return "there" if self._read_unchanged(result) is not None else "changed"

    def _read_unchanged(self, result: KnownResult) -> bytes | None:
        """The file of a result, None if it was changed; it is only fetched if the size matches."""
        stamp = self._reader.stat(result.target or "")
        if stamp is None or stamp[0] != result.result_size:
            return None
        data = self._reader.read(result.target or "")
        return data if data is not None and hashlib.sha256(data).hexdigest() == result.result_digest else None
