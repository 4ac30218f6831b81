"""Runs what measures cost: both models in turns in one child, then each by itself in a child of its own."""

from __future__ import annotations

from dataclasses import replace

from qgate.errors import MeasureError, SandboxError
from qgate.measure.describe_costs import cost_measurements, parse_cost
from qgate.measure.request import PairRequest
from qgate.records import Measurement
from qgate.sandbox.launch import run_child


def measure_costs(request: PairRequest) -> tuple[Measurement, ...]:
    """Times, memory and load time of a pair that was run already; with the reason where they cannot be had.

    Args:
        request: What was asked of the pair's own run.
    """
    plain = replace(
        request, joined=None, layers=(), taps=(), task="none", labels=None, slices=None, edges=False, code={}
    )
    where = request.label("candidate")
    try:
        found = {
            cost: parse_cost(
                run_child(replace(plain, cost=cost).to_json(), request.limits, where=where).payload, where
            )
            for cost in ("turns", "reference", "candidate")
        }
    except (MeasureError, SandboxError) as error:
        return (Measurement(name="cost.latency_ratio", not_measured=error.what[:300], deterministic=False),)
    return tuple(cost_measurements(found.pop("turns"), found))
