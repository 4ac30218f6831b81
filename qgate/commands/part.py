"""Options that stand for a part of a policy, checked as the policy would be and refused in its words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.policy.problems import Problem
    from qgate.records import Record

    Part = TypeVar("Part", bound=Record)


def parse_part(
    kind: type[Part],
    values: Mapping[str, Any],
    *,
    option: str,
    remedy: str,
    check: Callable[[Part], Iterable[Problem]] = lambda part: (),
) -> Part:
    """Makes the part of these values.

    Args:
        kind: What it is in a policy.
        values: Its keys.
        option: The option's name, for messages.
        remedy: What to do where the problem does not say.
        check: What its keys must mean together; paths begin in the part.

    Raises:
        UsageError: A policy would refuse it; the first problem is told.
    """
    from pydantic import ValidationError

    from qgate.policy.problems import from_pydantic, key_path

    def refused(problem: Problem) -> UsageError:
        what = f"{key_path(problem.path)}: {problem.what}"
        return UsageError(what, where=option, remedy=problem.advice() or remedy)

    try:
        part = kind.model_validate(values)
    except ValidationError as error:
        raise refused(next(from_pydantic(error.errors()))) from None
    for problem in check(part):
        raise refused(problem)
    return part


def number(text: str) -> int | float | str:
    """A number where the text is one; else the text, which is refused with the key's name."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
