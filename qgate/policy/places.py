"""Whether two lines of a policy name the same place, and how a difference is told."""

from __future__ import annotations

from typing import Literal

from qgate.policy.document import quoted
from qgate.sources.locator import Locator

Kind = Literal["loosened", "changed"]
"""Whether a difference lets more pass."""

Difference = tuple[Kind, str]
"""A difference of two policies in a sentence, and whether it lets more pass."""


def relocated(what: str, old: Locator | None, new: Locator | None) -> str | None:
    """A sentence if the two places differ; a digest on one side alone is no difference."""
    if old is not None and new is not None:
        one_pin = old.sha256 is None or new.sha256 is None
        if old == new or (one_pin and _unpinned(old) == _unpinned(new)):
            return None
    elif old is new:
        return None
    return f"the {what} is {_place(new)}, it was {_place(old)}"


def _unpinned(locator: Locator) -> tuple[type, dict[str, object]]:
    return type(locator), locator.model_dump(exclude={"sha256"})


def _place(locator: Locator | None) -> str:
    if locator is None:
        return "not given"
    pin = f" (sha256 {locator.sha256[:12]})" if locator.sha256 is not None else ""
    return f"{quoted(locator.describe(), 300)}{pin}"
