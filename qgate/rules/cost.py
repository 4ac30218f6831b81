"""CST: is it worth it?"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Place
from qgate.rules.base import Param, RuleContext, rule


def _size(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("scheme") == "none":
        return
    for found in context.all("artifact.size_ratio"):
        if not found.number <= context.limit("max_ratio"):
            yield context.finding(
                f"the file has {found.number:.0%} of the reference's size",
                at=Place(file="model"),
                evidence=found.detail,
            )


RULES = (
    rule(
        "CST101",
        "The file is smaller than the reference",
        why="A quantized model that saves nothing costs accuracy for nothing.",
        how="Bytes of the model with its side files, against the reference's.",
        remedy="Remove full-precision copies; small models gain little from quantization",
        params=(Param("max_ratio", "Largest ratio of sizes.", 0.9, 1.0, 1.5, unit="ratio"),),
        severity=("warning", "warning", "note"),
        check=_size,
    ),
)
