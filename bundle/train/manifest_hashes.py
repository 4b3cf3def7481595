"""Writes the sizes and SHA-256 of the bundle's own files into bundle/manifest.toml.

    python bundle/train/manifest_hashes.py

Run it after any change in bundle/mini or bundle/models. Files that don't exist yet keep an empty hash.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from c2p_core.models.manifest import BundleSource, read_manifest

BUNDLE = Path(__file__).resolve().parents[1]


def update_hash(manifest: str, path: Path) -> str:
    """Update the size and hash of ``path`` in the manifest's text."""
    content = path.read_bytes()
    pattern = rf'(name = "{re.escape(path.name)}", )sha256 = "[0-9a-f]*", size = \d+'
    return re.sub(pattern, rf'\1sha256 = "{hashlib.sha256(content).hexdigest()}", size = {len(content)}', manifest)


def main() -> None:
    path = BUNDLE / "manifest.toml"
    text = path.read_text(encoding="utf-8")
    for entry in read_manifest(path):
        for source in entry.sources:
            for file in entry.files if isinstance(source, BundleSource) else ():
                if isinstance(source, BundleSource) and (BUNDLE / source.folder / file.name).is_file():
                    text = update_hash(text, BUNDLE / source.folder / file.name)
                    print(f"{entry.name}: {file.name}")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
