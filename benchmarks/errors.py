"""The benchmarks' own errors, as codes with fields, and their words. ``{name}`` stands for a field."""

from __future__ import annotations

from functools import partial
from typing import Any

MESSAGES = {
    # The photos
    "faces-folder-missing": "There is no folder {folder}; put the shared faces beside the checkout or give --photos.",
    "face-list-missing": "There is no list of faces {path}; give --faces.",
    "listed-faces-missing": "{count} photos of {path} are not in {folder}, the first is {first}.",
    "people-folder-missing": "There is no folder {folder}; put the shared photos beside the checkout or give --photos.",
    "no-photos": "There is no photo in {folder}.",
    "no-identified-photos": "There is no photo that the file of identities names in {folder}.",
    "identities-unreadable": "{path} can't be read ({reason}); give a text file with a photo and an identity a line.",
    "identity-line-unreadable": "Line {line} of {path} does not begin with the name of a photo and an identity.",
    "too-few-photos": "Workers are compared by more than {workers} photos.",
    # Photos of one person, which a package contains
    "pip-not-run": "pip could not be run for {package} ({reason}); photos of one person are missing.",
    "package-not-fetched": "pip could not fetch the source of {package}: {reason}",
    "package-changed": "The source of {package} has another content than it should; nothing was unpacked.",
    "package-photo-unexpected": "{photo} in the source of {package} is no photo of the expected size.",
    # A recogniser of the user's own
    "recogniser-not-made": "{source!r} makes no recogniser ({reason}); give it as module:function.",
    "recogniser-wrong-type": "{source!r} returned a {type}, not a c2p_core.recognition.Recogniser.",
    "recogniser-name-taken": "{source!r} calls itself {name!r}, which is one of the product's; name it otherwise.",
    "recogniser-not-unit-vectors": "{source!r} embeds two pictures as {shape}, not as two unit vectors.",
}


class BenchmarkError(Exception):
    """A benchmark can't run.

    Attributes:
        code: a key of ``MESSAGES``.
        fields: the values of the message's placeholders.
    """

    def __init__(self, code: str, **fields: object) -> None:
        super().__init__(code)
        self.code = code
        self.fields = fields

    def __str__(self) -> str:
        return MESSAGES[self.code].format(**self.fields)

    def __reduce__(self) -> tuple[Any, ...]:
        # So that it reaches the parent process of a pool with all fields.
        return partial(type(self), self.code, **self.fields), ()


class NoData(BenchmarkError):
    """The photos to measure are missing, or too few."""


class BadRecogniser(BenchmarkError):
    """What a user named makes no recogniser."""
