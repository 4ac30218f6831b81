"""RNG: scales, weights, activation ranges."""

import math

from qgate.records import Measurement, Place, Verdict
from qgate.rules.base import PROFILES

from .cases import ERROR, NOTE, SILENT, Case, ladder, limits, measured, missing, weight_of

_TAP = Place(tensor="act_scale", node="conv1")
_UNUSED = weight_of("RNG105")
_FLOORS = {
    "min_db": ("int8", "uint8", "int16", "uint16", "int32"),
    "min_db_int4": ("int4", "uint4", "int2", "uint2", "float4e2m1"),
    "min_db_fp16": ("float16", "bfloat16"),
    "min_db_fp8": ("float8e4m3fn", "float8e5m2"),
    "min_db_float": ("float", ""),
}


def _sqnr(value: float, dtype: str = "int8"):
    return (measured("weight.sqnr_db", value, n=1000, dtype=dtype, blocked=False),)


def _floors():
    for param, dtypes in _FLOORS.items():
        floors = limits("RNG102", param)
        for profile, floor in zip(PROFILES, floors, strict=True):
            expected = tuple("error" if floor <= other else None for other in floors)
            for dtype in dtypes:
                yield Case(
                    "RNG102", f"{dtype or 'unknown'} past {profile}", _sqnr(floor - 0.01, dtype), expected
                )


def _derivation(verdict: str):
    return measured(
        "weight.derivation", verdict, n=1000, role="weight", family="nearest", reference_tensor="w1"
    )


def _steps(value: float, n: int = 1000):
    return (measured("weight.rmse_steps", value, n=n),)


def _odd(value: float):
    at = Place(tensor="w1_scale", node="conv1", index=(3,))
    return (measured("weight.odd_scale", value, at, scale=value, expected=1.0, codes="w1_q"),)


def _coarse(value: float, role: str = "weight"):
    at = Place(tensor="w1_scale", node="conv1", index=(3,))
    detail = {"codes": "w1_q", "role": role, "dtype": "int8", "scale": 1.0, "largest": 127 * value}
    return (measured("weight.coarse_scale", value, at, n=1, **detail),)


def _bias_scale(value: float, zero: int = 0):
    at = Place(tensor="b1_scale", node="conv1", index=(3,))
    scale = 0.5 / (1 + value)
    detail = {
        "codes": "b1_q",
        "scale": scale,
        "natural": 0.5,
        "zero_point": zero,
        "stated": 4 * scale,
        "added": 2.0,
    }
    return (measured("bias.odd_scale", value, at, n=1, **detail),)


def _levels(value: float):
    return (measured("weight.levels", value, n=4096),)


def _clip(share: float, energy: float):
    return (measured("activation.clipped_share", share, _TAP, n=9, reference_tensor="a", low=-1.0, high=1.0,
                     observed_min=-9.0, observed_max=9.0, clipped_energy=energy, range_ratio=9.0),)  # fmt: skip


def _reach(share: float, low: float = -4.0, high: float = 4.0):
    detail = {"low": low, "high": high, "observed_min": low * share / 2, "observed_max": high * share}
    return (Measurement(name="activation.clipped_share", at=_TAP, value=0.0, n=9, detail=detail),)


def _used(value: float, bits: int = 8):
    return (measured("activation.used_range", value, _TAP, n=9, reference_tensor="a", bits=bits),)


_SCALE = measured(
    "scale.defect",
    "zero",
    Place(tensor="w1_scale", node="conv1", index=(2,)),
    message="the scale is zero (0)",
    value=0.0,
)
_NOT_TAPPED = missing("activation.clipped_share", "the reference has no such tensor", _TAP)
_STEP = 1e-6
_USED = limits("RNG105", "min_used")
_DEVIATIONS = limits("RNG108", "max_deviation")
_COARSE_CONSTANTS = limits("RNG110", "min_used_constant")
_SHARES = limits("RNG104", "max_share")
# Less than every allowance, more than a twentieth of strict's and balanced's: the share decides there.
_LITTLE = 0.003  # past half of strict's energy, far from balanced's

