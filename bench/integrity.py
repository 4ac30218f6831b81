"""The integrity table: what is blocked, found and located, and what is not, each figure beside its goal.

``python bench/integrity.py [--scale S] [--sections containers,injection] [--no-docs]``. Each section is a module
``integrity_NAME.py`` with ``run(scale)``. Prints Markdown, at scale 1 also writes each section into its place in
``docs/evaluation.md``, and ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from evaluate import write_between
from integrity_rows import Row

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs" / "evaluation.md"
NAMED = 12
"""Misses that are listed by name; all of them are printed."""


def sections() -> dict[str, Path]:
    """The modules with rows, by name; helpers of a section have no ``run``."""
    found = {}
    for path in sorted(HERE.glob("integrity_*.py")):
        if "\ndef run(scale: float)" in path.read_text():
            found[path.stem.removeprefix("integrity_")] = path
    return found


def rows(name: str, scale: float) -> Iterator[Row]:
    """The rows of one section; what it raises is a row that misses its goal."""
    try:
        module: ModuleType = importlib.import_module(f"integrity_{name}")
        yield from module.run(scale)
    except Exception as error:
        traceback.print_exc()
        yield Row(f"the section {name}", f"{type(error).__name__}: {error}"[:200], "runs", met=False)


def table(found: dict[str, list[Row]]) -> str:
    """One table for each section, as Markdown."""
    parts = []
    for name, held in found.items():
        lines = [
            f"### {name.replace('_', ' ').capitalize()}",
            "",
            "| what | figure | goal | |",
            "|---|---|---|---|",
        ]
        for row in held:
            mark = {True: "met", False: "**missed**", None: ""}[row.met]
            others = "".join(f"; {peer}: {value}" for peer, value in row.others)
            lines.append(f"| {_cell(row.what)} | {_cell(row.value + others)} | {_cell(row.goal)} | {mark} |")
        missed = [row for row in held if row.misses]
        lines += [""] if missed else []
        for row in missed:
            more = f" and {len(row.misses) - NAMED} more" if len(row.misses) > NAMED else ""
            named = ", ".join(f"`{miss}`" for miss in row.misses[:NAMED])
            word = ", not so" if row.met is False else ""
            lines.append(f"- {row.what}{word}: {named}{more}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Command line; 1 where a goal is missed."""
    known = sections()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="1 is the published size, smaller is quicker"
    )
    parser.add_argument("--sections", default=",".join(known), help=f"of {', '.join(known)}")
    parser.add_argument("--no-docs", action="store_true", help="print only")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.sections.split(",") if name]
    if unknown := set(chosen) - set(known):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    found: dict[str, list[Row]] = {}
    for name in chosen:
        began = time.monotonic()
        found[name] = list(rows(name, arguments.scale))
        if not found[name]:
            found[name] = [Row(f"the section {name}", "no rows", "rows", met=False)]
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        for row in found[name]:
            for miss in row.misses:
                print(f"  {row.what}: {miss}", file=sys.stderr)
    text = table(found)
    print(text)
    if arguments.scale == 1 and not arguments.no_docs:
        for name, held in found.items():
            write_between(DOCS, f"integrity-{name}", table({name: held}))
    return int(any(row.met is False for held in found.values() for row in held))


if __name__ == "__main__":
    sys.exit(main())
