"""Whether verdicts on behaviour are right about damage and quiet about noise: trained models, an independent oracle.

``python bench/verdicts.py [--cases N] [--first N] [--kinds K,K] [--shard I/N] [--json FILE] [--examples DIR]`` prints
tables. Each case is a small net of its own (``verdicts_models``), trained here, quantized by one of several tools
(``verdicts_tools``): honestly, or damaged in one of many ways (``verdicts_damage``), just enough for the oracle to notice.
What counts as damage the oracle decides (``verdicts_oracle``): both models on ``ORACLE`` samples that qgate never sees. A case
is *damaged* where the metric, a class or a slice truly drops by more than the profile allows, and *honest* where it was
quantized honestly and does not; weak damage is neither, and is judged by nobody. Every case is verified with 2 threads, a
share of them with 1 and 4 as well, a share on an emulated processor.

Each case is saved as a line of ``--json`` when it is done; a run that is given the same file goes on where it ended. ``--show
FILE FILE`` prints the tables of such files and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from evaluate import write_between
from verdicts_cases import Machine, Outcome, generated
from verdicts_examples import example_outcomes
from verdicts_models import ALL, KINDS
from verdicts_runs import QEMU, Emulated, can_emulate
from verdicts_tables import tables

DOCS = Path(__file__).resolve().parents[1] / "docs" / "evaluation.md"


def numbers(first: int, cases: int, shard: str) -> Iterator[int]:
    """The cases of a share; the two cases of a problem stay together, so that it is trained once."""
    mine, of = map(int, shard.split("/"))
    yield from (number for number in range(first, first + cases) if number // 2 % of == mine - 1)


def machines(number: int, repeat: int, emulate: int, emulated: list[Emulated]) -> list[Machine]:
    """As what a case is verified: 2 threads first, then what its turn says."""
    found = [Machine("2 threads", 2)]
    if repeat and number // 2 % repeat == 0:
        found += [Machine("1 thread", 1), Machine("4 threads", 4)]
    if emulate and number % emulate == 0:
        found += [Machine(each.cpu, 2, each) for each in emulated]
    return found


def load(path: Path) -> list[Outcome]:
    """The cases that a file holds; a line that was cut off when a run ended counts as not there."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(Outcome(**json.loads(line)))
        except ValueError:
            continue
    return found


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := set(kinds) - set(ALL):
        raise argparse.ArgumentTypeError(f"no kinds of nets: {', '.join(sorted(unknown))}")
    return kinds


def main() -> int:
    """Runs the cases, and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=760, help="half of them honest")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, an even one")
    parser.add_argument(
        "--kinds", type=_kinds, default=KINDS,
        help=f"kinds of nets with commas, of {', '.join(ALL)}; recorded cases are of the first {len(KINDS)} together",
    )  # fmt: skip
    parser.add_argument("--shard", default="1/1", help="I/N: the I-th of N shares")
    parser.add_argument(
        "--repeat", type=int, default=1, help="every so many problems also with 1 and 4 threads; 0 none"
    )
    parser.add_argument(
        "--emulate", type=int, default=0, help="every so many cases also on an emulated processor; 0 none"
    )
    parser.add_argument(
        "--cpu", default="Haswell-noTSX", help=f"which, as {QEMU} lists them; several with commas"
    )
    parser.add_argument(
        "--examples", type=Path, help="folder of example models; its cases come first, in the first share"
    )
    parser.add_argument("--json", type=Path, help="where outcomes are kept")
    parser.add_argument("--show", type=Path, nargs="+", help="print the tables of these files, run nothing")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/evaluation.md")
    asked = parser.parse_args()
    if asked.show:
        outcomes = [outcome for path in asked.show for outcome in load(path)]
    else:
        if asked.emulate and not can_emulate():
            parser.error(f"--emulate needs {QEMU} (Debian's package qemu-user)")
        outcomes = _run(asked)
    text = "\n".join(tables(outcomes))
    print(text)
    if asked.docs:
        write_between(DOCS, "verdicts", text)
    return 0


def _run(asked: argparse.Namespace) -> list[Outcome]:
    outcomes = load(asked.json) if asked.json else []
    done = {each.number for each in outcomes}
    emulated = [Emulated(cpu) for cpu in asked.cpu.split(",")] if asked.emulate else []

    def keep(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if asked.json:
            with asked.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
        told = (
            {profile: each["verdict"] for profile, each in outcome.first.items()}
            if outcome.runs
            else outcome.problem
        )
        print(f"{outcome.number}: {outcome.name}: {told} {outcome.flips}", file=sys.stderr, flush=True)

    try:
        if asked.examples and asked.shard.startswith("1/"):
            for outcome in example_outcomes(
                asked.examples, done, lambda place: machines(2 * place, asked.repeat, 0, [])
            ):
                keep(outcome)
        for number in numbers(asked.first, asked.cases, asked.shard):
            if number not in done:
                with tempfile.TemporaryDirectory(prefix="verdicts-") as folder:
                    keep(
                        generated(
                            number,
                            machines(number, asked.repeat, asked.emulate, emulated),
                            Path(folder),
                            asked.kinds,
                        )
                    )
    finally:
        for each in emulated:
            each.close()
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
