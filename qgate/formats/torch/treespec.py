"""Tree specifications of exported programs: how arguments nest, as JSON within JSON.

PyTorch rebuilds them while it loads a program, and two of their forms import whatever module they name: a
member of an enumeration (``__enum__``: the attribute of a module is then asked for an item, and
``ctypes.cdll`` answers by loading a library) and the factory of a ``defaultdict``.
Source: ``torch/utils/_pytree.py``, enum_object_hook and _defaultdict_deserialize.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from qgate.formats.code import CodeError

_SPECS = ("in_spec", "out_spec")
_FACTORIES = ("list", "dict", "set", "tuple", "int", "float", "str", "bool", "OrderedDict")
_MODULES = ("builtins", "collections")
MAX_LEVELS = 8
"""Texts within texts: a context is JSON in a string, and a dict's context may hold another one."""


def check_tree_specs(found: Any, where: str) -> None:
    """No tree specification of a parsed program may name what a loader would import.

    Raises:
        CodeError: One does, or is none that could be followed.
    """
    for text in _specs(found):
        for value in _objects(text, 0):
            if value is None or "__enum__" in value or not _is_plain_factory(value):
                raise CodeError(
                    "the exported program describes its arguments by an object that a loader would import",
                    where=where, kind="torch-export",
                )  # fmt: skip


def _specs(found: Any) -> Iterator[str]:
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from (value[key] for key in _SPECS if isinstance(value.get(key), str))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _objects(text: str, level: int) -> Iterator[dict[str, Any] | None]:
    """Every JSON object in a text and in the texts that it holds; None where one goes too deep."""
    try:
        waiting = [json.loads(text)]
    except RecursionError:
        yield None
        return
    except ValueError:
        return  # a text of its own: the name of a key, or of a type
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and "{" in value:
            if level >= MAX_LEVELS:
                yield None
                return
            yield from _objects(value, level + 1)


def _is_plain_factory(value: dict[str, Any]) -> bool:
    module, name = value.get("default_factory_module"), value.get("default_factory_name")
    return module is None or (module in _MODULES and name in _FACTORIES)
