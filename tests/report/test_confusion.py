"""The table of changed answers: right, capped, and no way into the page for a hostile report."""

from __future__ import annotations

from typing import Any

import pytest

from qgate.records import Measurement
from qgate.report.confusion import MAX_CLASSES, confusion
from qgate.report.html import render_html

from . import samples
from .test_html import read


def measured(pairs: Any, changed: int = 9) -> Measurement:
    return Measurement(
        name="task.answers_changed", value=changed, unit="samples", n=100, detail={"confusion": pairs}
    )


def pair(before: Any, after: Any, count: Any) -> dict[str, Any]:
    return {"reference": before, "candidate": after, "samples": count}


def test_rows_are_the_reference_and_columns_the_candidate() -> None:
    found = confusion([measured([pair(3, 7, 5), pair(7, 3, 2), pair(3, -1, 1)])])
    assert found is not None
    assert found.classes == (-1, 3, 7)
    assert found.rows == ((None, 0, 0), (1, None, 5), (0, 2, None))
    assert (found.shown, found.changed, found.largest) == (8, 9, 5)


def test_the_classes_with_most_changes_are_shown() -> None:
    found = confusion([measured([pair(i, i + 1, 100 - i) for i in range(60)], 10_000)])
    assert found is not None and len(found.classes) == MAX_CLASSES
    assert found.shown < found.changed and 1 in found.classes and 59 not in found.classes


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        "text",
        [1],
        [pair("<script>", 1, 1)],
        [pair(1, 1, 4)],
        [pair(1, 2, 0)],
        [pair(1, 2, True)],
        [pair(1, 2, 1e300)],
        [pair(2**60, 2, 1)],
        [pair(None, 2, 1)],
        [{}],
    ],
)
def test_what_is_no_confusion_is_no_table(pairs: Any) -> None:
    assert confusion([measured(pairs)]) is None
    assert confusion([]) is None


def test_the_page_folds_the_table() -> None:
    report = samples.failing()
    first = report.targets[0]
    own = (*first.measurements, measured([pair(3, 7, 5), pair(4, -1, 2)]))
    targets = (first.model_copy(update={"measurements": own}), *report.targets[1:])
    page = render_html(report.model_copy(update={"targets": targets}))
    outline = read(page)
    assert "Changed answers" in outline.text and "Changed answers" not in read(render_html(report)).text
    table = page[page.index("Changed answers") :]
    assert table.index("<b>5</b>") < table.index("</details>")
