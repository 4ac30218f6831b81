"""The truth table of the TensorRT lint: what it says of small models, and what NVIDIA's parser and builder say.

``python bench/tensorrt.py`` writes the table into docs/runtimes.md; ``--json`` prints it instead. It needs
``qgate[tensorrt]``. The models are made here, so that they are judged without the sandbox.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
from tensorrt_models import CASES, Case

from qgate.formats.read import read_model
from qgate.judge import judge as judge_measurements
from qgate.measure.deploy import measure_deployment
from qgate.policy.thresholds import resolve
from qgate.runtimes.tensorrt_rtx import judge

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "runtimes.md"
BEGIN, END = "<!-- tensorrt: begin -->", "<!-- tensorrt: end -->"


@dataclass(frozen=True)
class Row:
    """One model.

    Args:
        name: What it is.
        rules: Rules of the lint that spoke, with their severity.
        parser: What the parser said: ``accepts``, or its error.
        builder: What the builder said; empty where it was not asked.
        why: Why lint and parser differ, where they do.
    """

    name: str
    rules: dict[str, str]
    parser: str
    builder: str
    why: str

    @property
    def lint_refuses(self) -> bool:
        return "error" in self.rules.values()

    @property
    def nvidia_refuses(self) -> bool:
        return self.parser != "accepts" or self.builder == "refuses"

    @property
    def disagree(self) -> bool:
        """Whether lint and parser differ, whatever the builder says later."""
        return self.lint_refuses != (self.parser != "accepts")


def row(case: Case, folder: Path) -> tuple[Row, str]:
    path = folder / "m.onnx"
    onnx.save(case.build(), path)
    found = tuple(measure_deployment(read_model(path), None, ("tensorrt",)))
    judged = judge_measurements(found, resolve(None, None, "balanced", "int8"), scheme="int8", declared={})
    verdict = judge(path, {})
    parser = ", ".join(dict.fromkeys(f"{e.code} {e.operator}".strip() for e in verdict.errors)) or "accepts"
    builder = {None: "", True: "builds", False: "refuses"}[verdict.built]
    rules = {f.rule: str(f.severity) for f in judged if f.rule.startswith("DEP")}
    return Row(case.name, dict(sorted(rules.items())), parser, builder, case.why), verdict.version


def rows() -> tuple[list[Row], str]:
    with tempfile.TemporaryDirectory() as folder:
        found = [row(case, Path(folder)) for case in CASES]
    return [each for each, _ in found], found[0][1]


def render(table: list[Row], version: str) -> str:
    agree = sum(not each.disagree for each in table)
    lines = [
        f"{len(table)} models, TensorRT-RTX {version}; lint and parser agree on {agree}. `python bench/tensorrt.py`",
        "",
        "| model | lint | parser | builder | why they differ |",
        "|---|---|---|---|---|",
    ]
    for each in table:
        lint = ", ".join(f"{rule} ({weight})" for rule, weight in each.rules.items()) or "silent"
        lines.append(f"| {each.name} | {lint} | {each.parser} | {each.builder} | {each.why} |")
    return "\n".join(lines)


def main() -> None:
    table, version = rows()
    if "--json" in sys.argv:
        told = [
            {**asdict(each), "disagree": each.disagree, "nvidia_refuses": each.nvidia_refuses,
             "lint_refuses": each.lint_refuses} for each in table
        ]  # fmt: skip
        print(json.dumps({"version": version, "rows": told}))
        return
    text = DOCUMENT.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    DOCUMENT.write_text(f"{head}{BEGIN}\n{render(table, version)}\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
