"""The road through the package: who may import whom, read from the source without running it.

An arrow points only to a room that stands earlier on the road. What runs at import time and what is
imported late count alike; imports for type checkers count where coupling is asked about, not for cycles.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import qgate

ROOT = Path(qgate.__file__).parent

ROAD = (
    "errors", "files", "merkle", "records",
    "settings", "events",
    "git", "sources", "formats", "quant", "align",
    "stats", "sandbox", "signing", "runtimes", "measure",
    "rules", "policy", "judge",
    "report", "plan", "baseline",
    "verify", "verifier", "bisect", "calibrate", "export", "gate",
    "github",
    "commands",
    "programs",
)  # fmt: skip
"""Rooms, lowest first: each imports only what stands before it."""

PROGRAMS = {
    "qgate.cli",
    "qgate.action",
    "qgate.sandbox.child",
    "qgate.signing.child",
    "qgate.runtimes.child",
    "qgate.export.child",
}
"""Where processes start: they put the rooms together, so nothing imports them and the road ends there."""

RUNNING = ("measure", "runtimes", "sandbox", "numpy", "onnx", "onnxruntime", "torch", "scipy")
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "rules": (*RUNNING, "stats", "formats", "align", "report", "policy", "requests", "github"),
    "judge": (*RUNNING, "stats", "formats", "align", "report", "policy", "requests", "github"),
    "policy": (*RUNNING, "formats", "report"),
    "formats": ("torch", "onnxruntime", "requests"),
    "quant": ("torch", "onnxruntime", "align", "measure", "runtimes", "sandbox", "requests"),
    "align": ("torch", "onnxruntime", "measure", "runtimes", "sandbox", "requests"),
    "stats": ("onnx", "onnxruntime", "torch", "measure"),
    "runtimes": ("measure", "requests"),
    "measure": ("rules", "policy", "judge", "report", "sources", "github", "requests"),
    "signing": (
        "onnx",
        "onnxruntime",
        "torch",
        "scipy",
        "measure",
        "formats",
        "policy",
        "report",
        "rules",
        "requests",
    ),
    "sources": (*RUNNING, "policy", "report", "PyGithub"),
    "report": (*RUNNING, "policy", "rules", "sources", "requests"),
    "git": (*RUNNING, "policy", "report", "sources", "requests"),
    "plan": (*RUNNING, "requests", "baseline", "gate"),
    "baseline": (*RUNNING, "requests", "gate"),
    "gate": ("github", "PyGithub"),
    "github": (*RUNNING, "formats", "quant", "verify", "gate", "policy"),
}
"""By room: rooms and libraries that it never reaches, neither itself nor through what it imports."""

ONLY_IN: dict[str, tuple[str, ...]] = {
    "PyGithub": ("github",),
    "requests": ("github", "sources"),
    "onnxruntime": ("runtimes",),
    "huggingface_hub": ("sources",),
    "jinja2": ("report",),
    "ruamel": ("policy",),
    "model_signing": ("signing",),
    "OpenSSL": ("signing",),
    "cryptography": ("signing",),
    "click": ("commands", "programs"),
}
"""By library: the rooms that may import it."""

LIGHT = ("qgate.quant.layout",)
"""Modules of a heavy room that a light one may name: they import nothing."""


@dataclass(frozen=True)
class Arrow:
    """One import: the module that is imported, and whether only a type checker follows it."""

    target: str
    typing: bool


def is_typing(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(tree: ast.AST, *, typing: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, typing
        elif isinstance(child, ast.If) and is_typing(child):
            for node in child.body:
                yield from imports(ast.Module([node], []), typing=True)
            for node in child.orelse:
                yield from imports(ast.Module([node], []), typing=typing)
        else:
            yield from imports(child, typing=typing)


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("qgate", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def library(name: str) -> str:
    """A library's name; PyGithub's package is called like our own room."""
    top = name.partition(".")[0]
    return "PyGithub" if top == "github" else top


@cache
def arrows(module: str) -> tuple[Arrow, ...]:
    """What a module imports; the packages that an import passes through are empty, so they do not count."""
    found = []
    for node, typing in imports(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [name if name in modules() else str(node.module) for name in names]
        else:
            targets = [alias.name for alias in node.names]
        found += [Arrow(t if t.startswith("qgate") else library(t), typing) for t in targets]
    return tuple(dict.fromkeys(found))


def room(module: str) -> str:
    if module in PROGRAMS:
        return "programs"
    parts = module.split(".")
    return parts[1] if parts[0] == "qgate" and len(parts) > 1 else parts[0]


def members(name: str) -> list[str]:
    return [module for module in modules() if module != "qgate" and room(module) == name]


def reached(start: str) -> Mapping[str, str]:
    """Everything that a module comes to import, by the module that imports it."""
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        for arrow in arrows(module):
            if arrow.typing or arrow.target in found or arrow.target in PROGRAMS:
                continue
            found[arrow.target] = module
            if arrow.target in modules():
                waiting.append(arrow.target)
    return found


def way(found: Mapping[str, str], start: str, target: str) -> str:
    steps = [target]
    while steps[-1] != start:
        steps.append(found[steps[-1]])
    return " <- ".join(steps)


def cycle_of(graph: Mapping[str, Iterable[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_has_its_place_on_the_road() -> None:
    assert {room(module) for module in modules() if module != "qgate"} == set(ROAD)


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {m: [a.target for a in arrows(m) if not a.typing and a.target in modules()] for m in modules()}
    assert cycle_of(graph) == []


def test_a_cycle_would_be_seen() -> None:
    assert cycle_of({"a": ["b"], "b": ["c"], "c": ["a"]})
    late = "def f():\n    if TYPE_CHECKING:\n        import a\n    else:\n        import b\n    import c\n"
    assert [(n.names[0].name, t) for n, t in imports(ast.parse(late))] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]


@pytest.mark.parametrize("name", ROAD)
def test_no_arrow_runs_up_the_road(name: str) -> None:
    wrong = [
        f"{module} imports {arrow.target}"
        for module in members(name)
        for arrow in arrows(module)
        if arrow.target.startswith("qgate.")
        and not arrow.typing
        and ROAD.index(room(arrow.target)) > ROAD.index(name)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_forbidden_arrow(name: str) -> None:
    wrong = []
    for module in members(name):
        found = reached(module)
        for target in found:
            label = room(target) if target.startswith("qgate.") else target
            if label in FORBIDDEN[name] and target not in LIGHT:
                wrong.append(way(found, module, target))
        # A name that only a type checker follows couples as well.
        wrong += [
            f"{module} names {arrow.target}"
            for arrow in arrows(module)
            if arrow.typing and arrow.target.startswith("qgate.") and room(arrow.target) in FORBIDDEN[name]
        ]
    assert wrong == []


@pytest.mark.parametrize("name", ["rules", "judge"])
def test_judging_needs_no_graph(name: str) -> None:
    seen = {t for m in members(name) for t in reached(m) if room(t) == "quant" and t != "qgate.quant"}
    assert seen <= set(LIGHT)
    assert all(arrows(module) == () for module in LIGHT)


@pytest.mark.parametrize("name", ONLY_IN)
def test_a_library_has_one_door(name: str) -> None:
    rooms = {room(m) for m in modules() for arrow in arrows(m) if arrow.target == name and not arrow.typing}
    assert rooms <= set(ONLY_IN[name])
    assert rooms, f"nothing imports {name} any more"


def test_only_settings_reads_the_environment() -> None:
    readers = set()
    for module, path in modules().items():
        tree = ast.parse(path.read_text())
        written = {
            id(n.value)
            for n in ast.walk(tree)
            if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)
        }
        for node in ast.walk(tree):
            named = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
            if named and ast.unparse(node).startswith("os.") and id(node) not in written:
                readers.add(module)
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                assert not {alias.name for alias in node.names} & {"environ", "environb", "getenv"}
    assert readers == {"qgate.settings"}


def test_packages_are_empty() -> None:
    for module, path in modules().items():
        if path.name == "__init__.py" and module != "qgate":
            assert arrows(module) == (), f"{module} is imported by everything that passes through it"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["explain", "RNG103"]])
def test_asking_for_help_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = ["numpy", "onnx", "onnxruntime", "torch", "scipy", "requests", "github"]
    heavy += ["pydantic"] if arguments[0] != "explain" else []
    code = (
        "import sys\nfrom qgate.cli import main\n"
        f"sys.argv = ['qgate', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"sys.exit(' '.join(sorted(set({heavy!r}) & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
