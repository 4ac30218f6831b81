"""Numbers as a reviewer reads them: few digits, a unit, an honest interval. Pure, no markup."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from qgate.records import unit_of

MINUS = "−"
NOT_MEASURED = "not measured"
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
_DEPTH = 3
_ITEMS = 8


def number(value: float, digits: int = 4) -> str:
    """A number with at most ``digits`` significant digits; NaN and infinities by name."""
    if isinstance(value, int):
        return _integer(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-4 <= size < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(size)))
        shown = f"{size:,.{decimals}f}"
        shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    else:
        shown = f"{size:.{digits - 1}e}"
    return f"{MINUS}{shown}" if value < 0 else shown


def _integer(value: int) -> str:
    if abs(value) >= 10**18:
        return "an integer beyond 64 bits" if value.bit_length() > 64 else str(value).replace("-", MINUS)
    return f"{value:,}".replace("-", MINUS)


def size(value: float) -> str:
    """Bytes with a decimal unit, ``1.2 MB``."""
    value = _as_float(value)
    if not math.isfinite(value) or value < 0:
        return f"{number(value)} B"
    step = 0
    while value >= 1000 and step < len(_BYTE_UNITS) - 1:
        value /= 1000
        step += 1
    return f"{value:.0f} {_BYTE_UNITS[step]}" if step == 0 else f"{value:.3g} {_BYTE_UNITS[step]}"


def whole(value: int) -> str:
    """An identifying number as it is, such as a seed; without separators, and never endless."""
    return str(value) if abs(value) < 10**18 else _integer(value)


def percent(ratio: float) -> str:
    """A share as a percentage; 100 % and 0 % only where it is exactly that."""
    if not math.isfinite(ratio):
        return number(ratio)
    scaled = 100 * ratio
    if scaled in (0, 100):
        return f"{scaled:.0f} %"
    if 99 < scaled < 100:  # rounded down: 100 % is said of nothing less
        return f"{math.floor(100 * scaled) / 100:.2f} %"
    return f"{number(scaled, 3)} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points."""
    return f"{number(round(100 * difference, 2) if math.isfinite(difference) else difference, 3)} pp"


def value(measured: object, unit: str = "") -> str:
    """A measured value with its unit, whatever its type; the result is not escaped."""
    if measured is None:
        return NOT_MEASURED
    if isinstance(measured, bool):
        return "yes" if measured else "no"
    if not isinstance(measured, (int, float)):
        return plain(measured)
    if unit == "ratio":
        return percent(_as_float(measured))
    if unit == "dB":
        return f"{_one_decimal(_as_float(measured))} dB"
    if unit in ("bytes", "B"):
        return size(_as_float(measured))
    return f"{number(measured)} {unit_of(measured, unit)}".rstrip()


def _as_float(measured: float) -> float:
    try:
        return float(measured)
    except OverflowError:
        return math.inf if measured > 0 else -math.inf


def _one_decimal(measured: float) -> str:
    if not math.isfinite(measured):
        return number(measured)
    shown = f"{abs(measured):.1f}"
    return f"{MINUS}{shown}" if measured < 0 and float(shown) else shown


def signed(difference: float, unit: str = "") -> str:
    """A change with its sign: ``+0.4 dB``, ``−1.2 pp``, ``±0``."""
    if unit == "ratio":
        shown = points(difference)
    elif unit == "dB":
        shown = f"{_one_decimal(difference)} dB"
    else:
        shown = value(difference, unit)
    if shown.startswith(("0 ", "0.0 ")) or shown == "0":
        return f"±{shown}"
    return shown if shown.startswith((MINUS, "NaN")) else f"+{shown}"


def plain(item: object, depth: int = _DEPTH) -> str:
    """Evidence of any JSON type as one short line; the result is not escaped."""
    if item is None:
        return "none"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, (int, float)):
        return number(item, 6).replace(MINUS, "-").replace("∞", "inf")  # it stands in code, as in a file
    if isinstance(item, str):
        return item
    if depth == 0:
        return "…"
    if isinstance(item, Mapping):
        pairs = [f"{k}={plain(v, depth - 1)}" for k, v in list(item.items())[:_ITEMS]]
        return ", ".join(pairs + ["…"] * (len(item) > _ITEMS))
    if isinstance(item, Sequence):
        parts = [plain(v, depth - 1) for v in item[:_ITEMS]]
        return "[" + ", ".join(parts + ["…"] * (len(item) > _ITEMS)) + "]"
    return json.dumps(str(item))
