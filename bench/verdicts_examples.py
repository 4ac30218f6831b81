"""The example models as cases of ``bench/verdicts.py``: what they are is known, so no oracle is asked."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from evaluate_cases import Case, example_cases
from verdicts_cases import Machine, Outcome, said

from qgate import cli
from qgate.commands import verification
from qgate.verifier.adhoc import AdHoc

FIRST = -1
"""Numbers of examples count downwards, those of generated cases upwards."""


def asked_by(case: Case) -> AdHoc:
    """What ``qgate verify`` would verify for the arguments of a case."""
    held: list[AdHoc] = []
    plain = verification.verify_pair

    def take(asked: AdHoc, *rest: Any) -> int:
        del rest
        held.append(asked)
        return 0

    line = ["verify", "--reference", str(case.reference), "--candidate", str(case.candidate)]
    line += ["--inputs", str(case.data)] if case.data else []
    line += ["--labels", case.labels] if case.labels else []
    verification.verify_pair = take
    try:
        cli.main([*line, *case.arguments], standalone_mode=False)
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        verification.verify_pair = plain
    return held[0]


def example_outcomes(
    folder: Path, done: Collection[int], machines: Callable[[int], list[Machine]]
) -> Iterator[Outcome]:
    """Every example with a known truth, as what ``machines`` says for its place; ``done`` are left out."""
    with tempfile.TemporaryDirectory(prefix="verdicts-data-") as scratch:
        for place, case in enumerate(example_cases(folder, Path(scratch))):
            number = FIRST - place
            if number in done:
                continue
            outcome = Outcome(
                number, case.id, case.kind in ("honest", "control"), kind=f"example, {case.kind}"
            )
            outcome.truth = {"expected": list(case.expected), "debatable": case.debatable}
            yield said(outcome, asked_by(case), machines(place))
