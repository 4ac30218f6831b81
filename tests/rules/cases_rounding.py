"""QNT206 to QNT209: how the codes were rounded."""

from .cases import ERROR, NOTE, SILENT, WARNING, Case, ladder, limits, measured, weight_of


def _bias(value: float, n: int = 10**9, name: str = "weight.bias_steps"):
    return (measured(name, value, n=n),)


def _weight(verdict: str, role: str = "weight", **detail: object):
    return measured("weight.derivation", verdict, n=1000, role=role, family=detail.pop("family", "nearest"),
                    reference_tensor="w1", scale="w1_scale", **detail)  # fmt: skip


def _spread(distance: float, elsewhere: float = 0.01):
    return (measured("weight.residual_ks", distance, n=65536, elsewhere=elsewhere, edge=0.02),)


def _share(value: float):
    return (measured("weight.nonnearest", value, n=1000),)


_FOLDED, _EXACT = {"derivation": "folded"}, {"derivation": "exact"}

CASES = (
    *ladder("QNT206", "max_steps", _bias, at_least=False, step=1e-3, says="downwards or upwards"),
    *ladder("QNT206", "max_steps", lambda v: _bias(-v, name="weight.shrink_steps"), at_least=False, step=1e-3, says="from zero"),
    Case("QNT206", "truncated", _bias(-0.5, n=1000), ERROR, "-0.50 steps"),
    Case("QNT206", "noise of 100 elements", _bias(limits("QNT206", "max_steps")[0] + 0.14, n=100), SILENT),
    Case("QNT206", "63 elements are too few", _bias(0.5, n=63), SILENT),
    Case("QNT206", "QNT202 explains it better", (*_bias(0.5), _weight("not-derived")), SILENT),
    Case("QNT207", "learned rounding", (_weight("other-rounding", family="adaround"),), NOTE, "another rule than to nearest"),
    Case("QNT207", "equalised", (_weight("equalised", reason="by 8 factors"),), NOTE, "by 8 factors"),
    Case("QNT207", "scales moved between strangers", (_weight("equalised", moved_doubt=["in different blocks"]),), WARNING,
         "doubtful: in different blocks"),
    Case("QNT207", "bias correction", (_weight("bias-corrected", "bias", reason="within bounds"),), NOTE),
    Case("QNT207", "declared exact", (_weight("other-rounding"),), ERROR, declared={"derivation": "exact"}),
    Case("QNT207", "equalised, declared exact", (_weight("equalised"),), ERROR, declared={"derivation": "exact"}),
    Case("QNT207", "to nearest", (_weight("derived"),), SILENT),
    Case("QNT207", "learned rounding, declared folded", (_weight("other-rounding"),), ERROR, declared=_FOLDED),
    Case("QNT207", "bias correction, declared folded", (_weight("bias-corrected", "bias"),), ERROR, declared=_FOLDED),
    Case("QNT207", "equalised, declared folded", (_weight("equalised"),), NOTE, declared=_FOLDED),
    Case("QNT207", "a bias moved, declared exact", (_weight("bias-corrected", "bias"),), ERROR, declared=_EXACT),
    Case("QNT207", "learned rounding, trained on", (_weight("other-rounding"),), NOTE, declared={"derivation": "qat"}),
    *ladder("QNT208", "max_distance", _spread, at_least=False, step=1e-6, says="no proof of a backdoor"),
    Case("QNT208", "twice what other steps give", _spread(0.2, 0.099), weight_of("QNT208"), "nobody chose"),
    Case("QNT208", "a little more than other steps give", _spread(0.2, 0.14), SILENT),
    Case("QNT208", "few distinct weights", _spread(0.3, 0.32), SILENT),
    Case("QNT208", "QNT202 explains it better", (*_spread(0.3), _weight("not-derived")), SILENT),
    *ladder("QNT209", "max_share", _share, at_least=False, step=1e-6, says="no proof of a backdoor"),
    Case("QNT209", "QNT201 explains it better", (*_share(0.9), _weight("outsiders")), SILENT),
)  # fmt: skip
