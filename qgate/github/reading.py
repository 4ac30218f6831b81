"""Reading fields of GitHub's answers: what is missing or of another type is an error that names it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from qgate.errors import PublishError

T = TypeVar("T")


def field(body: Mapping[str, Any], path: str, kind: type[T]) -> T:
    """The field at a dotted path.

    Raises:
        PublishError: It is missing or no ``kind``.
    """
    value: object = body
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise PublishError(
            f"the answer has no usable {path}",
            remedy="Check GITHUB_API_URL and any proxy between the runner and GitHub",
        )
    return value


def moment(body: Mapping[str, Any], path: str) -> datetime:
    """The time at a dotted path.

    Raises:
        PublishError: It is missing, no time, or has no time zone.
    """
    text = field(body, path, str)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise PublishError(f"the answer's {path} is no time") from error
    if parsed.tzinfo is None:
        raise PublishError(f"the answer's {path} has no time zone")
    return parsed
