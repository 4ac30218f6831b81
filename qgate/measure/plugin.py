"""Code of the trusted side, loaded and called inside the sandboxed child.

How a measurement uses it, from the policy to the call:

1. The policy's key has the type ``qgate.sources.python_code.PythonSpec``, and ``qgate.policy.code.python_specs``
   lists it, so that a change of the file behind it is a change of the policy.
2. ``verify.Pair.code`` maps a role (``"factory"``, ``"task"``, ...) to what copies it (``verifier`` makes it from
   the planned target at ``TargetRun.code_revision``, or from the command line). ``verify.code.acquire_codes`` copies
   and hashes it, tells it in the report's ``code``, and returns a ``Plugin`` for each role.
3. ``PairRequest.code`` carries those to the child; ``prepare_plugins`` imports the libraries that they name before
   the walls are up, and lets the child read the copies.
4. In the child, ``load_function(request.code["task"])`` imports the module and returns the function, wrapped so
   that whatever it raises is a ``PluginError`` with type, message and line.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qgate.errors import MeasureError

_LOADING = threading.Lock()


@dataclass(frozen=True)
class Plugin:
    """A function of the trusted side's code, as the child finds it.

    Args:
        root: The folder of its private copy that it is imported from.
        module: Its module's dotted name below ``root``.
        function: Its name in the module.
        packaged: Whether the module belongs to a package, which is then there as a whole.
        label: What messages call it: the name as policy or command line write it.
    """

    root: Path
    module: str
    function: str
    packaged: bool
    label: str

    @property
    def file(self) -> Path:
        """The module's own file."""
        stem = self.root.joinpath(*self.module.split("."))
        return stem.with_name(f"{stem.name}.py") if not stem.is_dir() else stem / "__init__.py"

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "root": str(self.root.absolute())}

    @classmethod
    def from_data(cls, raw: Mapping[str, Any]) -> Plugin:
        """The inverse of ``to_data``."""
        return cls(**{**raw, "root": Path(raw["root"])})


class PluginError(MeasureError):
    """Code of the trusted side is missing, cannot be imported, or raised; ``where`` names it and the line."""


def prepare_plugins(plugins: Iterable[Plugin]) -> list[Path]:
    """Imports the installed libraries that the plugins name; returns the folders that they may read.

    Nothing of the plugins runs here: their imports are read from their source. To be called in the child before
    it is confined, for libraries open files of their own (shared objects) that cannot be read afterwards. What
    they import later on is found in the folders of installed packages, which are returned as well.
    """
    folders = dict.fromkeys(plugin.root for plugin in plugins)
    if not folders:
        return []
    for folder in folders:
        own = {path.name.removesuffix(".py") for path in folder.iterdir()}
        for file in folder.rglob("*.py"):
            for name in _imports(file):
                if name.partition(".")[0] not in own:
                    # What cannot be imported is told when the plugin itself tries to.
                    with contextlib.suppress(Exception):
                        importlib.import_module(name)
    return [*folders, *installed_packages()]


def installed_packages() -> list[Path]:
    """Folders of installed packages that the child can be let to read: libraries import parts of themselves late."""
    from qgate.sandbox.staging import unreadable_part

    places = [Path(place) for place in sys.path if place and Path(place).is_dir()]
    return [place for place in places if unreadable_part(place) is None]


def _imports(file: Path) -> Iterator[str]:
    """Modules that a file imports by absolute name, anywhere in it; none where it is no Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module


def load_function(plugin: Plugin) -> Callable[..., Any]:
    """Imports a plugin's module and returns its function; in the child, once it is confined.

    What the function raises comes as a ``PluginError`` with the error's type and message and the line of the
    plugin that it passed last; running out of memory is left as it is.

    Raises:
        PluginError: The module cannot be imported, or has no such function.
    """
    # Both sides of a pair are loaded at the same time, and may be built by one module.
    with _LOADING:
        module = _module(plugin)
    found = getattr(module, plugin.function, None)
    if not callable(found):
        defined = [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]
        known = f"; it has {', '.join(defined[:8])}" if defined else ""
        what = "is no function" if found is not None else "is not there"
        raise PluginError(
            f"{plugin.function} {what}{known}",
            where=plugin.label,
            remedy="Name a function that the module defines",
        )

    def call(*arguments: Any, **named: Any) -> Any:
        with _told(plugin, f"{plugin.function} raised"):
            return found(*arguments, **named)

    return call


def _module(plugin: Plugin) -> Any:
    if not plugin.file.is_file():
        raise PluginError("there is no such module", where=plugin.label)
    if not plugin.packaged:
        # Under a name of its own: a file called types.py must not become the standard library's.
        name = f"qgate_code_{plugin.root.name.replace('-', '_')}_{plugin.module}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, plugin.file)
        if spec is None or spec.loader is None:
            raise PluginError("this is no Python file", where=plugin.label)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            with _told(plugin, "it cannot be imported:"):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]  # half of a module must not be found by who comes next
            raise
        return module
    top = plugin.module.partition(".")[0]
    there = sys.modules.get(top)
    own = there is not None and str(plugin.root) in str(getattr(there, "__file__", ""))
    if top in sys.stdlib_module_names or (there is not None and not own):
        raise PluginError(
            f"its package is called {top}, as one that is imported already",
            where=plugin.label,
            remedy="Rename the package",
        )
    if str(plugin.root) not in sys.path:
        sys.path.insert(0, str(plugin.root))
    with _told(plugin, "it cannot be imported:"):
        return importlib.import_module(plugin.module)


@contextlib.contextmanager
def _told(plugin: Plugin, what: str) -> Iterator[None]:
    """Turns whatever the plugin raises into a ``PluginError``; a plugin that asks to exit has failed as well."""
    try:
        yield
    except (MemoryError, PluginError):
        raise
    except BaseException as error:
        words = " ".join(str(error).split())[:400]
        raise PluginError(
            f"{what} {type(error).__name__}{f': {words}' if words else ''}",
            where=f"{plugin.label}{_line(plugin, error)}",
            remedy="Correct it on the base branch: it is the trusted side's own code",
        ) from error


def _line(plugin: Plugin, error: BaseException) -> str:
    """The last line of the plugin's files that an error passed, as ``, line 3`` or ``, net.py line 3``."""
    if isinstance(error, SyntaxError) and error.filename and str(plugin.root) in error.filename:
        return _place(plugin, error.filename, error.lineno or 0)
    found = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(str(plugin.root)):
            found = _place(plugin, name, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _place(plugin: Plugin, name: str, line: int) -> str:
    own = Path(name) == plugin.file
    return f", line {line}" if own else f", {Path(name).relative_to(plugin.root)} line {line}"
