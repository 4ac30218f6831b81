"""What qgate says of a file without running it: its readers, and the rules over what they find."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from qgate.errors import DataError, FormatError
from qgate.formats.model import StaticModel
from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.data import NpzFile
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Severity


def refusal(path: Path, role: str = "candidate", twin: Path | None = None) -> str:
    """Why a file is refused; empty where it was read and nothing in it blocks.

    Args:
        path: The file.
        role: candidate, or data.
        twin: An honest file of the same form to compare with; errors that it has itself do not count.
            Without one the file's own operators are judged alone.

    Raises:
        Exception: Anything but a refusal is a defect of the reader.
    """
    try:
        if role == "data":
            return _data(path)
        model = read_model(path)
        for constant in model.graph.all_constants():
            constant.load()
        found = _errors(read_model(twin) if twin else None, model)
    except (FormatError, DataError) as error:
        return str(error)
    allowed = _own_errors(twin) if twin else frozenset()
    return "; ".join(message for rule, message in found if rule not in allowed)


def _data(path: Path) -> str:
    with NpzFile(path) as held:
        for name, spec in held.arrays.items():
            _ = list(held.rows(name, [1] * spec.shape[0])) if spec.shape else held.whole(name, "a test")
    return ""


@cache
def _own_errors(twin: Path) -> frozenset[str]:
    model = read_model(twin)
    return frozenset(rule for rule, _ in _errors(model, model))


def _errors(reference: StaticModel | None, candidate: StaticModel) -> list[tuple[str, str]]:
    """Blocking findings by rule; those of the rules that need a reference or a run are left out without one."""
    inspection = inspect_pair(reference, candidate, Interface())
    limits = resolve(None, None, None, "none")
    declared = {"scheme": "none", "derivation": "auto", "data": "none", "ran": False, "sandbox": "required"}
    found = judge(inspection.measurements, limits, scheme="none", declared=declared)
    return [
        (finding.rule, finding.message)
        for finding in found
        if finding.severity is Severity.ERROR
        and (reference is not None or finding.rule in ("ART106", "ART109", "ART114"))
    ]
