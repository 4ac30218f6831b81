"""What a reader is shown first: no tick beside a blamed layer, one row a place, the thresholds that matter."""

from __future__ import annotations

from qgate.records import Finding, Limit, Measurement, Place, Severity, Verdict
from qgate.report.elements import element_tables
from qgate.report.view import Mark, row, telling_limits

from . import samples


def blamed(rule: str, at: Place) -> Finding:
    return Finding(rule=rule, severity=Severity.ERROR, effect=Verdict.FAIL, at=at, message="moved")


def measured(name: str, at: Place, value: float = 1.0) -> Measurement:
    return Measurement(name=name, at=at, value=value)


def test_a_figure_of_a_layer_that_another_dimension_blames_gets_no_tick() -> None:
    at = Place(tensor="w_quantized", node="/c4/Conv")
    figures = (
        measured("weight.sqnr_db", at, 0.0),
        measured("weight.sqnr_db", Place(tensor="v", node="/c5/Conv"), 44.0),
    )
    target = samples.target("model", Verdict.FAIL, "r").model_copy(update={"measurements": figures})
    scale = blamed("QNT202", Place(tensor="w_scale", node="/c4/Conv"))
    elsewhere = blamed("QNT202", Place(tensor="v_scale", node="/c5/Conv"))
    assert row(target.model_copy(update={"findings": (scale,)})).cells["RNG"].mark is Mark.FAIL
    assert row(target.model_copy(update={"findings": (elsewhere,)})).cells["RNG"].mark is Mark.PASS


def test_the_metric_of_both_models_stands_beside_their_difference() -> None:
    both = tuple(
        Measurement(name=f"task.metric_{side}", value=value, unit="ratio", n=200)
        for side, value in (("reference", 0.125), ("candidate", 0.12))
    )
    drop = Measurement(
        name="task.metric_drop",
        value=0.005,
        unit="ratio",
        n=200,
        low=-0.01,
        high=0.02,
        detail={"metric": "top1"},
    )
    target = samples.target("model", Verdict.PASS, "r").model_copy(update={"measurements": (*both, drop)})
    assert row(target).cells["BEH"].figures == ("top1 12.5 % → 12 %", "−0.5 pp (−2 … +1)")
    alone = target.model_copy(update={"measurements": (drop,)})
    assert row(alone).cells["BEH"].figures == ("top1 −0.5 pp (−2 … +1)",)


def test_a_detector_is_shown_by_the_share_of_boxes_that_both_models_find() -> None:
    figures = tuple(
        Measurement(name="output.same_boxes", at=Place(output=name), value=value, unit="ratio", n=40)
        for name, value in (("boxes", 0.975), ("scores", 0.975))
    )
    target = samples.target("detector", Verdict.PASS, "r").model_copy(update={"measurements": figures})
    assert row(target).cells["FEA"].figures == ("97.5 % same boxes",)


def test_measurements_of_one_tensor_share_a_row() -> None:
    one, other = Place(tensor="a", node="n"), Place(tensor="b", node="n")
    found = (
        measured("artifact.bytes", Place()),
        measured("weight.sqnr_db", one, 40.0),
        measured("weight.rmse_steps", one, 0.28),
        measured("weight.sqnr_db", other, 41.0),
        measured("weight.sqnr_db", other, 42.0),
        measured("activation.clipped_share", one, 0.0),
    )
    weights, activations = element_tables(found, 10)
    assert (weights.kind, weights.columns, weights.size) == ("weight", ("sqnr_db", "rmse_steps"), 4)
    assert [at for at, _ in weights.rows] == [one, other, other]
    assert [cells["sqnr_db"].value for _, cells in weights.rows] == [40.0, 41.0, 42.0]
    assert (activations.kind, activations.size) == ("activation", 1)


def test_rows_beyond_the_most_are_left_out_whole() -> None:
    found = [measured(f"weight.m{i % 2}", Place(tensor=f"t{i // 2}")) for i in range(20)]
    (table,) = element_tables(found, 3)
    assert table.size == 6
    assert element_tables(found, 0) == ()


def test_the_comment_lists_thresholds_that_spoke_or_were_chosen() -> None:
    built_in = Limit(value=1.0, origin="built-in profile balanced")
    chosen = Limit(value=2.0, origin="profile medical")
    target = samples.target("model", Verdict.FAIL, "r").model_copy(
        update={
            "findings": (blamed("QNT202", Place()),),
            "thresholds": {"QNT202": {"severity": built_in}, "FEA201": {"min_db": chosen, "other": built_in}},
        }
    )
    assert [(rule, key) for rule, key, _ in telling_limits(target)] == [
        ("QNT202", "severity"),
        ("FEA201", "min_db"),
    ]
