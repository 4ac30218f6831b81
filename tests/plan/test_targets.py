"""Which targets a change touches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from qgate.errors import UsageError
from qgate.git.changes import Change, shown
from qgate.plan.targets import Plan, gate_files, make_plan
from qgate.plan.touch import baseline_path
from qgate.policy.schema import Policy


def policy(*targets: dict[str, Any], **top: Any) -> Policy:
    return Policy.model_validate({"version": 1, "targets": list(targets), **top})


A = {"name": "a", "candidate": "a.onnx", "reference": "ref.onnx", "data": {"inputs": "d.npz"}}
B = {"name": "b", "candidate": "b.onnx"}


def modified(*paths: str) -> list[Change]:
    return [Change(path, "modified") for path in paths]


def names(plan: Plan) -> list[str]:
    return [planned.name for planned in plan.run]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (modified("README.md"), []),
        (modified("a.onnx"), ["a"]),
        (modified("ref.onnx"), ["a"]),
        (modified("d.npz"), ["a"]),
        (modified(".qgate/baseline/b.json"), ["b"]),
        (modified("b.onnx.dvc"), ["b"]),
        (modified("b.onnx", "a.onnx"), ["a", "b"]),
        (modified("models/a.onnx"), []),
        (modified("A.onnx"), []),
        ([], []),
        (None, ["a", "b"]),
    ],
)
def test_files_touch_targets(changes: list[Change] | None, expected: list[str]) -> None:
    both = policy(A, B)
    plan = make_plan(both, both, changes)
    assert names(plan) == expected
    assert set(plan.untouched) == {"a", "b"} - set(expected)
    assert all(planned.reasons for planned in plan.run)


def test_related_files_touch_their_target() -> None:
    both = policy(A, B)
    plan = make_plan(both, both, modified("w.bin"), related={"b": {"w.bin"}})
    assert names(plan) == ["b"]
    assert "w.bin" in plan.run[0].reasons[0]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (policy({**B, "scheme": "int8"}), "scheme"),
        (policy({**B, "candidate": "b2.onnx"}), "candidate"),
        (policy(B, profile="strict"), "profile"),
        (policy(B, allow_ops=["com.acme::Gelu"]), "allow_ops"),
        (
            policy(B, waivers=[{"target": "b", "rule": "R", "reason": "x", "until": "2027-01-01"}]),
            "waiver",
        ),
    ],
)
def test_the_lines_that_judge_touch_targets(changed: Policy, reason: str) -> None:
    plan = make_plan(policy(B), changed, modified("qgate.yml"))
    assert names(plan) == ["b"]
    assert reason in plan.run[0].reasons[0]


def test_lines_of_administration_touch_none() -> None:
    assert names(make_plan(policy(B), policy(B, accept="allow", loosen="allow"), modified("qgate.yml"))) == []


def test_added_and_removed_targets_are_planned() -> None:
    plan = make_plan(policy(A), policy(B), modified("qgate.yml"))
    found = {p.name: (p.trusted is None, p.judged is None) for p in plan.run}
    assert found == {"a": (False, True), "b": (True, False)}
    assert names(make_plan(None, policy(A, B), [])) == ["a", "b"]
    assert names(make_plan(policy(A, B), None, [])) == ["a", "b"]


def test_a_moving_revision_is_always_run() -> None:
    moving = policy({"name": "m", "candidate": {"git": "origin/models", "path": "m.onnx"}})
    pinned = policy({"name": "m", "candidate": {"git": "a" * 40, "path": "m.onnx"}})
    assert names(make_plan(moving, moving, [])) == ["m"]
    assert names(make_plan(pinned, pinned, [])) == []


@pytest.mark.parametrize(
    ("changed", "files", "expected"),
    [
        (A, ["ref.onnx"], ("reference",)),
        (A, ["d.npz"], ("data",)),
        (A, ["a.onnx"], ()),
        ({**A, "task": {"metric": "top1"}}, [], ("task",)),
        ({**A, "data": {"inputs": "d.npz", "labels": "y"}}, [], ("data",)),
        ({**A, "reference": {"path": "ref.onnx", "sha256": "a" * 64}}, [], ()),
        ({**A, "data": {"inputs": {"path": "d.npz", "sha256": "a" * 64}}}, [], ()),
        ({key: value for key, value in A.items() if key != "reference"}, [], ("reference",)),
        ({**A, "scheme": "int8"}, [], ()),
    ],
)
def test_what_counts_as_a_new_reference(changed: dict[str, Any], files: list[str], expected: object) -> None:
    plan = make_plan(policy(A), policy(changed), modified("qgate.yml", *files))
    assert plan.run[0].rereferenced == expected if plan.run else expected == ()


def test_a_deleted_candidate_and_where_it_went() -> None:
    both = policy(B)
    plan = make_plan(both, both, [Change("b.onnx", "deleted", moved="c.onnx"), Change("c.onnx", "added")])
    assert plan.run[0].gone == ("b.onnx", "c.onnx")
    moved = policy({**B, "candidate": "c.onnx"})
    assert make_plan(both, moved, [Change("b.onnx", "deleted")]).run[0].gone is None


def test_narrowing_leaves_touched_targets_to_be_told() -> None:
    both = policy(A, B)
    plan = make_plan(both, both, modified("a.onnx", "b.onnx"), only=("b",))
    assert (names(plan), [p.name for p in plan.left_out]) == (["b"], ["a"])
    plan = make_plan(both, both, modified("b.onnx"), only=("b",))
    assert (plan.left_out, plan.untouched) == ((), ("a",))
    plan = make_plan(both, both, None, only=("b",))
    assert (names(plan), plan.left_out) == (["b"], ())
    with pytest.raises(UsageError, match="It has a, b"):
        make_plan(both, both, None, only=("zzz",))


def test_gate_files() -> None:
    changes = modified(
        ".github/workflows/gate.yml",
        ".github/actions/x/action.yaml",
        "action.yml",
        "docs/action.yml",
        "a.yml",
    )
    assert gate_files(changes) == (
        ".github/actions/x/action.yaml",
        ".github/workflows/gate.yml",
        "action.yml",
    )


def test_paths_can_be_shown_whatever_their_bytes() -> None:
    assert shown(b"a\xff.onnx".decode("utf-8", "surrogateescape")) == "a\\xff.onnx"
    assert baseline_path("a") == ".qgate/baseline/a.json"


PATHS = st.sampled_from(["a.onnx", "ref.onnx", "d.npz", "b.onnx", "x", ".qgate/baseline/a.json"])
CHANGES = st.lists(st.builds(Change, PATHS, st.sampled_from(["added", "deleted", "modified"])), max_size=4)


@given(changes=CHANGES, only=st.sets(st.sampled_from(["a", "b"])))
@few(max_examples=60, deadline=None)
def test_every_target_is_somewhere(changes: list[Change], only: set[str]) -> None:
    both = policy(A, B)
    plan = make_plan(both, both, changes, only=only)
    everywhere = [*names(plan), *plan.untouched, *(p.name for p in plan.left_out)]
    assert sorted(everywhere) == ["a", "b"]
