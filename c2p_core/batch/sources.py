"""Finds the photos that a batch is given: in folders, by patterns, in lists. Only names count here, not contents."""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from c2p_core.batch.object_sources import common_url, expand_url, list_url
from c2p_core.batch.objects import Stamp
from c2p_core.batch.urls import check_url, is_file_url, is_inside, is_url, join_url, place_named
from c2p_core.errors import BadRequest, Message, UnreadableImage
from c2p_core.io.raw_file import has_raw_ending

ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif", ".hif"}
)
"""Of the files that are taken out of folders; a file that is named itself may have any but those of camera raw."""
STATE_FOLDER = ".c2p"
"""What marks a folder as one of results, which are not protected once more."""
PAGE, TABLE, REPORT_FOLDER = "report.html", "report.csv", "report"
"""The report on a folder of results, in it, and the report's pictures and further pages."""
# Folders that systems and disk stations keep their own things in.
_NOT_OURS = frozenset({"@eadir", "$recycle.bin", "system volume information", "lost+found", "__macosx"})


@dataclass(frozen=True, slots=True)
class Source:
    """A file to protect.

    Attributes:
        path: absolute.
        size, mtime_ns: when it was found; -1 where it could not be asked.
    """

    path: str
    size: int = -1
    mtime_ns: int = -1


@dataclass
class Sources:
    """What was found.

    Attributes:
        base: the folder that the places of results are relative to; empty where the photos share no folder.
        files: in the order of the arguments, those of a folder by name.
        left_out: how many files were left out, by ending; ``raw`` of them are camera raw.
        unreadable: folders that could not be listed, and why.
        results: folders with results of other batches, which were left out.
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
            name a line, or names that end with a zero byte. What exists is never taken for a pattern or a list. URLs of
            stores of objects and of files are as good as paths.
        destination: folder of the results, or its URL, which is left out where it lies in a source.
        read_input: reads standard input.

    Raises:
        BadRequest: nothing was found, or nothing but camera raw; results would come to lie among the photos; a list
            can't be read; a URL is of no store that can be used.
    """
    # These names keep their links.
    named = [name if is_url(name) else os.path.abspath(name) for name in _expand(arguments, read_input)]
    listed = {name: list_url(name) for name in named if is_url(name)}
    found = Sources(base=_common_folder(named, listed))
    out = str(destination) if is_url(str(destination)) else os.path.abspath(destination)
    if found.base and _same_folder(found.base, out):
        raise BadRequest("batch-into-sources", path=str(destination))
    _Walk(found, out, listed).take_all(named)
    if not found.files and found.raw:
        raise BadRequest("sources-only-raw", count=found.raw)
    if not found.files and not found.unreadable:
        raise BadRequest("sources-nothing", sources=list(arguments))
    return found


def scan_folder(folder: str, destination: str, found: Sources) -> None:
    """Add the photos of one folder, as ``find_sources`` takes them."""
    _Walk(found, destination).take_all([folder])


def is_hidden(name: str) -> bool:
    """Whether a name is one that people don't see, or one of a system's own folders."""
    return name.startswith(".") or name.lower() in _NOT_OURS


def is_picture(name: str) -> bool:
    """Whether a file of a folder is taken, by its name."""
    return os.path.splitext(name)[1].lower() in ENDINGS and not is_hidden(name)


def _expand(arguments: Sequence[str], read_input: Callable[[], bytes]) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":
            yield from _named_in(read_input())
        elif is_url(argument):
            yield from expand_url(check_url(argument))
        elif is_file_url(argument):
            yield str(place_named(argument))
        elif os.path.lexists(argument):
            yield argument
        elif argument.startswith("@"):
            try:
                data = Path(argument[1:]).read_bytes()
            except (OSError, ValueError) as error:
                raise BadRequest("list-unreadable", path=argument[1:], reason=_reason(error)) from error
            yield from _named_in(data)
        elif glob.has_magic(argument):
            yield from sorted(glob.glob(argument, recursive=True))
        else:
            yield argument  # it is told that it is missing, as any other file that can't be read


def _named_in(data: bytes) -> Iterator[str]:
    """The names in a list, which are no patterns."""
    return (str(place_named(name)) if is_url(name) or is_file_url(name) else name for name in _parse_list(data))


def _parse_list(data: bytes) -> list[str]:
    lines = data.split(b"\0") if b"\0" in data else data.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


def _common_folder(named: Sequence[str], listed: Mapping[str, Mapping[str, Stamp]]) -> str:
    """The deepest folder that has all of them; empty where there is none, as on two drives."""
    if listed:
        return common_url(listed) if all(map(is_url, named)) else ""
    folders = {name if os.path.isdir(name) else os.path.dirname(name) for name in named}
    try:
        return os.path.commonpath(folders) if folders else ""
    except ValueError:
        return ""


