"""Harnesses of what reads policies, reports, events and the child, and of what writes for others to obey."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import cmarkgfm
import numpy as np
from cmarkgfm.cmark import Options

from qgate.baseline.record import Baseline, read_baseline
from qgate.events import read_activity
from qgate.measure.deployed.arrays import pack, unpack
from qgate.measure.result import Failure, parse_answer
from qgate.policy.load import load_policy
from qgate.records import Verdict
from qgate.report.escape import code, name, prose, visible, workflow_message, workflow_property
from qgate.report.schema import read_report
from qgate.sandbox.engaged import Engaged
from qgate.sandbox.protocol import Listener
from qgate.sandbox.quoting import one_line
from tests.fuzz import injections as injected
from tests.fuzz import live
from tests.fuzz.harness import as_file, harness
from tests.report import samples

ROOT = Path(__file__).resolve().parents[2]


def policies() -> Iterable[bytes]:
    yield (ROOT / "examples" / "qgate.yml").read_bytes()
    yield b"version: 1\ntargets:\n  a:\n    candidate: a.onnx\n    reference: b.onnx\n"
    yield b"a: &x [1]\nb: *x\n<<: {c: 1}\n? [1]\n: !!python/object:os.system x\n"
    yield b"&a [*a, *a]\n"
    yield b"---\n- |\n  text\n- >-\n  folded\n...\n"


@harness(policies, runs=400)
def policy(data: bytes) -> None:
    load_policy(data, "fuzz")


def reports() -> Iterable[bytes]:
    yield from (made.to_json().encode() for made in (samples.passing(), samples.untouched()))
    yield from (b"{}", b"[1e999]")


@harness(reports, runs=500, length=65536)
def report(data: bytes) -> None:
    read_report(as_file(data, "report.json"))


def baselines() -> Iterable[bytes]:
    made = Baseline(
        target="digits", candidate=samples.artifact("a.onnx", 9), isa="x86-64-v3", verdict=Verdict.PASS
    )
    yield made.to_json().encode()
    yield b'{"schema": "qgate-baseline/v9"}'
    yield b'{"target": NaN}'


@harness(baselines, runs=800)
def baseline(data: bytes) -> None:
    found = read_baseline(data, "digits")
    assert (found.state == "stored") == (found.baseline is not None and not found.reason), found
    assert "\n" not in found.reason or found.state == "corrupt"


def answers() -> Iterable[bytes]:
    failure = Failure(kind="memory", role="candidate", what="x")
    yield json.dumps({"schema": "qgate-child/v1", "error": failure.model_dump(mode="json")}).encode()
    yield b'{"schema": "qgate-child/v1", "result": {"samples": 1e400}}'


@harness(answers, runs=500, length=16384)
def child_answer(data: bytes) -> None:
    parse_answer(data, "fuzz")


def packed() -> Iterable[bytes]:
    arrays = [("input", "x", np.zeros((2, 3), np.float32)), ("tap", "t", np.array(1, np.int8))]
    yield pack({"names": {"x": "x"}, "samples": 2, "version": "1"}, arrays)
    yield pack({"error": {"kind": "refused", "role": "candidate", "what": "no"}})


@harness(packed, runs=800, length=4096)
def runtime_answer(data: bytes) -> None:
    answer, arrays = unpack(data, "fuzz")
    assert [each.shape for each in arrays] == [state.shape for state in answer.arrays]


def streams() -> Iterable[bytes]:
    confined = Engaged(65534, 6, seccomp=True).line() + b"\n"
    yield b"hello\n" + confined + b"progress 1 2\nprogress 2 2\nresult 3\nabc"
    yield b"hello\n" + Engaged(0, lacking={"landlock": 38}).line() + b"\nresult 99999999999999999999\n"


@harness(streams, runs=1000)
def child_stream(data: bytes) -> None:
    whole, parts = Listener(), Listener()
    outcomes = []
    for listener, step in ((whole, len(data) or 1), (parts, 7)):
        try:
            for at in range(0, len(data), step):
                listener.feed(data[at : at + step])
            outcomes.append(listener.payload())
        except Exception as error:
            outcomes.append(type(error))
            last = error
    assert outcomes[0] == outcomes[1], outcomes
    if isinstance(outcomes[0], type):
        raise last


EVENTS = ("pull_request", "merge_group", "push", "workflow_run", "workflow_dispatch")


def events() -> Iterable[bytes]:
    repository = {"full_name": "acme/plates", "default_branch": "main"}
    side = {"sha": "a" * 40, "ref": "topic", "repo": {"full_name": "acme/plates", "fork": False}}
    pull = {"number": 1, "head": side, "base": side, "labels": [{"name": "x"}], "draft": False}
    yield json.dumps(
        {"repository": repository, "pull_request": pull, "number": 1, "action": "opened"}
    ).encode()
    yield json.dumps(
        {"repository": repository, "before": "0" * 40, "after": "a" * 40, "ref": "refs/heads/main"}
    ).encode()
    run = {
        "id": 1,
        "event": "pull_request",
        "conclusion": "success",
        "head_sha": "a" * 40,
        "pull_requests": [],
    }
    yield json.dumps({"repository": repository, "workflow_run": run}).encode()
    yield b'{"merge_group": {"head_sha": "' + b"a" * 40 + b'", "base_ref": "main"}}'


@harness(events, runs=600)
def event(data: bytes) -> None:
    path = as_file(data, "event.json")
    for kind in EVENTS:
        _event(kind, path)


def _event(kind: str, path: Path) -> None:
    from qgate.errors import QgateError
    from qgate.settings import read_settings

    try:
        read_activity(read_settings({"GITHUB_EVENT_NAME": kind, "GITHUB_EVENT_PATH": str(path)}))
    except QgateError as refusal:
        assert "\n" not in refusal.what


def injections() -> Iterable[bytes]:
    return (text.encode("utf-8", "surrogatepass") for text in injected.STRINGS)


def rendered(markdown: str) -> str:
    return cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)


@harness(injections, runs=400, length=1024)
def markdown(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for shown in (prose(text), code(text)):
        for context in (
            shown,
            f"| a | b |\n|---|---|\n| {shown} | x |",
            f"> {shown}",
            f"- {shown}\n- end",
            f"# {shown}",
        ):
            html = rendered(context)
            assert not live.in_markdown(html), (shown, html)
            assert "<!--" not in html, (shown, html)
        assert not live.in_log(shown), shown
        assert not live.in_terminal(shown), shown
        table = rendered(f"| a | b |\n|---|---|\n| {shown} | x |")
        assert table.count("<td>") == 2, table


@harness(injections, runs=1000, length=1024)
def terminal(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for shown in (visible(text), one_line(text), name(text)):
        assert len(shown.splitlines()) <= 1, shown
        assert not live.in_terminal(shown), shown
        assert not re.search(r"##\[", shown) or shown == one_line(text), shown
    line = f"::error title={workflow_property(text)}::{workflow_message(text)}"
    assert len(line.splitlines()) == 1, line
    assert line.partition("::")[0] == "", line
