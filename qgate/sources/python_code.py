"""How a policy or a command line names code of the trusted side: ``module:function``.

``models/factory.py:build`` names a file of the repository, ``acme.models.factory:build`` the same as Python imports
it. Nothing is opened here: this is the grammar alone. ``sources.code`` copies what is named, ``measure.plugin``
loads it in the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from qgate.sources.locator import relative_path

MAX_SPEC = 500


@dataclass(frozen=True)
class CodeName:
    """A parsed ``module:function``.

    Args:
        candidates: Paths that the module may have, the likelier first, ``/`` between their parts.
        function: What is called in it.
    """

    candidates: tuple[str, ...]
    function: str

    @classmethod
    def parse(cls, text: str) -> CodeName:
        """The parts of a name that ``python_spec`` accepts; a path may be absolute here, for command lines."""
        module, _, function = text.rpartition(":")
        if module.endswith(".py"):
            return cls((module,), function)
        stem = module.replace(".", "/")
        return cls((f"{stem}.py", f"{stem}/__init__.py"), function)


def python_spec(text: str, *, absolute: bool = False) -> str:
    """Checks the grammar; returns the name as it was written.

    Args:
        text: The name.
        absolute: The user of a command line may name any file, absolute or above the current folder.

    Raises:
        ValueError: It is not ``path/to/file.py:function`` nor ``module:function``.
    """
    module, colon, function = text.rpartition(":")
    if not colon or len(text) > MAX_SPEC or not text.isprintable():
        raise ValueError("code is named as path/to/file.py:function or package.module:function")
    if not function.isidentifier() or not function.isascii():
        raise ValueError(f"{function[:60]!r} behind the colon is not the name of a function")
    if module.endswith(".py"):
        if not absolute:
            relative_path(module)
        return text
    if not all(part.isidentifier() and part.isascii() for part in module.split(".")):
        raise ValueError(
            f"{module[:120]!r} is neither a .py file nor a module: write path/to/file.py:function "
            "or package.module:function"
        )
    return text


PythonSpec = Annotated[
    str,
    AfterValidator(python_spec),
    Field(max_length=MAX_SPEC, json_schema_extra={"pattern": r"^.+:[A-Za-z_][A-Za-z0-9_]*$"}),
]
"""Code of the trusted side in a policy: ``path/to/file.py:function`` or ``package.module:function``."""
