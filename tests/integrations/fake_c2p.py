"""A ``c2p`` that searches nothing: it records its arguments and copies photos, with "protected " before them.

The real command parses what it was called with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from c2p_core.cli import c2p

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


@dataclass(frozen=True)
class Call:
    """How the program was called.

    Attributes:
        models: the folder of ``--models``.
        command: such as "protect".
        arguments: values of the command's options and arguments, without those that have their default.
    """

    models: Path | None
    command: str
    arguments: dict[str, Any]


def parse_call(words: Sequence[str]) -> Call:
    """Parse the arguments of a call as ``c2p`` does.

    Raises:
        click.UsageError: it would refuse them.
    """
    context = click.Context(c2p, info_name="c2p")
    name, command, rest = c2p.resolve_command(context, click.Command.parse_args(c2p, context, list(words)))
    assert name is not None and command is not None
    parsed = command.make_context(name, rest, parent=context)
    given = {
        key: value
        for key, value in parsed.params.items()
        if parsed.get_parameter_source(key) is ParameterSource.COMMANDLINE
    }
    return Call(context.params["models"], name, given)


class FakeC2p:
    """The program ``path``; ``fails`` and ``hangs`` make its next runs do so."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "c2p"
        program = _PROGRAM.format(python=sys.executable, here=str(folder), no_face=NO_FACE, damaged=DAMAGED)
        self.path.write_text(program)
        self.path.chmod(0o755)

    def calls(self) -> list[Call]:
        """The runs so far.

        Raises:
            click.UsageError: ``c2p`` would refuse one of them.
        """
        calls = self.folder / "calls.jsonl"
        return [parse_call(json.loads(line)) for line in calls.read_text().splitlines()] if calls.exists() else []

    def fail(self, sentence: str) -> None:
        (self.folder / "fails").write_text(sentence)

    def hang(self) -> None:
        """After its first photo, until ``go_on``."""
        (self.folder / "hangs").touch()

    def go_on(self) -> None:
        (self.folder / "hangs").unlink()


@contextmanager
def make_fake_c2p(folder: Path) -> Iterator[FakeC2p]:
    """Make the program in a folder; in the end, the real command parses all calls of it."""
    fake = FakeC2p(folder)
    yield fake
    fake.calls()
