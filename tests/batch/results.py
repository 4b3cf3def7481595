"""What a folder of results has: its journal's rows, checked against its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from c2p_core.batch import run
from c2p_core.batch.journal import Journal, Row
from tests.batch.darken import read_results


def read_done(out: Path) -> dict[str, Row]:
    """The journal's rows of finished results, by their names; each is checked against its file.

    Announced ones may be in their places or not, but are whole if they are; and nothing else is there.
    """
    results = read_results(out)
    if not (out / ".c2p" / run.JOURNAL).exists():
        assert results == {}
        return {}
    journal = Journal(out / ".c2p" / run.JOURNAL)
    announced = {str(row.target): row for row in journal.read_announced()}
    done = {str(row.target): row for row in journal.read_rows() if row.state == "done"}
    journal.close()
    known = {name: row.result_digest for name, row in (done | announced).items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in results.items()}
    assert set(done) <= set(digests) and digests.items() <= known.items()
    for name in results:
        Image.open(out / name).load()
    return done


def list_parts(out: Path) -> set[str]:
    """The folders that hold temporary files."""
    return {path.parent.relative_to(out).as_posix() for path in out.rglob("*.part")}
