"""Who imports whom in c2p_core: data flows one way, types included."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "c2p_core"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(files: dict[str, str]) -> dict[str, set[str]]:
    """Modules by name to the modules among them that each imports, anywhere in its source."""
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, source in files.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                graph[name].update(alias.name for alias in node.names if alias.name in files)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name} imports relatively"
                within = [f"{node.module}.{alias.name}" for alias in node.names]
                graph[name].update(module if module in files else str(node.module) for module in within)
                graph[name] &= set(files)
    return graph


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def find_reached(graph: dict[str, set[str]], package: str) -> set[str]:
    """The modules of a package, and all that they import, directly or through others."""
    reached: set[str] = set()
    waiting = [name for name in graph if is_in(name, package)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return import_graph({module_name(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")})


def test_no_modules_import_each_other_in_a_circle_not_even_for_types(graph: dict[str, set[str]]) -> None:
    assert len(graph) > 60
    TopologicalSorter(graph).prepare()


def test_a_circle_through_a_type_is_found() -> None:
    types_only = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import Thing\n"
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph({"a": types_only, "b": "def f() -> None:\n    import a\n"})).prepare()


@pytest.mark.parametrize(
    ("package", "never"), [("faces", "priors"), ("faces", "guidance"), ("guidance", "priors"), ("priors", "guidance")]
)
def test_faces_and_guidance_need_no_prior_and_priors_no_guidance_not_even_through_other_modules(
    graph: dict[str, set[str]], package: str, never: str
) -> None:
    reached = find_reached(graph, f"c2p_core.{package}")
    assert len(reached) > 3 and not {name for name in reached if is_in(name, f"c2p_core.{never}")}


def test_an_import_through_another_module_is_found() -> None:
    graph = {
        "p.faces.a": {"p.api"},
        "p.api": {"p.priors"},
        "p.priors": set(),
        "p.faces_else": {"p.other"},
        "p.other": set(),
    }
    assert find_reached(graph, "p.faces") == {"p.faces.a", "p.api", "p.priors"}


def test_only_worker_command_line_and_errors_import_the_plug_ins_client_and_no_more_of_theirs() -> None:
    plug_in_modules = {path.stem for path in (PACKAGE.parent / "plugin").glob("protect-face*/*.py")}
    imports = {
        (module_name(path).partition(".worker.")[0], name.partition(".")[0])
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert {importer for importer, name in imports if name == "worker_client"} <= {
        "c2p_core",
        "c2p_core.cli",
        "c2p_core.errors",
    }
    assert {name for _, name in imports} & plug_in_modules == set()


def test_a_search_with_the_embedded_models_imports_neither_open_clip_nor_torchs_compiler() -> None:
    """Each takes longer than importing torch, at every start of a command or worker that protects."""
    code = """
import sys
import torch
from c2p_core import pipeline
from c2p_core.adam import Adam
from c2p_core.models.loaded import WarmModels, warm_up
from c2p_core.models.store import ModelStore

warm_up(ModelStore(offline=True), "cpu", WarmModels())
code = torch.ones(1, requires_grad=True)
code.square().sum().backward()
Adam({code: 1.0}, (0.5, 0.8)).step()
print(*sorted({"open_clip", "timm", "torchvision", "torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(PACKAGE.parent / "plugin")])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == "\n"


def test_the_map_of_the_code_names_every_module() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = text.partition("c2p_core/  ")[2].partition("hatch_build.py")[0].splitlines()
    named: dict[str, set[str]] = {}
    package = ""
    for line in lines[1:]:
        if not line.startswith("   "):
            package = next(iter(re.findall(r"^  (\w+)/ ", line)), "")
        named.setdefault(package, set()).update(re.findall(r"\w+", line))
    for path in PACKAGE.rglob("*.py"):
        inside = "" if path.parent in (PACKAGE, PACKAGE / "commands") else path.parent.name
        if not path.stem.startswith("__") and path.parent.name != "commands":
            assert path.stem in named[inside], path
