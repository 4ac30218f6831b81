"""What is wrong with a policy, in words: pydantic's errors and our own as places, sentences and remedies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from qgate.errors import PolicyError
from qgate.policy.document import Node, Path, quoted, type_name
from qgate.policy.schema import Policy
from qgate.rules.nearest import did_you_mean, nearest

_SHOWN = 5
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}
_KINDS_OF_PLACE = ("git", "url", "release", "hf", "path")  # pydantic puts the kind into an error's path
_UNITS = {"_mb": "MiB", "_seconds": "seconds"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        path: Where in the document; parts that do not exist there are passed over.
        what: A sentence without a final full stop.
        remedy: What the user does next; worked out only where it is shown, because looking for the
            nearest of many names takes long.
    """

    path: Path
    what: str
    remedy: str | Callable[[], str] = ""

    def advice(self) -> str:
        """The remedy, worked out."""
        return self.remedy if isinstance(self.remedy, str) else self.remedy()


def policy_error(problems: list[Problem], root: Node, where: str) -> PolicyError:
    """One error for all problems: the first in the file in full, the next few by place and sentence."""
    placed = sorted(
        ((root.trace(problem.path), problem) for problem in problems),
        key=lambda pair: (pair[0].line, pair[0].column),
    )
    (first, problem), rest = placed[0], placed[1:]
    key = f"{key_path(first.path)}: " if first.path else ""
    remedy = problem.advice()
    more = "".join(
        f"; line {trace.line}: {key_path(trace.path) or 'the policy'}: {other.what}"
        for trace, other in rest[: _SHOWN - 1]
    )
    if len(rest) >= _SHOWN:
        more += "; and more"
    if not remedy:
        remedy = f"Correct {f'`{key_path(first.path)}`' if first.path else 'the file'} in line {first.line}"
    return PolicyError(
        f"{key}{problem.what}{more}", where=f"{where}:{first.line}:{first.column}", remedy=remedy
    )


def key_path(path: Path) -> str:
    """``targets[0].thresholds.FEA201.min_db``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def from_pydantic(errors: Iterable[ErrorDetails]) -> Iterator[Problem]:
    """Pydantic's errors in our words; a key that is missing because it is misspelt is told once."""
    found = list(errors)
    unknown: dict[Path, list[str]] = defaultdict(list)
    for error in found:
        if error["type"] == "extra_forbidden":
            unknown[tuple(error["loc"][:-1])].append(str(error["loc"][-1]))
    for error in found:
        *owner, key = error["loc"] or ("",)
        if error["type"] == "missing" and nearest(str(key), unknown.get(tuple(owner), ())) is not None:
            continue
        yield _problem(error)


def _problem(error: ErrorDetails) -> Problem:
    kind, path, context = error["type"], tuple(error["loc"]), error.get("ctx", {})
    if path and path[-1] == "[key]":
        return Problem(path[:-1], f"the key {quoted(path[-2])} is not allowed: {_reason(error, context)}")
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return _missing_key(path)
    if kind in _WANTED:
        return _wrong_type(path, kind, error["input"])
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        given = error["input"]
        remedy = partial(did_you_mean, given, words) if isinstance(given, str) else ""
        return Problem(path, f"must be one of {', '.join(words)}, not {_shown(given)}", remedy)
    reason = _reason(error, context)
    given = error["input"]
    shown = "" if isinstance(given, dict | list | tuple) or kind == "locator" else f" (it is {_shown(given)})"
    return Problem(path, f"{reason}{shown}", _remedy(path))


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    return f"the {type_name(value)}"


def _reason(error: ErrorDetails, context: Mapping[str, Any]) -> str:
    kind = error["type"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"it must match {context['pattern']}"
    if kind in ("string_too_short", "string_too_long"):
        return "it is empty" if kind == "string_too_short" else f"it is longer than {context['max_length']}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {context[key]}"
    return error["msg"][:1].lower() + error["msg"][1:]


def _remedy(path: Path) -> str:
    if path and path[-1] == "name":
        return "Begin with a letter or digit; letters, digits, '.', '_' and '-' follow, 64 at most"
    return ""


def _wrong_type(path: Path, kind: str, given: object) -> Problem:
    what = f"must be {_WANTED[kind]}, not {_shown(given)}"
    last = next((part for part in reversed(path) if isinstance(part, str)), "")
    unit = next((unit for suffix, unit in _UNITS.items() if last.endswith(suffix)), None)
    if kind == "int_type" and unit is not None:
        return Problem(path, what, f"Write the plain number of {unit}, without a unit")
    if given is None:
        return Problem(path, what, f"Give `{last}` a value, or remove the key")
    if kind == "string_type" and not isinstance(given, dict | list):
        return Problem(path, what, "Put it in quotes")
    if kind == "bool_type" and isinstance(given, str):
        return Problem(path, what, "YAML 1.2 knows only `true` and `false`, without quotes")
    return Problem(path, what)


def _unknown_key(path: Path) -> Problem:
    key, models = str(path[-1]), _models_at(path[:-1])
    known = list(dict.fromkeys(name for model in models for name in model.model_fields))
    if key in known:  # a key of another kind of place
        return Problem(path, f"the key {quoted(key)} does not go with the others here", "Remove one of them")
    return Problem(path, f"unknown key {quoted(key)}", partial(did_you_mean, key, known))


def _missing_key(path: Path) -> Problem:
    owner = path[:-1]
    if owner and owner[-1] in _KINDS_OF_PLACE:
        owner = owner[:-1]
    text = {
        "version": "Begin the file with `version: 1`",
        "sha256": "Pin the file: `sha256sum FILE` prints the digest",
        "until": "A waiver ends some day: write `until: YYYY-MM-DD`",
    }
    key = str(path[-1])
    return Problem(owner, f"the key `{key}` is missing", text.get(key, f"Add `{key}:`"))


def _models_at(path: Path) -> list[type[BaseModel]]:
    """The models that may stand at ``path``; for a place, all kinds of place."""
    models: list[type[BaseModel]] = [Policy]
    for part in path:
        below = [
            model
            for owner in models
            if (field := owner.model_fields.get(str(part))) is not None
            for model in _models_in(field.annotation)
        ]
        models = below or models
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
