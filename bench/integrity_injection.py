"""Injection strings in five outputs: none may be alive in a comment, a page, a terminal, the log or a status.

Each string names the parts of a model (nodes, tensors, inputs, a domain, a side file) or a function in a pickle;
``qgate verify`` is run on it, and its real outputs are rendered as their readers do: Markdown by GitHub's own
renderer, the page by an HTML parser, the rest by the rules of terminals and of the workflow runner.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cmarkgfm
import numpy as np
from cmarkgfm.cmark import Options
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from integrity_rows import Row
from integrity_verify import Said, verify

from qgate.github.outputs import write_outputs
from qgate.github.status import publish_status
from qgate.report.annotations import annotations
from qgate.report.render import render_comment
from qgate.report.schema import read_report
from tests.corpus.hostile import onnx_base
from tests.corpus.hostile.opcodes import Raw, stream
from tests.corpus.hostile.torch_bytes import archive, members
from tests.fuzz import live
from tests.fuzz.injections import STRINGS

MARKER = "<!-- qgate:comment:v1:verdict -->"
OWN = ("::error ", "::warning ", "::notice ")
PLAIN = "plain"
JOBS = 2
OUTPUTS = ("comment", "page", "terminal", "log", "status")


def run(scale: float) -> Iterator[Row]:
    """The rows of this section."""
    strings = STRINGS[:: max(1, round(1 / scale))]
    with tempfile.TemporaryDirectory(prefix="injection-") as name:
        folder = Path(name)
        orders = [
            (s, kind, folder / f"{n}-{kind}") for n, s in enumerate((PLAIN, *strings)) for kind in KINDS
        ]
        with ThreadPoolExecutor(JOBS) as pool:
            said = list(pool.map(lambda order: _said(*order), orders))
        alive, quoted, crashed = _judged(orders, said)
    yield Row(
        f"injection strings alive in {len(OUTPUTS)} outputs", f"{len(alive)} of {len(strings) * len(OUTPUTS)}", "0", not alive,
        misses=tuple(alive),
    )  # fmt: skip
    yield Row("reports that quote what the model says", f"{quoted} of {len(strings) * len(KINDS)}")
    yield Row("runs without a report", str(len(crashed)), "0", not crashed, misses=tuple(crashed))
    raw = [s for s in strings if not any(_raw(s))]
    yield Row(
        "strings that are alive where nothing escapes them", f"{len(strings) - len(raw)} of {len(strings)}", "all", not raw,
        misses=tuple(ascii(s)[:60] for s in raw),
    )  # fmt: skip


def _judged(orders: list[tuple[str, str, Path]], said: list[Said]) -> tuple[list[str], int, list[str]]:
    pages: dict[str, set[str]] = {}
    alive, crashed, quoted = [], [], 0
    for (string, kind, _), found in zip(orders, said, strict=True):
        if found.verdict in ("CRASH", "HUNG"):
            crashed.append(f"{kind}: {ascii(string)[:60]}: {found.output.strip()[-300:]}")
            continue
        page = (found.folder / "report.html").read_text()
        if string == PLAIN:  # what the page itself is made of, its style sheet for one
            pages[kind] = {tag for tag, _ in live.parsed(page).tags}
            continue
        quoted += _is_quoted(string, found)
        for output, constructs in zip(OUTPUTS, _outputs(found, page, pages[kind]), strict=True):
            alive += (
                [f"{output}, {kind}, {ascii(string)[:60]}: {', '.join(constructs[:3])}"] if constructs else []
            )
    return alive, quoted, crashed


def _outputs(said: Said, page: str, own: set[str]) -> Iterator[list[str]]:
    report = read_report(said.folder / "report.json")
    for text in (render_comment(report, marker=MARKER), (said.folder / "summary.md").read_text()):
        html = cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE)
        comments = [c for c in live.parsed(html).comments if f"<!--{c}-->" != MARKER]
        found = live.in_markdown(html) + [f"comment {c[:40]}" for c in comments]
        if found:
            break
    yield found
    yield live.in_html(page, allowed=frozenset(own))
    yield live.in_terminal(said.output, styled=True)
    commands = annotations(report)
    yield live.in_log("\n".join([said.output, *commands]), own=OWN) + _split(commands)
    yield _status(report, said.folder)


def _split(commands: list[str]) -> list[str]:
    """Commands that the runner would read as more than one, or with properties that are not ours."""
    found = []
    for line in commands:
        head, _, _ = line.partition("::")[2].partition("::")
        names = {part.partition("=")[0] for part in head.partition(" ")[2].split(",")}
        found += [line[:80]] if len(line.splitlines()) != 1 or not names <= {"file", "title"} else []
    return found


class _Client:
    """Keeps what would be posted."""

    def post(self, path: str, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.body = body
        return {"url": "https://api.github.com/x"}


def _status(report: Any, folder: Path) -> list[str]:
    """The status' description, and the step's outputs as the runner reads them."""
    client = _Client()
    headline = report.summary.headline
    publish_status(
        client, "a" * 40, verdict=report.verdict, context="qgate", headline=headline, target_url=None
    )
    text = client.body["description"]
    found = (
        live.in_terminal(text) + live.in_log(text) + (["a line break"] if len(text.splitlines()) > 1 else [])
    )
    path = folder / "outputs.txt"
    path.touch()
    write_outputs(path, {"verdict": report.verdict.value, "headline": headline})
    written = re.findall(r"^(\w+)(?:=|<<)", path.read_text(), re.MULTILINE)
    return found + ([f"outputs {written}"] if not set(written) <= {"verdict", "headline"} else [])


def _is_quoted(string: str, said: Said) -> bool:
    """Whether the report holds some of the string: a case that never shows it would prove nothing."""
    word = max(re.findall(r"[A-Za-z0-9.:]+", string), key=len, default=string)[:20]
    return word in str(said.report)


def _raw(string: str) -> Iterator[bool]:
    """Whether the string is alive in each output where it is written as it is."""
    table = f"| a | b |\n|---|---|\n| {string} | x |\n"
    html = cmarkgfm.github_flavored_markdown_to_html(f"{string}\n\n{table}", options=Options.CMARK_OPT_UNSAFE)
    plain = cmarkgfm.github_flavored_markdown_to_html(f"{PLAIN}\n\n{table.replace(string, PLAIN)}")
    yield bool(live.in_markdown(html)) or bool(live.parsed(html).comments)
    yield [t for t, _ in live.parsed(html).tags] != [t for t, _ in live.parsed(plain).tags]
    yield bool(live.in_html(string)) or live.parsed(f"<!-- {string} -->").comments != [f" {string} "]
    yield bool(live.in_terminal(string)) or bool(live.in_log(string)) or "%0A" in string or len(string) > 500
    yield bool(re.search(r":\w+:|:\+1:|\$.*\$|\[/?\w+|\{\{|\b[0-9a-f]{40}\b", string))


def _said(string: str, kind: str, folder: Path) -> Said:
    folder.mkdir(parents=True)
    return KINDS[kind](string, folder)


def _named(string: str, *, tampered: bool) -> bytes:
    """The small model with the string in every name; of a tampered one a weight is another."""
    model = onnx_base.base()
    clean = string.replace("\0", "\\0") or "x"
    rename: Callable[[str], str] = lambda name: f"{name}{clean}"  # noqa: E731
    for node in model.graph.node:
        node.name = rename(node.name)
        node.input[:] = map(rename, node.input)
        node.output[:] = map(rename, node.output)
    for held in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        held.name = rename(held.name)
    model.producer_name = clean
    helper.set_model_props(model, {clean: clean})
    if tampered:
        first = model.graph.initializer[0]
        values = numpy_helper.to_array(first).copy()
        values[0, 0] += 3
        values[1, :] = np.nan
        first.CopyFrom(numpy_helper.from_array(values, first.name))
    return model.SerializeToString()


def names(string: str, folder: Path) -> Said:
    """The string names nodes, tensors, inputs and outputs of a tampered model."""
    (folder / "reference.onnx").write_bytes(_named(string, tampered=False))
    (folder / "candidate.onnx").write_bytes(_named(string, tampered=True))
    return verify(
        folder / "reference.onnx",
        folder / "candidate.onnx",
        folder / "r",
        "--scheme",
        "none",
        "--samples",
        "8",
    )


def domain(string: str, folder: Path) -> Said:
    """The string is an operator's domain and type."""
    model = onnx_base.base()
    word = string.replace("\0", "\\0")[:400]
    onnx_base.insert(model, helper.make_node(word, ["y_in"], ["y"], word, domain=word))
    model.opset_import.append(helper.make_opsetid(word, 1))
    return _refused(model.SerializeToString(), folder, "candidate.onnx")


def side_file(string: str, folder: Path) -> Said:
    """The string is where a weight's bytes are."""
    model = onnx_base.base()
    onnx_base.external(model, location=string)
    return _refused(model.SerializeToString(), folder, "candidate.onnx")


def pickled(string: str, folder: Path) -> Said:
    """The string names what a checkpoint would call."""
    word = string.replace("\n", " ").encode("utf-8", "replace")[:400]
    code = b"c" + word + b"\n" + word + b"\n(tR"
    return _refused(archive(members(stream(Raw(code), protocol=2))), folder, "candidate.pt")


def _refused(data: bytes, folder: Path, name: str) -> Said:
    reference = folder / "reference.onnx"
    reference.write_bytes(onnx_base.base().SerializeToString())
    (folder / name).write_bytes(data)
    return verify(reference, folder / name, folder / "r", "--scheme", "none", "--samples", "8")


KINDS: dict[str, Callable[[str, Path], Said]] = {
    "names": names, "domain": domain, "side-file": side_file, "pickle": pickled,
}  # fmt: skip
