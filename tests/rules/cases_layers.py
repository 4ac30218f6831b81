"""FEA3xx: layers against the reference's."""

import math

from qgate.records import Place

from .cases import ERROR, SILENT, Case, ladder, measured, missing

_AT = Place(tensor="conv1_out_q", node="/conv1/Conv")
_PLACE = str(_AT)
_SEVERE = ("error", "warning", "note")


def _layer(value: float, **detail: object):
    return (measured("layer.sqnr_db", value, _AT, n=1000, operator="Conv", **detail),)


def _channels(dead: int, saturated: int) -> dict[str, object]:
    return {"count": 1000, "dead": dead, "saturated": saturated, "first": list(range(min(8, dead)))}


def _dead(share: float):
    dead = 1000 if math.isnan(share) else round(1000 * share)
    return _layer(30.0, channels=_channels(dead, 0))


CASES = (
    *ladder("FEA301", "min_db", _layer, at_least=True, step=0.01, says="signal", at=_PLACE),
    Case("FEA301", "identical", _layer(200.0), SILENT),
    Case("FEA301", "not measured", (missing("layer.sqnr_db", "all zero", _AT),), SILENT),
    Case("FEA302", "a sudden fall", _layer(2.0, drop_db=38.0), _SEVERE, "from 40 dB to 2 dB", _PLACE),
    Case("FEA302", "a fall to what is still good", _layer(18.5, drop_db=60.0), SILENT),
    Case("FEA302", "low already before", _layer(2.0, drop_db=3.0), SILENT),
    Case("FEA302", "a gain", _layer(2.0, drop_db=-10.0), SILENT),
    Case("FEA302", "nothing above it", _layer(2.0), SILENT),
    Case("FEA302", "a fall that is no number", _layer(2.0, drop_db=math.nan), _SEVERE),
    Case("FEA302", "a fall for strict alone", _layer(14.0, drop_db=16.0), ("error", None, None)),
    Case("FEA302", "a fall that permissive lets pass", _layer(2.0, drop_db=25.0), ("error", "warning", None)),
    *(
        Case("FEA302", f"the end of a fall in {scheme} at {least}", _layer(least - 0.1, drop_db=99.0), weight, scheme=scheme)
        for scheme, (strict, balanced, permissive) in (("int8", (18.0, 15.0, 8.0)), ("int4", (10.0, 8.0, 4.0)),
                                                       ("fp16", (35.0, 30.0, 20.0)), ("none", (60.0, 50.0, 40.0)))
        for least, weight in ((strict, ("error", None, None)), (balanced, ("error", "warning", None)), (permissive, _SEVERE))
    ),
    Case("FEA303", "NaN in the candidate alone", (measured("layer.nonfinite", 2, _AT, n=8),), ERROR, "NaN", _PLACE),
    Case("FEA303", "finite", (), SILENT),
    Case("FEA304", "not compared", (missing("layer.count", "observing changes it", Place()),),
         ("warning", "note", "note"), "observing"),
    *ladder("FEA306", "min_db", lambda v: (measured("output.unoptimised_db", v, Place(output="y"), n=1),), at_least=True,
            step=0.01, says="as it is written", at="output y"),
    Case("FEA306", "too large", (missing("output.unoptimised_db", "too large", Place()),), SILENT),
    *ladder("FEA305", "max_share", _dead, at_least=False, step=0.001, says="say nothing", at=_PLACE),
    Case("FEA305", "all there", _layer(30.0, channels=_channels(0, 0)), SILENT),
    Case("FEA305", "without channels", _layer(30.0), SILENT),
    Case("FEA305", "stuck", _layer(30.0, channels=_channels(500, 500)), _SEVERE, "500 stick at the end of the range: first 0",
         _PLACE),
    Case("FEA305", "of generated inputs", _layer(30.0, channels=_channels(500, 0)), ("note", "note", "note"),
         declared={"data": "generated"}),
    Case("FEA305", "both", _layer(30.0, channels=_channels(500, 200)), _SEVERE, "300 say nothing and 200 stick"),
    Case("FEA304", "compared", (measured("layer.count", 8, Place()),), SILENT),
)  # fmt: skip