def _same_folder(one: str, other: str) -> bool:
    if is_url(one):
        return is_inside(one, other) and is_inside(other, one)
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.normcase(one) == os.path.normcase(other)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


class _Walk:
    """Lists folders; each real folder once, however many links lead to it, and links after what is really there."""

    def __init__(
        self, found: Sources, destination: str, listed: Mapping[str, Mapping[str, Stamp]] | None = None
    ) -> None:
        """``listed`` has what ``list_url`` gave for each URL."""
        self._found = found
        self._listed = listed or {}
        self._destination_url = destination
        self._destination = os.path.normcase(destination)
        self._out = _identity(destination)
        self._folders: set[tuple[int, int]] = set()
        self._files: set[tuple[int, int]] = set()
        self._names: set[str] = set()
        self._links: list[str] = []

    def take_all(self, named: Iterable[str]) -> None:
        for path in named:
            if is_url(path):
                self._take_url(path)
            elif os.path.isdir(path):
                self._take_folder(path, root=True)
            elif has_raw_ending(path):
                self._leave_out(path)
            else:
                self._take_file(path)
        while self._links:
            path = self._links.pop(0)
            if os.path.isdir(path):
                self._take_folder(path)
            elif _identity(path) not in self._files:
                self._take_file(path)

    def _take_url(self, url: str) -> None:
        """Take an object, or what lies below a folder of them."""
        objects = self._listed[url]
        results = {name.partition(f"{STATE_FOLDER}/")[0] for name in objects if f"/{STATE_FOLDER}/" in f"/{name}"} - {
            ""
        }
        for name, (size, mtime_ns) in objects.items():
            path, last = join_url(url, name) if name else url, posixpath.basename(name or url)
            own = not results.isdisjoint(f"{folder}/" for folder in _parents(name))
            if own or is_inside(path, self._destination_url) or any(map(is_hidden, name.split("/"))):
                continue
            if has_raw_ending(path) or (name and not is_picture(last)):
                self._leave_out(path)
            elif path not in self._names:
                self._names.add(path)
                self._found.files.append(Source(path, size, mtime_ns))
        if not objects:
            self._found.files.append(Source(url))  # it is told that it is missing
        self._found.results += [join_url(url, folder.rstrip("/")) for folder in sorted(results)]

    def _take_folder(self, path: str, root: bool = False) -> None:
        waiting = [(path, root)]
        while waiting:
            folder, named = waiting.pop()
            identity = _identity(folder)
            if identity in self._folders or identity == self._out or os.path.normcase(folder) == self._destination:
                continue
            self._folders.add(identity)
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self._found.unreadable.append(Message("folder-not-readable", path=folder, reason=_reason(error)))
                continue
            if any(entry.name == STATE_FOLDER for entry in entries):
                if not named:
                    self._found.results.append(folder)
                    continue
                entries = [entry for entry in entries if entry.name != REPORT_FOLDER]
            below = [entry for entry in entries if self._sort_entry(entry)]
            waiting += [(entry.path, False) for entry in reversed(below)]

    def _sort_entry(self, entry: os.DirEntry[str]) -> bool:
        """Take a file; whether the entry is a folder to be listed."""
        if is_hidden(entry.name):
            return False
        if entry.is_symlink():
            if is_picture(entry.name) or os.path.isdir(entry.path):
                self._links.append(entry.path)
            return False
        if entry.is_dir():
            return True
        if is_picture(entry.name):
            self._take_file(entry.path)
        else:
            self._leave_out(entry.path)
        return False

    def _leave_out(self, path: str) -> None:
        if path not in self._names:
            self._names.add(path)
            self._found.left_out[os.path.splitext(path)[1].lower()] += 1

    def _take_file(self, path: str) -> None:
        if path in self._names:
            return
        self._names.add(path)
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            self._found.files.append(Source(path))
            return
        if getattr(status, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN:
            return
        self._files.add((status.st_dev, status.st_ino))
        self._found.files.append(Source(path, status.st_size, status.st_mtime_ns))


def _parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _identity(path: str) -> tuple[int, int]:
    """Equal for two names of one file or folder; (0, 0) for what is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_dev, status.st_ino


def read_stamp(path: str) -> tuple[int, int]:
    """Size in bytes and time of change in ns, by which a file is known to be the same as before.

    Raises:
        UnreadableImage: it is gone.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        raise UnreadableImage("image-missing", path=path) from None
    return status.st_size, status.st_mtime_ns
