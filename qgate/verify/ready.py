"""A pair as whoever measures it again and again takes it: acquired, inspected, and with the request to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import MeasureError
from qgate.verify.acquisition import acquire_data, acquire_models
from qgate.verify.code import acquire_codes
from qgate.verify.measuring import believed, inspect, pair_request, require_runtimes
from qgate.verify.pair import Pair
from qgate.verify.signature import not_signed, signed_enough_to_run
from qgate.verify.state import State

if TYPE_CHECKING:
    from qgate.formats.model import StaticModel
    from qgate.measure.inspection import Inspection
    from qgate.measure.pair import Known
    from qgate.measure.request import PairRequest


@dataclass(frozen=True)
class Ready:
    """What can be run.

    Args:
        candidate: As the strict reader has it; likewise the reference.
        inspection: What looking at both showed.
        request: What is asked of the child, with the code that the pair names.
        known: What its answer is held against, None where the files do not say it.
    """

    candidate: StaticModel
    reference: StaticModel
    inspection: Inspection
    request: PairRequest
    known: Known | None


def ready(pair: Pair, staging: Path) -> Ready:
    """Makes a pair ready to be run, by the steps and the refusals of ``verify``.

    Args:
        pair: The pair.
        staging: An empty folder that the sandboxed child can read.

    Raises:
        MeasureError: A model, the data, the code or a library cannot be had, or the models must not be run.
    """
    state = State()
    models = acquire_models(pair, state, staging)
    data = acquire_data(pair, state, staging) if models is not None else False
    inspection = inspect(pair, state, *models) if models is not None and data is not False else None
    if models is None or models[1] is None or inspection is None or not inspection.runnable:
        raise _refused(pair, state)
    code = acquire_codes(pair, state, staging)
    if code is None:
        raise _refused(pair, state)
    if not signed_enough_to_run(pair, state):
        raise not_signed(pair, state)
    request, known = pair_request(pair, inspection, models, data or None, code)
    require_runtimes(request, pair.candidate_locator)
    return Ready(models[0], models[1], inspection, request, believed(request, known))


def _refused(pair: Pair, state: State) -> MeasureError:
    """The first thing that stands in the way, in its own words."""
    finding = next((each for each in state.findings if each.effect.rank > 0), None)
    if finding is None:
        return MeasureError(
            "the models must not be run",
            where=pair.candidate_locator,
            remedy="See `qgate verify` for what stands in its way",
        )
    return MeasureError(
        finding.message, where=str(finding.at) or pair.candidate_locator, remedy=finding.remedy
    )
