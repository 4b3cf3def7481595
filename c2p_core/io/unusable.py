"""The error for intact pictures that can't be used."""

from __future__ import annotations

from typing import Any


class Unusable(Exception):
    """A picture that can't be used; code and fields are those of ``UnreadableImage``, without ``path``."""

    def __init__(self, code: str, /, **fields: Any) -> None:
        super().__init__(code)
        self.code = code
        self.fields = fields
