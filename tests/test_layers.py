"""The layers of ARCHITECTURE.md, read off the imports: who may import whom, and what costs time."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "paris_p2p"

BASE = {"errors", "files", "home", "identity"}
LEARNING = {"model", "pipeline", "data", "training", "sampling"}
MAY_IMPORT = {
    "errors": set(),
    "child": set(),
    "files": {"errors"},
    "home": {"errors", "files"},
    "identity": {"errors", "files"},
    "key_backup": BASE,
    "records": BASE,
    "config": BASE | {"records"},
    "store": BASE | {"records"},
    "network": BASE | {"records"},
    "model": BASE | {"records"},
    "pipeline": BASE | {"records", "model"},
    "data": BASE | {"records", "model"},
    "training": BASE | {"records", "model", "data"},
    "sampling": BASE | {"records", "model", "pipeline", "training"},
    "peer": BASE | LEARNING | {"child", "config", "records", "store", "network"},
    "api": BASE | LEARNING | {"child", "config", "records", "store", "network", "peer"},
    "cli": BASE
    | LEARNING
    | {"key_backup", "child", "config", "records", "store", "network", "peer", "api"},
}
"""Every package of the project, and the others it may import, wherever in its files."""

TORCH = {"torch", "torchvision", "diffusers", "open_clip"}
NEVER_TORCH = (
    "errors",
    "files",
    "child",
    "home",
    "identity",
    "key_backup",
    "config",
    "records",
    "store",
    "network",
    "peer",
    "api",
    "cli",
)


DATA_EXTRA = {"pyarrow", "resvg_py", "sklearn", "timm"}
"""What the extra `data` installs: to prepare data only."""


@dataclass(frozen=True)
class Import:
    """A module named in an import; `deferred` when it is not run on importing the importer."""

    target: str
    deferred: bool


def imports_in(source: str, package: str) -> Iterator[Import]:
    """All imports of a file that lies in `package`; those for type checkers only are left out."""
    yield from _imports(ast.parse(source).body, package, deferred=False)


def _imports(
    nodes: list[ast.stmt] | list[ast.AST], package: str, deferred: bool
) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield Import(base, deferred)
            yield from (Import(f"{base}.{alias.name}", deferred) for alias in node.names)
        elif not _is_for_type_checkers(node):
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(list(ast.iter_child_nodes(node)), package, deferred or inside)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *filter(None, [node.module])])


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@cache
def project() -> dict[str, tuple[Import, ...]]:
    """Every module of the project by its dotted name, with what it imports."""
    modules = {}
    for file in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        package = ".".join(parts[:-1])
        name = package if parts[-1] == "__init__" else ".".join(parts)
        modules[name] = tuple(imports_in(file.read_text(), package))
    return modules


def layer_of(module: str) -> str:
    """The first name below the project's; "" for the project itself and for foreign modules."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == PACKAGE else ""


def modules_of(layer: str) -> list[str]:
    return [module for module in project() if layer_of(module) == layer]


def path_to(module: str, forbidden: set[str]) -> list[str] | None:
    """How importing `module` comes to import one of `forbidden`; None when it does not."""
    reached: dict[str, list[str]] = {module: [module]}
    queue = [module]
    while queue:
        current = queue.pop(0)
        for target in _run_on_import(current):
            if target.partition(".")[0] in forbidden:
                return [*reached[current], target]
            if target in project() and target not in reached:
                reached[target] = [*reached[current], target]
                queue.append(target)
    return None


def _run_on_import(module: str) -> list[str]:
    """What runs with `module`: the packages it lies in, and its imports with theirs."""
    named = [module, *(found.target for found in project()[module] if not found.deferred)]
    return [parent for name in named for parent in _with_parents(name)]


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def test_every_package_has_its_place_in_the_table() -> None:
    assert {layer_of(module) for module in project()} - {""} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_only_what_lies_below(layer: str) -> None:
    allowed = MAY_IMPORT[layer] | {layer, "", "__version__"}
    wrong = [
        (module, found.target)
        for module in modules_of(layer)
        for found in project()[module]
        if layer_of(found.target) not in allowed
    ]
    assert wrong == []


def test_only_the_network_imports_hivemind() -> None:
    importers = {
        layer_of(module)
        for module, imports in project().items()
        for found in imports
        if found.target.partition(".")[0] == "hivemind"
    }
    assert importers <= {"network"}


