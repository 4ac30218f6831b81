"""BEH: whether the reference itself meets the labels, without which no comparison with them tells anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qgate.records import Finding, Measurement, Verdict
from qgate.rules.base import Param, RuleContext, rule
from qgate.rules.drops import ends

_CHANCE = {
    "mae": "always answering the mean target",
    "rmse": "always answering the mean target",
    "r2": "always answering the mean target",
    "perplexity": "holding every token for as likely as any other",
    "miou": "holding its answers to the labels of another sample",
    "pixel_accuracy": "naming the most frequent class everywhere",
    "cer": "reading the text of another sample",
    "exact_match": "reading the text of another sample",
    "map": "looking for the labels of another image",
    "map50": "looking for the labels of another image",
}


_BOXES = ("map", "map50")

_FAR_BETTER = 2
"""How many times as high the AP50 of another reading is before the declared one is doubted."""

_SCALES = {
    "shares": " and the outputs are taken for shares of the image",
    "pixels": " and the outputs are taken for pixels where the labels are shares of the image",
}


def _chance(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.above_chance"):
        if found.value is None:
            continue
        other = _other_reading(found.detail.get("reading"))
        doubt = _no_better(found) or other or _too_low(found, context.limit("min_map"))
        if not doubt:
            continue
        if other and other != doubt:
            doubt += f"; {other}"
        low, high = ends(found)
        yield context.finding(
            f"{doubt}; what is compared with these labels tells nothing about behaviour",
            at=found.at,
            evidence={"above": found.number, "low": low, "high": high, "n": found.n, **found.detail},
            effect=Verdict.INCONCLUSIVE,
            remedy=_declare(found.detail.get("reading")) if other else None,
        )


def _no_better(found: Measurement) -> str:
    low, high = ends(found)
    if low > 0:
        return ""
    metric = str(found.detail.get("metric", "metric"))
    blind = _CHANCE.get(metric, "always naming the most frequent class")
    if metric.startswith("recall_at"):
        blind = "dealing out its vectors anyhow"
    return (
        f"the reference itself is not shown to be better than chance: its {metric} is "
        f"{_number(found.detail.get('reference'))} on {found.n} samples, and {blind} gives "
        f"{_number(found.detail.get('chance'))} (better by [{low:.4g}, {high:.4g}])"
    )


def _other_reading(told: object) -> str:
    """What is said of boxes that meet the labels far better where their numbers are read in another way."""
    if not isinstance(told, Mapping):
        return ""
    declared, found, low = (_float(told.get(name)) for name in ("declared", "found", "low"))
    if not (found >= _FAR_BETTER * declared and low > 0):
        return ""
    scale = _SCALES.get(str(told.get("scale")), "")
    return (
        f"the reference's boxes meet the labels far better where outputs are read as `format: {told.get('format')}` and "
        f"labels as `label_format: {told.get('label_format')}`{scale}: AP50 is {found:.4g} instead of {declared:.4g} on "
        f"the first {told.get('images')} labelled images"
    )


def _too_low(found: Measurement, least: float) -> str:
    """What is said of a detector that finds next to nothing: half of that could be lost within what BEH101 allows."""
    metric, value = found.detail.get("metric"), _float(found.detail.get("reference"))
    if metric not in _BOXES or value >= least:
        return ""
    return f"the reference itself finds next to nothing: its {metric} is {value:.4g} on {found.n} samples, below {least:.4g}"


def _float(value: object) -> float:
    """A number of a detail; NaN for anything else, as a stored report may hold."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "unknown"


def _declare(told: object) -> str:
    """How boxes are declared as they were found to be meant."""
    held = told if isinstance(told, Mapping) else {}
    more = "; labels in a table can be shares as well (`boxes.relative`), and a function can scale what a model gives"
    return (
        f"If that is how boxes are meant, say so (`format: {held.get('format')}`, `label_format: {held.get('label_format')}`)"
        f"{more if held.get('scale') in _SCALES else ''}"
    )


RULES = (
    rule(
        "BEH111",
        "The reference itself knows what the labels say",
        why="Labels of other data, in another order or counted otherwise, or boxes in another format than is declared, make both "
        "models equally wrong, and no difference between them means anything.",
        how="The judged metric of the reference against an answer that knows nothing of the inputs, on the same samples "
        "with the same paired interval: the most frequent class, the mean target, every token alike, the reference's "
        "own vectors dealt out anyhow, its texts, boxes and classes of places against another sample's labels. "
        "Reported where the interval does not exclude that the reference is no better. Boxes in a wrong format "
        "overlap by accident, which is more than chance: a reference whose AP50 is below a half is read in every "
        "other format (of outputs, of labels, as shares of the image or as pixels; the first 32 labelled images), and"
        " doubted where one has twice its AP50 and the paired interval excludes that it is no better; and one whose "
        "mAP or AP50 is below min_map is doubted by itself. INCONCLUSIVE where the severity is error.",
        remedy="Check that the labels belong to these inputs, in their order, and count classes as the model does; or give more "
        "samples",
        params=(
            Param("min_map", "Least mAP or AP50 of a reference whose boxes are compared: twice the largest drop that a profile "
                  "allows, below which half of what it finds could be lost unseen.", 0.1, 0.1, 0.1),
        ),
        severity=("error", "warning", "warning"),
        check=_chance,
    ),
)  # fmt: skip
