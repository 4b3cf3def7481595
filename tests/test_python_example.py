"""The Python example of the docs does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core.models.store import ModelStore
from tests.checkout import ROOT, environment


@pytest.mark.slow
def test_the_python_example_of_the_docs_protects_a_portrait_and_judges_it(tmp_path: Path) -> None:
    example, direction, person = re.findall(
        r"```python\n(.+?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert example.count("strength=0.5)") == 1
    # Fewer steps than the default.
    example = example.replace("strength=0.5)", "strength=0.5, steps=30)")
    assert direction.count('prompt="red lipstick")') == 1
    example += direction.replace('prompt="red lipstick")', 'prompt="red lipstick", steps=2)')
    assert person.count(", looks=") == 2
    example += "other = photo\n" + person.replace(", looks=", ", steps=2, looks=")
    Image.fromarray(data.astronaut()).save(tmp_path / "portrait.png")
    run = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert run.returncode == 0, run.stderr
    *lines, last = run.stdout.splitlines()
    recognisers = {entry.name for entry in ModelStore().entries() if entry.role == "recogniser"}
    matches = [
        re.fullmatch(r"face 1, (\S+) \((?:held out|searched against)\): -?\d\.\d\d, \w.*", line) for line in lines
    ]
    assert {match[1] for match in matches if match} == recognisers and len(lines) == len(recognisers)
    lost = int(last.removesuffix(" recognisers no longer match"))
    assert 1 <= lost <= len(recognisers)
    assert not np.array_equal(Image.open(tmp_path / "protected.png"), data.astronaut())
