"""The catalogue in words: for ``qgate explain`` and for ``docs/rules.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from textwrap import fill

from qgate.records import Value
from qgate.rules.base import PROFILES, Family, Param, Rule
from qgate.rules.catalogue import catalogue

CHINESE = {
    Family.ART: "制品", Family.QNT: "量化", Family.RNG: "数值范围一致性", Family.FEA: "特征输出一致性",
    Family.BEH: "模型行为", Family.TRC: "可追溯性", Family.DEP: "可部署性", Family.CST: "成本",
}  # fmt: skip
_HEAD = """# Rules

Generated from the catalogue by `make docs`; `qgate explain RULE` prints one of them. Thresholds are those of
the built-in profiles; a policy sets its own under `profiles` or in a target's `thresholds`:

```yaml
profiles:
  medical: {extends: strict, thresholds: {FEA201: {min_db: 35}, BEH101: {max_drop: 0.002}}}
```

Every rule has a parameter `severity` (`error` blocks, `warning` and `note` inform).
"""


def describe(rule: Rule) -> str:
    """One rule as plain text, at most 100 columns."""
    lines = [f"{rule.id}  {rule.title}", f"       {rule.family.value} ({CHINESE[rule.family]})", ""]
    for label, text in (("Why", rule.why), ("How", rule.how), ("Remedy", rule.remedy)):
        lines.append(fill(text, 100, initial_indent=f"{label + ':':<8}", subsequent_indent=" " * 8))
    lines += ["", f"{'':8}{'parameter':<24}{'strict':>14}{'balanced':>14}{'permissive':>14}"]
    for row in _rows(rule):
        lines.append(f"{'':8}{row[0]:<24}{row[2]:>14}{row[3]:>14}{row[4]:>14}  {row[1]}")
    return "\n".join(lines)


def list_rules(rules: Iterable[Rule]) -> str:
    """A line for each rule."""
    return "\n".join(f"{rule.id}  {rule.title}" for rule in rules)


def document(rules: Iterable[Rule]) -> str:
    """The whole catalogue as Markdown."""
    parts = [_HEAD]
    family = None
    for rule in rules:
        if rule.family is not family:
            family = rule.family
            parts.append(f"\n## {family.name}: {family.value} ({CHINESE[family]})\n")
        parts.append("\n".join(_section(rule)))
    return "\n".join(parts)


def _section(rule: Rule) -> Iterator[str]:
    yield f"### {rule.id}\n\n**{rule.title}.** {rule.why}\n\n*How:* {rule.how}\n\n*Remedy:* {rule.remedy}.\n"
    yield "| parameter | strict | balanced | permissive | meaning |\n|---|---|---|---|---|"
    for name, meaning, *values in _rows(rule):
        yield f"| `{name}` | " + " | ".join(values) + f" | {meaning} |"
    yield ""


def _rows(rule: Rule) -> Iterator[tuple[str, str, str, str, str]]:
    for param in rule.params:
        yield _row(param, None)
        for scheme in param.by_scheme:
            yield _row(param, scheme)


def _row(param: Param, scheme: str | None) -> tuple[str, str, str, str, str]:
    strict, balanced, permissive = (_shown(param.default(p, scheme)[0], param.unit) for p in PROFILES)
    name = param.name if scheme is None else f"{param.name} ({scheme})"
    return name, param.doc, strict, balanced, permissive


def _shown(value: Value, unit: str) -> str:
    number = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{number} {unit}" if unit and number != "inf" and unit != "ratio" else number


if __name__ == "__main__":
    sys.stdout.write(document(catalogue().values()))
