"""A flood of what is nearly harmless does not hide what is grave: the gravest are told first, and a few of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qgate.policy.load import load_policy
from qgate.policy.loosening import loosened
from qgate.policy.schema import Policy
from qgate.policy.weights import Weight, by_weight
from qgate.report.view import POLICY_CHANGES

GRAVE = (
    "target plate: `trust` is code",
    "`sandbox` is reduced",
    "`accept` is allow",
    "`loosen` is allow",
    "target plate: a valid signature is no longer required",
    "the operator evil.domain::op",
    "target plate: `data` is dropped",
    "target plate: the declared derivation is none",
    "a baseline is no longer required",
    "target face is deleted",
)


def policy(*, loose: bool, operators: int = 0, waivers: int = 0) -> Policy:
    def lines() -> Iterator[str]:
        yield "version: 1"
        yield f"require_baseline: {'false' if loose else 'true'}"
        if loose:
            yield from ("sandbox: reduced", "loosen: allow", "accept: allow")
            yield f"allow_ops: [{', '.join(f'evil.domain::op{i}' for i in range(operators))}]"
        yield from ("targets:", "  - name: plate", "    candidate: m.onnx", "    reference: r.onnx")
        yield "    signature: {bundle: m.sig, key: k.pem}"
        if loose:
            yield from ("    trust: code", "    derivation: none")
            yield "    thresholds: {FEA201: {min_db: 1}, FEA202: {min_cosine: 0.1}}"
        else:
            yield from ("    require_signature: true", "    data: {inputs: d.npz}")
            yield "  - {name: face, candidate: n.onnx, reference: g.onnx}"
        if waivers:
            yield "waivers:"
        for i in range(waivers):
            for rule in ("CST101", "ART104"):
                yield f"  - {{target: plate, rule: {rule}, at: 'n {i}', until: 2026-12-01, reason: 'ticket {i}'}}"

    return load_policy("\n".join([*lines(), ""]).encode(), "qgate.yml")


@pytest.mark.parametrize(("operators", "waivers"), [(1, 0), (1, 60), (60, 60)])
def test_what_is_grave_is_told_whatever_else_is_loosened(operators: int, waivers: int) -> None:
    told = loosened(policy(loose=False), policy(loose=True, operators=operators, waivers=waivers))
    shown = told[:POLICY_CHANGES]
    for sentence in GRAVE:
        assert any(each.startswith(sentence) for each in shown), sentence
    assert len(told) >= len(GRAVE) + operators - 1 + 2 * waivers, "all of it stays in the report"


def test_waivers_go_by_severity_and_thresholds_are_last() -> None:
    told = loosened(policy(loose=False), policy(loose=True, operators=5, waivers=3))
    kinds = [
        "error" if "ART104" in each else "note" if "CST101" in each
        else "threshold" if "is looser" in each else "grave"
        for each in told
    ]  # fmt: skip
    assert sorted(set(kinds), key=kinds.index) == ["grave", "error", "note", "threshold"]
    assert kinds == sorted(kinds, key=["grave", "error", "note", "threshold"].index)


def test_a_flood_of_every_kind_leaves_room_for_each_grave_one() -> None:
    few = {Weight.TRUST: 1, Weight.SANDBOX: 1, Weight.APPROVAL: 4}
    flood = [(weight, (weight, i)) for weight in reversed(Weight) for i in range(few.get(weight, 100))]
    ranked = by_weight(flood)
    assert sorted(ranked) == sorted(told for _, told in flood)
    shown = {weight for weight, _ in ranked[:POLICY_CHANGES]}
    assert shown == {weight for weight in Weight if weight <= Weight.DELETION}
