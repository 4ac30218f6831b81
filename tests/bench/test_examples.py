"""Every example model comes out as it must: honest files pass, planted faults are blocked and located."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GROUPS = (
    "digits/",
    "crepe_tiny/",
    "mtcnn_rnet/",
    "ppocr_cls/",
    "silero",
    "torch/",
    "faults/c",
    "faults/[dgi]",
    "faults/f",
    "faults/[sw]",
)


@pytest.mark.parametrize("group", GROUPS)
def test_examples_come_out_as_they_must(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import evaluate
    from evaluate_cases import example_cases

    chosen = [c for c in example_cases(ROOT / "examples", tmp_path) if re.match(group, c.id)]
    assert chosen, f"no example begins with {group}"
    outcomes = [evaluate.verify(case, [str(Path(sys.executable).parent / "qgate")], 120) for case in chosen]
    wrong = {
        o.case.id: (o.verdict, o.reason or o.output) for o in outcomes if not o.right and not o.case.debatable
    }
    assert not wrong
    lost = [o.case.id for o in outcomes if o.case.locate and o.located == "no" and not o.case.debatable]
    assert not lost