CASES = (
    Case("RNG101", "a scale of zero", (_SCALE,), ERROR, "the scale is zero", "tensor w1_scale node conv1 [2]"),
    Case("RNG101", "sound", (), SILENT),
    *ladder("RNG102", "min_db", _sqnr, at_least=True, step=0.01, says="dB SQNR", at="tensor w1_q node conv1"),
    *_floors(),
    Case("RNG102", "exact", _sqnr(math.inf), SILENT),
    Case("RNG102", "QNT202 explains it better", (*_sqnr(1.0), _derivation("not-derived")), SILENT),
    Case("RNG102", "derived and still too coarse", (*_sqnr(1.0), _derivation("derived")), ERROR),
    Case("RNG102", "fine-tuned without lineage", _sqnr(1.0), SILENT, declared={"derivation": "none"}),
    *ladder("RNG103", "max_steps", _steps, at_least=False, step=_STEP, says="clipped"),
    Case("RNG103", "63 elements are too few", _steps(99.0, n=63), SILENT),
    Case("RNG103", "64 elements", _steps(99.0, n=64), ERROR),
    *ladder("RNG104", "max_energy", lambda v: _clip(0.0, v), at_least=False, step=_STEP, says="energy",
            at="tensor act_scale node conv1"),
    Case("RNG104", "values at strict's share, little energy", _clip(_SHARES[0], _LITTLE), SILENT),
    Case("RNG104", "values past strict's share, little energy", _clip(_SHARES[0] + _STEP, _LITTLE), ("error", None, None)),
    Case("RNG104", "values past balanced's share, little energy", _clip(_SHARES[1] + _STEP, _LITTLE), ("error", None, None)),
    Case("RNG104", "values past balanced's share, half its energy", _clip(_SHARES[1] + _STEP, 0.021), ("error", "error", None)),
    Case("RNG104", "NaN energy", _clip(0.0, math.nan), ERROR),
    Case("RNG104", "many values, no energy", _clip(0.9, 0.0), SILENT),
    Case("RNG104", "generated data", _clip(0.9, 0.9), NOTE, declared={"data": "generated"}),
    Case("RNG104", "not measured", (_NOT_TAPPED,), SILENT),
    *ladder("RNG105", "min_used", _used, at_least=True, step=_STEP, says="bits of resolution"),
    Case("RNG105", "nothing used", _used(0.0), _UNUSED),
    Case("RNG105", "sixteen bits have eight to spare", _used(_USED[0] / 255, bits=16), SILENT),
    Case("RNG105", "sixteen bits and not even eight used", _used(_USED[2] / 257, bits=16), _UNUSED),
    Case("RNG105", "generated data", _used(0.001), NOTE, declared={"data": "generated"}),
    *ladder("RNG109", "min_reached", _reach, at_least=True, step=_STEP, says="times too wide", at="tensor act_scale node conv1"),
    Case("RNG109", "a doubled scale", _reach(0.5), (*weight_of("RNG109")[:2], None), "2 times too wide"),
    Case("RNG109", "nothing but zeros", _reach(0.0), weight_of("RNG109")),
    Case("RNG109", "one end is enough", _reach(1.0, low=-8.0), SILENT),
    Case("RNG109", "a sigmoid's range", _reach(0.2, low=0.0, high=255 / 256), SILENT),
    Case("RNG109", "a picture's range", _reach(0.2, low=-1.0, high=127 / 128), SILENT),
    Case("RNG109", "no range at all", _reach(1.0, low=0.0, high=0.0), weight_of("RNG109")),
    Case("RNG109", "generated data", _reach(0.2), NOTE, declared={"data": "generated"}),
    Case("RNG109", "not measured", (_NOT_TAPPED,), SILENT),
    *ladder("RNG106", "min_codes", _levels, at_least=True, step=1, says="of 256 codes"),
    Case("RNG107", "not compared", (_NOT_TAPPED,), weight_of("RNG107"), "no such tensor"),
    Case("RNG107", "compared", _clip(0.0, 0.0), SILENT),
    Case("RNG111", "two ranges, no data", (*_clip(0.0, 0.0), _NOT_TAPPED), weight_of("RNG111"),
         "the calibration of 2 activation ranges", effect=Verdict.INCONCLUSIVE, declared={"data": "generated"}),
    Case("RNG111", "one range that was not compared", (_NOT_TAPPED,), weight_of("RNG111"),
         "the calibration of 1 activation range is", effect=Verdict.INCONCLUSIVE, declared={"data": "generated"}),
    Case("RNG111", "no range is fixed", (), SILENT, declared={"data": "generated"}),
    Case("RNG111", "real inputs", _clip(0.0, 0.0), SILENT),
    *ladder("RNG110", "min_used", _coarse, at_least=True, step=1e-4, says="far too coarse", at="tensor w1_scale node conv1 [3]"),
    *(
        Case("RNG110", f"a {role} past {profile}", _coarse(least - 1e-4, role),
             tuple("error" if least <= other else None for other in _COARSE_CONSTANTS), f"the {role} 'w1_q'")
        for role in ("bias", "constant") for profile, least in zip(PROFILES, _COARSE_CONSTANTS, strict=True)
    ),
    Case("RNG110", "a bias with half of the codes", _coarse(0.49, "bias"), SILENT),
    Case("RNG110", "QNT201 explains it better", (*_coarse(0.001), _derivation("outsiders")), SILENT),
    Case("RNG110", "fine-tuned without lineage", _coarse(0.001), SILENT, declared={"derivation": "none"}),
    *ladder("RNG112", "max_deviation", _bias_scale, at_least=False, step=1e-5, says="the int32 bias 'b1_q' of channel 3",
            at="tensor b1_scale node conv1 [3]"),
    Case("RNG112", "what is added", _bias_scale(119.0), ERROR, "adds 2 where the file says 0.01667"),
    Case("RNG112", "a zero point", _bias_scale(math.inf, 7), ERROR, "zero point 7"),
    Case("RNG112", "fine-tuned without lineage", _bias_scale(1.0), ERROR, declared={"derivation": "none"}),
    Case("RNG112", "none", (), SILENT),
    Case("RNG108", "edited by a tenth", _odd(1.1), ERROR, "1.1 times", "tensor w1_scale node conv1 [3]"),
    Case("RNG108", "NaN", _odd(math.nan), ERROR),
    Case("RNG108", "the rule itself", _odd(1.0), SILENT),
    Case("RNG108", "QNT201 explains it better", (*_odd(1.1), _derivation("outsiders")), SILENT),
    *(
        Case("RNG108", f"{sign:+d} past {profile}", _odd(1 + sign * (value + 1e-5)),
             tuple("error" if value >= other else None for other in _DEVIATIONS))
        for profile, value in zip(PROFILES, _DEVIATIONS, strict=True)
        for sign in (1, -1)
    ),
)  # fmt: skip
