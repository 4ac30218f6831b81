"""The JSON Schema of ``report.json``, generated from the record: ``python -m qgate.report.jsonschema``.

``schemas/qgate-report-v1.json`` is this module's output; a test fails where the two differ.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from qgate.report.canonical import canonical_json
from qgate.report.schema import Report

_ID = "qgate-report-v1.json"
_NON_FINITE = {"enum": ["nan", "inf", "-inf"], "type": "string"}


def report_schema() -> dict[str, Any]:
    """The schema of a written report: every key present, no other allowed, NaN and infinities as words."""
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    _tighten(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _ID,
        **schema,
        "title": "qgate report, version 1",
    }


def _tighten(node: Any) -> None:
    """Says what pydantic leaves open.

    A written report has every key. A number that may be a string may only be one of the three words.
    """
    if isinstance(node, list):
        for item in node:
            _tighten(item)
    if not isinstance(node, dict):
        return
    choices = node.get("anyOf", [])
    kinds = {choice.get("type") for choice in choices}
    if kinds - {"null"} == {"number", "string"}:
        node["anyOf"] = [_NON_FINITE if choice == {"type": "string"} else choice for choice in choices]
    if node.get("additionalProperties") is False:
        node["required"] = sorted(node["properties"])
    for item in node.values():
        _tighten(item)


def main(arguments: list[str]) -> int:
    """Writes the schema to the file named, or to standard output."""
    text = canonical_json(report_schema())
    if arguments:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
