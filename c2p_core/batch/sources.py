"""Finds the photos of a batch: in folders, by patterns, in lists. Only names count here, not contents."""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from c2p_core.batch.object_sources import expand_url, find_common_url, list_url
from c2p_core.batch.objects import Stamp
from c2p_core.batch.urls import check_url, is_file_url, is_inside, is_url, join_url, parse_location
from c2p_core.errors import BadRequest, Message, UnreadableImage
from c2p_core.io.raw_file import has_raw_ending

ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif", ".hif"}
)
"""Endings of the files that are taken from folders; a file given by name may have any ending except camera raw."""
STATE_FOLDER = ".c2p"
"""Marks a folder of results, which are not protected once more."""
PAGE, TABLE, REPORT_FOLDER = "report.html", "report.csv", "report"
"""The report on a folder of results, in it, and the report's pictures and further pages."""
# Folders that systems and NAS devices use for themselves.
_SYSTEM_FOLDERS = frozenset({"@eadir", "$recycle.bin", "system volume information", "lost+found", "__macosx"})


@dataclass(frozen=True, slots=True)
class Source:
    """A file to protect.

    Attributes:
        path: absolute.
        size, mtime_ns: when it was listed; -1 if unknown.
    """

    path: str
    size: int = -1
    mtime_ns: int = -1


@dataclass
class Sources:
    """The photos that were found.

    Attributes:
        base: the folder to which the places of results are relative; empty if the photos share no folder.
        files: in the order of the arguments, those of a folder by name.
        left_out: how many files were left out, by ending; ``raw`` of them are camera raw.
        unreadable: folders that could not be listed, and why.
        results: folders of results of other batches, which were left out.
    """

    base: str = ""
    files: list[Source] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[Message] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    @property
    def raw(self) -> int:
        return sum(number for ending, number in self.left_out.items() if has_raw_ending(f"photo{ending}"))


def find_sources(arguments: Sequence[str], destination: Path | str, read_input: Callable[[], bytes]) -> Sources:
    """Find the photos that the arguments name.

    Args:
        arguments: files, folders, patterns, lists (``@FILE``), or ``-`` for a list on standard input. Lists have a
            name per line, or names that end with a zero byte. An existing file is never taken for a pattern or a list.
            URLs of stores and of files can be used like paths.
        destination: folder of the results, or its URL, which is left out if it lies in a source.
        read_input: reads standard input.

    Raises:
        BadRequest: nothing was found, or only camera raw; the results would end up among the photos; a list can't be
            read; the store of a URL can't be used.
    """
    # Links in these names are not resolved.
    names = [name if is_url(name) else os.path.abspath(name) for name in _expand(arguments, read_input)]
    objects_by_url = {name: list_url(name) for name in names if is_url(name)}
    sources = Sources(base=_find_common_folder(names, objects_by_url))
    absolute_destination = str(destination) if is_url(str(destination)) else os.path.abspath(destination)
    if sources.base and _is_same_folder(sources.base, absolute_destination):
        raise BadRequest("batch-into-sources", path=str(destination))
    _Walk(sources, absolute_destination, objects_by_url).add_all(names)
    if not sources.files and sources.raw:
        raise BadRequest("sources-only-raw", count=sources.raw)
    if not sources.files and not sources.unreadable:
        raise BadRequest("sources-nothing", sources=list(arguments))
    return sources


def scan_folder(folder: str, destination: str, sources: Sources) -> None:
    """Add the photos of one folder to ``sources``, as ``find_sources`` does."""
    _Walk(sources, destination).add_all([folder])


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, or that of a system folder."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def is_picture(name: str) -> bool:
    """Whether a file in a folder is taken, by its name."""
    return os.path.splitext(name)[1].lower() in ENDINGS and not is_hidden(name)


def _expand(arguments: Sequence[str], read_input: Callable[[], bytes]) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":
            yield from _parse_names(read_input())
        elif is_url(argument):
            yield from expand_url(check_url(argument))
        elif is_file_url(argument):
            yield str(parse_location(argument))
        elif os.path.lexists(argument):
            yield argument
        elif argument.startswith("@"):
            try:
                data = Path(argument[1:]).read_bytes()
            except (OSError, ValueError) as error:
                raise BadRequest("list-unreadable", path=argument[1:], reason=_describe_reason(error)) from error
            yield from _parse_names(data)
        elif glob.has_magic(argument):
            yield from sorted(glob.glob(argument, recursive=True))
        else:
            yield argument  # reported as missing, like any other file that can't be read


def _parse_names(data: bytes) -> Iterator[str]:
    """The names in a list, in which there are no patterns."""
    return (str(parse_location(name)) if is_url(name) or is_file_url(name) else name for name in _parse_list(data))


def _parse_list(data: bytes) -> list[str]:
    lines = data.split(b"\0") if b"\0" in data else data.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


def _find_common_folder(names: Sequence[str], objects_by_url: Mapping[str, Mapping[str, Stamp]]) -> str:
    """The deepest folder that contains all of them; empty if there is none, as for two drives."""
    if objects_by_url:
        return find_common_url(objects_by_url) if all(map(is_url, names)) else ""
    folders = {name if os.path.isdir(name) else os.path.dirname(name) for name in names}
    try:
        return os.path.commonpath(folders) if folders else ""
    except ValueError:
        return ""


def _is_same_folder(one: str, other: str) -> bool:
    if is_url(one):
        return is_inside(one, other) and is_inside(other, one)
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.normcase(one) == os.path.normcase(other)


def _describe_reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


