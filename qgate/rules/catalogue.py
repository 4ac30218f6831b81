"""All rules by id. Adding a rule is one entry in its dimension's module."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.rules.base import Rule


@cache
def catalogue() -> Mapping[str, Rule]:
    """Every rule by its id, in the order of families and numbers."""
    from qgate.rules import (
        artifact,
        avx2,
        behaviour,
        chance,
        cost,
        deployability,
        derivation,
        distributions,
        edges,
        features,
        layers,
        other_metrics,
        ranges,
        rounding,
        scheme,
        signature,
        steps,
        structure,
        tensorrt,
        traceability,
        unread,
    )

    modules = (
        artifact,
        unread,
        signature,
        scheme,
        derivation,
        rounding,
        structure,
        ranges,
        steps,
        features,
        distributions,
        edges,
        layers,
        behaviour,
        other_metrics,
        chance,
        traceability,
        tensorrt,
        deployability,
        avx2,
        cost,
    )
    found = {r.id: r for module in modules for r in module.RULES}
    return MappingProxyType(found)


def find_rule(rule_id: str) -> Rule:
    """The rule of that id.

    Raises:
        UsageError: There is no such rule; the nearest id is named.
    """
    rules = catalogue()
    if rule_id.upper() in rules:
        return rules[rule_id.upper()]
    from difflib import get_close_matches

    near = get_close_matches(rule_id.upper(), list(rules), n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else "`qgate explain` lists all rules"
    raise UsageError(f"there is no rule {rule_id!r}", remedy=hint)
