"""The ``--io`` options: declared differences of the interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from qgate.commands.part import number, parse_part
from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.measure.interface import Interface

V = TypeVar("V")

_NUMBERS = ("k", "ignore", "blank", "score")
"""Options of a task that are numbers; others are words and names, which an output may be called by a number."""


def parse_interface(
    names: tuple[str, ...], optional: tuple[str, ...], types: tuple[str, ...], shapes: tuple[str, ...]
) -> Interface:
    """Reads the --io options.

    Raises:
        UsageError: One is not of the form NAME=VALUE, or a shape is no shape.
    """
    from qgate.measure.interface import Interface

    # `sr=` maps an input to nothing: the candidate has none.
    absent = tuple(item[:-1] for item in names if item.endswith("=") and len(item) > 1)
    return Interface(
        map=_once((_split(item, "--io-map") for item in names if item[:-1] not in absent), "--io-map"),
        optional=(*optional, *absent),
        types=_once(((name, _dtype(text)) for name, text in _pairs(types, "--io-type")), "--io-type"),
        shapes=_once(((name, _shape(text)) for name, text in _pairs(shapes, "--io-shape")), "--io-shape"),
    )


def _pairs(items: tuple[str, ...], option: str) -> Iterator[tuple[str, str]]:
    return (_split(item, option) for item in items)


def _once(pairs: Iterable[tuple[str, V]], option: str) -> dict[str, V]:
    found: dict[str, V] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"{name!r} is declared twice", where=option, remedy="Declare each name once")
        found[name] = value
    return found


def _split(item: str, option: str) -> tuple[str, str]:
    name, separator, value = item.rpartition("=")
    if not separator or not name or not value:
        raise UsageError(
            f"{item!r} is not of the form NAME=VALUE", where=option, remedy=f"Write {option} input=other"
        )
    return name, value


def _dtype(text: str) -> str:
    from typing import get_args

    from qgate.policy.values import DType

    known = get_args(DType)
    if text not in known:
        raise UsageError(
            f"{text!r} is no element type", where="--io-type", remedy="Write one of " + ", ".join(known)
        )
    return text


def _shape(text: str) -> tuple[int | None, ...]:
    parts = text.lower().split("x")
    if not all(part == "?" or (part.isdecimal() and 0 < int(part) < 2**31) for part in parts):
        raise UsageError(
            f"{text!r} is no shape", where="--io-shape", remedy="Write --io-shape input=1x3x?x224"
        )
    return tuple(None if part == "?" else int(part) for part in parts)


def parse_task(metric: str | None, options: tuple[str, ...]) -> dict[str, float | str]:
    """Reads the --task-option options.

    Raises:
        UsageError: There is no metric that they are for, or no such option or value.
    """
    if not options:
        return {}
    from qgate.policy.check import check_readings
    from qgate.policy.schema import OPTIONS, TaskSpec

    where, given = "--task-option", dict(_pairs(options, "--task-option"))
    for name in given:
        if metric is None:
            raise UsageError(f"{name!r} is told to no task", where=where, remedy="Name the task with --task")
        if metric not in OPTIONS.get(name, ()):
            known = ", ".join(key for key, metrics in OPTIONS.items() if metric in metrics) or "none"
            raise UsageError(
                f"{name!r} is no option of the task {metric}", where=where, remedy=f"It has: {known}"
            )
    values = {key: number(text) if key in _NUMBERS else text for key, text in given.items()}
    spec = parse_part(
        TaskSpec,
        {"metric": metric, **values},
        option=where,
        remedy="See docs/policy.md, `task`",
        check=lambda part: check_readings(part, ()),
    )
    return spec.options()


def factories(both: str | None, candidate: str | None, reference: str | None) -> dict[str, str]:
    """Code by role, from ``--factory``, ``--candidate-factory`` and ``--reference-factory``."""
    named = {"factory.candidate": candidate or both, "factory.reference": reference or both}
    return {role: spec for role, spec in named.items() if spec}


def task_code_of(metric: str | None, code: str | None) -> dict[str, str]:
    """The function of --task-code by its role.

    Raises:
        UsageError: The task has none, or needs one.
    """
    from qgate.policy.schema import BOXES

    own = metric in ("python", "decoded")
    if own != (code is not None) and metric not in BOXES:
        raise UsageError(
            "--task-code belongs to --task python and --task decoded, and may decode boxes (--task map)",
            where="--task-code",
            remedy="Give both, or neither",
        )
    return {"task": code} if code is not None else {}
