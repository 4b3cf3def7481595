"""A ``c2p`` that searches nothing: it records its arguments and copies photos, with "protected " before them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

# Photos whose names have these words get no result.
NO_FACE, DAMAGED = "no face", "damaged"

_PROGRAM = """#!{python}
import json, os, signal, sys, time
from pathlib import Path
HERE = Path({here!r})
with open(HERE / "calls.jsonl", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
if words[0] == "--models":
    del words[:2]
job = words.pop(0)
if (HERE / "fails").exists():
    print("c2p: " + (HERE / "fails").read_text(), file=sys.stderr)
    sys.exit(2)
output = words[words.index("-o") + 1] if "-o" in words else None
if job == "batch":
    photos = sorted(Path(words[0]).iterdir())
    targets = [Path(output, photo.name) for photo in photos]
else:
    photos = [Path(word) for word in words[words.index("--") + 1:]]
    targets = [Path(output) if output else p.with_name(p.stem + ".protected" + p.suffix) for p in photos]
code = 0
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
for photo, target in zip(photos, targets):
    if {no_face!r} in photo.name:
        print(f"{{photo}}: No face was found.", flush=True)
        code = 4 if len(photos) == 1 else code
    elif {damaged!r} in photo.name:
        print(f"c2p: '{{photo}}' is damaged.", file=sys.stderr)
        code = 8
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.samefile(photo):
            sys.exit("original")
        target.write_bytes(b"protected " + photo.read_bytes())
        print(f"{{photo}} -> {{target}} (1 face, 0 s)", flush=True)
    if (HERE / "hangs").exists():
        (HERE / "hanging").touch()
        while (HERE / "hangs").exists():
            time.sleep(0.02)
sys.exit(code)
"""


class FakeC2p:
    """The program ``path``; ``fails`` and ``hangs`` make its next runs do so."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "c2p"
        program = _PROGRAM.format(python=sys.executable, here=str(folder), no_face=NO_FACE, damaged=DAMAGED)
        self.path.write_text(program)
        self.path.chmod(0o755)

    def calls(self) -> list[list[str]]:
        """The arguments of each run so far."""
        calls = self.folder / "calls.jsonl"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    def fail(self, sentence: str) -> None:
        (self.folder / "fails").write_text(sentence)

    def hang(self) -> None:
        """After its first photo, until ``go_on``."""
        (self.folder / "hangs").touch()

    def go_on(self) -> None:
        (self.folder / "hangs").unlink()
