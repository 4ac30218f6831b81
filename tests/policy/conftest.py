"""A small catalogue and a loader, so that these tests stand still when the real rules move."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from textwrap import dedent

import pytest

from qgate.policy.load import load_policy
from qgate.policy.schema import Policy
from qgate.rules.base import Param, Rule, rule
from qgate.rules.traceability import RULES as TRC


def _rule(rule_id: str, *params: Param, severity: tuple[str, str, str] = ("error",) * 3) -> Rule:
    title = f"What {rule_id} demands"
    return rule(rule_id, title, why="w", how="h", remedy="r", params=params, severity=severity)


@pytest.fixture(scope="session")
def rules() -> Mapping[str, Rule]:
    """Every kind of parameter once: min, max, by scheme, a word, a flag, and one without a direction."""
    found = (
        _rule(
            "FEA201",
            Param("min_db", "d", 30.0, 20.0, 10.0, unit="dB", by_scheme={"int4": (20.0, 12.0, 5.0)}),
            severity=("error", "error", "warning"),
        ),
        _rule("FEA202", Param("max_l2", "d", 0.02, 0.05, 0.1, unit="ratio"), Param("bins", "d", 64, 64, 64)),
        _rule(
            "BEH301",
            Param("max_drop", "d", 0.005, 0.01, 0.03),
            Param("require_power", "d", True, False, False),
        ),
        _rule("QNT104", Param("method", "d", "exact", "auto", "auto", choices=("exact", "auto"))),
        _rule("FEA207", Param("max_value", "d", math.inf, math.inf, math.inf)),
        _rule("TRC102", Param("sqnr_db", "d", 0.5, 1.0, 3.0, unit="dB")),
        next(r for r in TRC if r.id == "TRC104"),
    )
    return {r.id: r for r in found}


Load = Callable[[str], Policy]


@pytest.fixture(scope="session")
def load(rules: Mapping[str, Rule]) -> Load:
    """Loads policy text under the small catalogue."""
    return lambda text: load_policy(dedent(text).encode(), "qgate.yml", rules=rules)