class _Walk:
    """Lists folders: each real folder once, however many links lead to it, and links after real entries."""

    def __init__(
        self, sources: Sources, destination: str, objects_by_url: Mapping[str, Mapping[str, Stamp]] | None = None
    ) -> None:
        """``objects_by_url`` has the result of ``list_url`` for each URL."""
        self._sources = sources
        self._objects_by_url = objects_by_url or {}
        self._destination_url = destination
        self._destination = os.path.normcase(destination)
        self._destination_identity = _read_identity(destination)
        self._folders: set[tuple[int, int]] = set()
        self._files: set[tuple[int, int]] = set()
        self._names: set[str] = set()
        self._links: list[str] = []
        self._among_results: dict[str, bool] = {}

    def add_all(self, names: Iterable[str]) -> None:
        for path in names:
            if is_url(path):
                self._add_url(path)
            elif path != self._sources.base and self._is_among_results(os.path.dirname(path)):
                continue  # a pattern or a list names results too, and the pictures of their report
            elif os.path.isdir(path):
                self._add_folder(path, is_root=True)
            elif has_raw_ending(path):
                self._leave_out(path)
            else:
                self._add_file(path)
        while self._links:
            path = self._links.pop(0)
            if os.path.isdir(path):
                self._add_folder(path)
            elif _read_identity(path) not in self._files:
                self._add_file(path)

    def _add_url(self, url: str) -> None:
        """Add an object, or the objects below a folder."""
        objects = self._objects_by_url[url]
        results = {name.partition(f"{STATE_FOLDER}/")[0] for name in objects if f"/{STATE_FOLDER}/" in f"/{name}"} - {
            ""
        }
        for name, (size, mtime_ns) in objects.items():
            path, base_name = join_url(url, name) if name else url, posixpath.basename(name or url)
            is_result = not results.isdisjoint(f"{folder}/" for folder in _list_parents(name))
            if is_result or is_inside(path, self._destination_url) or any(map(is_hidden, name.split("/"))):
                continue
            if has_raw_ending(path) or (name and not is_picture(base_name)):
                self._leave_out(path)
            elif path not in self._names:
                self._names.add(path)
                self._sources.files.append(Source(path, size, mtime_ns))
        if not objects:
            self._sources.files.append(Source(url))  # reported as missing
        self._sources.results += [join_url(url, folder.rstrip("/")) for folder in sorted(results)]

    def _add_folder(self, path: str, is_root: bool = False) -> None:
        pending = [(path, is_root)]
        while pending:
            folder, is_root = pending.pop()
            identity = _read_identity(folder)
            if (
                identity in self._folders
                or identity == self._destination_identity
                or os.path.normcase(folder) == self._destination
            ):
                continue
            self._folders.add(identity)
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self._sources.unreadable.append(
                    Message("folder-not-readable", path=folder, reason=_describe_reason(error))
                )
                continue
            if any(entry.name == STATE_FOLDER for entry in entries):
                if not is_root:
                    self._leave_out_results(folder)
                    continue
                entries = [entry for entry in entries if entry.name != REPORT_FOLDER]
            below = [entry for entry in entries if self._sort_entry(entry)]
            pending += [(entry.path, False) for entry in reversed(below)]

    def _sort_entry(self, entry: os.DirEntry[str]) -> bool:
        """Add a file; returns whether the entry is a folder to list."""
        if is_hidden(entry.name):
            return False
        if entry.is_symlink():
            if is_picture(entry.name) or os.path.isdir(entry.path):
                self._links.append(entry.path)
            return False
        if entry.is_dir():
            return True
        if is_picture(entry.name):
            self._add_file(entry.path)
        else:
            self._leave_out(entry.path)
        return False

    def _is_among_results(self, folder: str) -> bool:
        """Whether a folder is one of results or lies in one, up to the folder that all photos share.

        That one was chosen, like a folder that is named; only the report in it is left out.
        """
        known = self._among_results.get(folder)
        if known is None:
            parent = os.path.dirname(folder)
            is_top = folder in (self._sources.base, parent)
            known = not is_top and (self._is_results(folder) or self._is_among_results(parent))
            self._among_results[folder] = known
        return known

    def _is_results(self, folder: str) -> bool:
        if self._destination_identity != (0, 0) and _read_identity(folder) == self._destination_identity:
            return True
        if os.path.isdir(os.path.join(folder, STATE_FOLDER)):
            self._leave_out_results(folder)
            return True
        parent, name = os.path.split(folder)
        return name == REPORT_FOLDER and os.path.isdir(os.path.join(parent, STATE_FOLDER))

    def _leave_out_results(self, folder: str) -> None:
        if folder not in self._sources.results:
            self._sources.results.append(folder)

    def _leave_out(self, path: str) -> None:
        if path not in self._names:
            self._names.add(path)
            self._sources.left_out[os.path.splitext(path)[1].lower()] += 1

    def _add_file(self, path: str) -> None:
        if path in self._names:
            return
        self._names.add(path)
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            self._sources.files.append(Source(path))
            return
        if getattr(status, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN:
            return
        self._files.add((status.st_dev, status.st_ino))
        self._sources.files.append(Source(path, status.st_size, status.st_mtime_ns))


def _list_parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _read_identity(path: str) -> tuple[int, int]:
    """Equal for two names of one file or folder; (0, 0) if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_dev, status.st_ino


def read_stamp(path: str) -> tuple[int, int]:
    """Size in bytes and modification time in ns, by which an unchanged file is recognised.

    Raises:
        UnreadableImage: it is gone.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        raise UnreadableImage("image-missing", path=path) from None
    return status.st_size, status.st_mtime_ns
