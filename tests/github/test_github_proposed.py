"""Which files a pull request changes: as GitHub tells it, or not at all."""

from __future__ import annotations

import pytest

from qgate.errors import PublishError
from qgate.git.changes import Change
from qgate.github.proposed import proposed_by
from qgate.github.pulls import pull_facts

POLICY = "version: 1\n"


def asked(rig, config="qgate.yml"):
    client = rig.client()
    return proposed_by(client, pull_facts(client, 7), config)


def test_files_are_changes_and_a_rename_has_two_ends(rig):
    rig.set_up(
        fork="eve/widgets",
        files=[
            {"filename": "m/a.onnx"},
            {"filename": "m/new é.onnx", "status": "added"},
            {"filename": "m/gone.onnx", "status": "removed"},
            {"filename": "m/to.onnx", "status": "renamed", "previous_filename": "m/from.onnx"},
            {"filename": "m/copy.onnx", "status": "copied", "previous_filename": "m/a.onnx"},
        ],
    )
    found = asked(rig)
    assert found.changes == (
        Change("m/a.onnx", "modified"),
        Change("m/new é.onnx", "added"),
        Change("m/gone.onnx", "deleted"),
        Change("m/from.onnx", "deleted", moved="m/to.onnx"),
        Change("m/to.onnx", "added", moved="m/from.onnx"),
        Change("m/copy.onnx", "added"),
    )
    assert (found.policy, found.unknown) == (None, "")


@pytest.mark.parametrize("count", [0, 100, 101, 250])
def test_every_page_is_read(rig, count):
    rig.set_up(files=[{"filename": f"{n}.onnx"} for n in range(count)])
    assert [change.path for change in asked(rig).changes] == [f"{n}.onnx" for n in range(count)]


def test_more_files_than_github_lists_is_unknown_and_not_few(rig):
    rig.set_up(files=[{"filename": f"{n}.onnx"} for n in range(3001)])
    found = asked(rig)
    assert (found.changes, found.unknown) == (None, "GitHub lists 3000 of 3001 changed files")


def test_the_proposed_policy_comes_by_the_name_of_its_bytes(rig):
    rig.set_up(files=[{"filename": "qgate.yml", "content": POLICY}])
    assert asked(rig).policy == POLICY.encode()
    assert asked(rig, "other.yml").policy is None
    rig.set_up(files=[{"filename": "qgate.yml", "content": POLICY, "status": "removed"}])
    assert asked(rig).policy is None


@pytest.mark.parametrize("match", ["/files", "/git/blobs", r"GET .*/pulls/7$"])
def test_what_github_does_not_tell_is_unknown(rig, match):
    rig.set_up(files=[{"filename": "qgate.yml", "content": POLICY}])
    client = rig.client()
    facts = pull_facts(client, 7)
    rig.fault(match, status=403, body={"message": "Resource not accessible by integration"})
    found = proposed_by(client, facts, "qgate.yml")
    assert found.changes is None
    assert found.unknown.startswith("GitHub does not tell: ")


def test_a_head_that_moves_meanwhile_is_not_judged(rig):
    client = rig.client()
    facts = pull_facts(client, 7)
    rig.set_up(head_sha="3" * 40)
    with pytest.raises(PublishError, match="commits were pushed"):
        proposed_by(client, facts, "qgate.yml")
