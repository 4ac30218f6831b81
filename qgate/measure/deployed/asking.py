"""Asks the process of one runtime, in the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.errors import MeasureError
from qgate.measure.deployed.arrays import RuntimeAnswer, unpack
from qgate.measure.deployed.request import RuntimeRequest
from qgate.runtimes.registry import known
from qgate.sandbox.launch import run_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRAM = ("-m", "qgate.runtimes.child")


class RuntimeRefusedError(MeasureError):
    """A runtime would not take or run the candidate: that is the candidate's, not the machine's."""


def ask(
    request: RuntimeRequest, limits: Limits, where: str
) -> tuple[RuntimeAnswer, dict[tuple[str, str], NDArray[Any]]]:
    """Runs one request in a fresh confined process.

    Args:
        request: What to do.
        limits: Resources of the process.
        where: What messages name as the place.

    Returns:
        The answer, and its arrays by kind and name.

    Raises:
        RuntimeRefusedError: The runtime refuses the model.
        SandboxError: The process could not be confined; nothing was run.
        MeasureError: It crashed, ran out of time or memory, or returned anything else.
    """
    outcome = run_child(request.to_json(), limits, where=where, program=PROGRAM)
    answer, arrays = unpack(outcome.payload, where)
    if answer.error is not None:
        title = known(request.runtime).title
        what = one_line(answer.error.what, 600) or answer.error.kind
        if answer.error.kind == "refused" and answer.error.role != "reference":
            raise RuntimeRefusedError(f"{title} refuses the candidate: {what}", where=where)
        what = "it needs more memory than the limit" if answer.error.kind == "memory" else what
        raise MeasureError(f"{title} could not run it: {what}", where=where)
    held: dict[tuple[str, str], NDArray[Any]] = {}
    for state, values in zip(answer.arrays, arrays, strict=True):
        held[state.kind, state.name] = values
    return answer, held