@pytest.mark.parametrize("layer", NEVER_TORCH)
def test_a_layer_without_torch_does_not_even_defer_it(layer: str) -> None:
    wrong = [
        (module, found.target)
        for module in modules_of(layer)
        for found in project()[module]
        if found.target.partition(".")[0] in TORCH
    ]
    assert wrong == []


@pytest.mark.parametrize("layer", NEVER_TORCH)
def test_importing_a_layer_does_not_import_torch(layer: str) -> None:
    paths = [path_to(module, TORCH) for module in modules_of(layer)]
    assert [path for path in paths if path] == []


@pytest.mark.parametrize("layer", ["peer", "api", "cli"])
def test_what_a_peer_or_command_imports_only_when_needed_does_not_import_torch(layer: str) -> None:
    paths = [
        path_to(found.target, TORCH)
        for module in modules_of(layer)
        for found in project()[module]
        if found.deferred and found.target in project()
    ]
    assert [path for path in paths if path] == []


def test_importing_a_module_does_not_import_what_only_prepares_data() -> None:
    assert [path for path in (path_to(module, DATA_EXTRA) for module in project()) if path] == []


def test_the_extra_for_data_names_what_is_imported_for_it_and_developers_have_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    modules = {"scikit-learn": "sklearn", "resvg-py": "resvg_py"}
    named = {re.split("[<>=]", line)[0] for line in extras["data"]}
    assert {modules.get(name, name) for name in named} == DATA_EXTRA
    assert f"{PACKAGE.replace('_', '-')}[data]" in extras["dev"]


def test_the_table_has_no_circle() -> None:
    ranks = {layer: rank for rank, layer in enumerate(MAY_IMPORT)}
    upward = [(a, b) for a, below in MAY_IMPORT.items() for b in below if ranks[b] >= ranks[a]]
    assert upward == []


SOURCE = """
import json, torch.nn as nn
from . import sibling
from ..store.chunks import ChunkStore
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import diffusers
class Here:
    import hivemind
def later():
    if True:
        from open_clip import model
"""


def test_the_reading_of_imports() -> None:
    found = set(imports_in(SOURCE, "paris_p2p.peer"))
    assert {one.target for one in found if one.deferred} == {"open_clip", "open_clip.model"}
    assert {one.target for one in found if not one.deferred} == {
        "json",
        "torch.nn",
        "hivemind",
        "paris_p2p.peer",
        "paris_p2p.peer.sibling",
        "paris_p2p.store.chunks",
        "paris_p2p.store.chunks.ChunkStore",
        "typing",
        "typing.TYPE_CHECKING",
    }


def test_the_search_for_torch_finds_it_where_it_is() -> None:
    assert path_to("paris_p2p.model.expert", TORCH)
    assert path_to("paris_p2p.sampling.ensemble", TORCH)


def circles(imports: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Modules each of which leads to itself by what it imports: one list for every such tangle."""
    reached = {module: _reached_from(module, imports) for module in imports}
    tangles = {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, ())))
        for module in imports
        if module in reached[module]
    }
    return sorted(map(list, tangles))


def _reached_from(module: str, imports: Mapping[str, Collection[str]]) -> set[str]:
    reached, queue = set[str](), list(imports[module])
    while queue:
        target = queue.pop()
        if target not in reached:
            reached.add(target)
            queue += imports.get(target, ())
    return reached


def all_imports() -> dict[str, set[str]]:
    """Every module with the modules of the project that any line of it imports."""
    found = {}
    for module, file in _files().items():
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        named = {one.target for one in _imports_anywhere(file.read_text(), package)}
        found[module] = {name for name in named if name in _files()} - {module, package}
    return found


@cache
def _files() -> dict[str, Path]:
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted((ROOT / PACKAGE).rglob("*.py"))
    }


def _imports_anywhere(source: str, package: str) -> Iterator[Import]:
    """All imports of a file, those for type checkers and in functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports([node], package, deferred=False)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(all_imports()) == []


def test_a_circle_is_found_however_long_and_whatever_else_hangs_on_it() -> None:
    imports = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": [], "e": ["a"], "f": ["g"], "g": ["f"]}
    assert circles(imports) == [["a", "b", "c"], ["f", "g"]]


def test_an_import_for_type_checkers_or_in_a_function_is_part_of_a_circle() -> None:
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from paris_p2p.peer.node import Node
def later() -> None:
    from paris_p2p.peer import membership
"""
    targets = {one.target for one in _imports_anywhere(source, "paris_p2p.peer")}
    assert {"paris_p2p.peer.node", "paris_p2p.peer.membership"} <= targets
