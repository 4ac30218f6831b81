"""Who signed the candidate, as a measurement that the rules judge."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import MeasureError
from qgate.records import Measurement, Place
from qgate.verify.pair import Pair
from qgate.verify.state import State, timed

if TYPE_CHECKING:
    from qgate.sources.acquire import Acquired

MEASUREMENT = "artifact.signature"


def verify_signature(pair: Pair, state: State, candidate: Acquired, staging: Path) -> None:
    """Verifies the candidate's signature where one is asked for, over the very copies that will be run."""
    if pair.signature is None:
        return
    from qgate.signing.check import check_signature

    started = time.perf_counter()
    found = check_signature(pair.signature, candidate, staging, reduced=pair.sandbox == "reduced")
    timed(state, "signature", started)
    told = " (the change itself names the signer)" if pair.proposed else ""
    state.measurements.append(
        Measurement(
            name=MEASUREMENT,
            at=Place(file=pair.signature.bundle_locator),
            value=found.state.value,
            detail={
                "message": found.message + told,
                "signer": dict(found.signer),
                "files": list(found.files[:50]),
            },
        )
    )


def signed_enough_to_run(pair: Pair, state: State) -> bool:
    """Whether the candidate may be run: not where its signature is wrong, nor without one that is required."""
    if pair.signature is None:
        return True
    states = [m.value for m in state.measurements if m.name == MEASUREMENT]
    return states == ["valid"] or (states == ["missing"] and not pair.signature.required)


def not_signed(pair: Pair, state: State) -> MeasureError:
    """What to raise where the candidate is not ``signed_enough_to_run``: what is wrong with its signature, and where."""
    found = [m for m in state.measurements if m.name == MEASUREMENT and m.value != "valid"]
    told = str(found[0].detail["message"]) if found else "its signature was not verified"
    required = ", and one is required" if found and found[0].value == "missing" else ""
    return MeasureError(
        f"the candidate must not be run: {told}{required}",
        where=pair.candidate_locator,
        remedy="Sign exactly the candidate's files by the signer that is asked for, and keep the bundle at the "
        "place that is named for it",
    )
