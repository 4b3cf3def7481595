"""Manifests for tests."""

from __future__ import annotations

import hashlib


def describe_file(name: str, content: bytes) -> str:
    """The line of a manifest on a file of a model."""
    return f'{{ name = "{name}", sha256 = "{hashlib.sha256(content).hexdigest()}", size = {len(content)} }}'
