"""The candidate once more without the runtime's graph optimisations: what they change, and what quantizers hide.

A fused operator is another implementation, and some were wrong (onnxruntime#11576, #25259, #32132). And QuantizeLinear
makes codes of NaN and infinity, so that nothing behind it tells; optimised, the tensor in front of it is often no longer
there to be looked at. Both are seen in one run of the first sample as the file is written. Of a LiteRT model only the
former: it is run without the kernels that LiteRT chooses for the processor (XNNPACK).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.request import PairRequest
from qgate.measure.side import Side, SideError
from qgate.measure.sides_of_litert import FORM, open_litert
from qgate.runtimes.base import ModelRefusedError, Runner
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 256 << 20
"""A larger candidate is not loaded once more."""

TOO_LARGE = "the candidate is too large to be loaded once more"


def unoptimised_state(
    request: PairRequest,
    sides: Mapping[str, Side],
    first: Mapping[str, NDArray[Any]],
    optimised: Sequence[Any],
) -> dict[str, Any]:
    """Runs the first sample without optimisations.

    Args:
        request: The request; ``fronts`` says which tensors stand in front of quantizers.
        sides: Both models.
        first: The first sample.
        optimised: What the candidate's ordinary session answers to it.

    Returns:
        ``reason`` why nothing is told, or empty; for each output its position, the energy of the answer as written, and
        that of the difference; the tensors in front of quantizers that are not finite, or too large to square.
    """
    told: dict[str, Any] = {"reason": "", "outputs": [], "broken": []}
    files = [request.candidate, *request.side_files]
    if sum(path.stat().st_size for path in files if path.is_file()) > MOST_BYTES:
        return {**told, "reason": TOO_LARGE}
    side = sides["candidate"]
    fronts = sorted(set(request.fronts.values()))
    try:
        runner = _as_written(request, fronts)
        written = Side("candidate", runner, side.plan, single=side.single)
        answers, _ = written.run(first, 1)
    except ModelRefusedError as error:
        return {
            **told,
            "reason": f"the runtime does not load the candidate without optimisations: {error.what}"[:500],
        }
    except SideError as error:
        return {**told, "reason": f"the candidate does not run without optimisations: {error.what}"[:500]}
    for position, (one, two) in enumerate(zip(answers, optimised, strict=True)):
        energies = _energies(one, two)
        if energies is not None:
            told["outputs"].append((position, *energies))
    told["broken"] = [
        name
        for name, energy in zip(fronts, getattr(runner, "energies", ()), strict=True)
        if not np.isfinite(energy)
    ]
    return told


def _as_written(request: PairRequest, fronts: Sequence[str]) -> Runner:
    if request.forms.get("candidate") == FORM:
        return open_litert(request, "candidate", request.candidate, 1, delegate=False)
    return OnnxRuntimeRunner(request.candidate, threads=1, watched=fronts, optimise=False)


def _energies(one: Any, two: Any) -> tuple[float, float] | None:
    """Energy of the first, and of the difference; None where they are no fractions of one shape, or not finite."""
    if one is None or two is None:
        return None
    a, b = np.asarray(one[0]), np.asarray(two[0])
    if a.shape != b.shape or a.dtype.kind != "f":
        return None
    a, b = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    return float(a @ a), float((a - b) @ (a - b))
