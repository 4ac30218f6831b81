"""The first step: copies of both models and the data, hashed and read."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qgate.errors import DataError, FormatError, QgateError, SourceError
from qgate.records import DataUsed
from qgate.report.schema import Artifact
from qgate.verify.pair import Pair
from qgate.verify.signature import verify_signature
from qgate.verify.state import State, error_finding, timed, trusting

if TYPE_CHECKING:
    from qgate.formats.model import StaticModel
    from qgate.sources.acquire import Acquired


def acquire_models(pair: Pair, state: State, staging: Path) -> tuple[StaticModel, StaticModel | None] | None:
    """Acquires and reads both models; None where one cannot be had or read."""
    candidate = _model(pair, "candidate", state, staging)
    if pair.reference is None:
        state.findings.append(
            error_finding(
                QgateError(
                    "there is no reference to compare the candidate with",
                    remedy="Name the full-precision model with --reference, or under `reference` in the policy",
                ),
                "ART101",
            )
        )
        return None
    reference = _model(pair, "reference", state, staging)
    return (candidate, reference) if candidate is not None and reference is not None else None


def _model(
    pair: Pair, side: Literal["candidate", "reference"], state: State, staging: Path
) -> StaticModel | None:
    from qgate.formats.code import CodeError
    from qgate.formats.model import unread_model
    from qgate.formats.read import read_model
    from qgate.measure.executable import SCRIPTS

    own = side == "candidate"
    acquire = pair.candidate if own else pair.reference
    locator = pair.candidate_locator if own else pair.reference_locator or ""
    if acquire is None:
        return None
    started = time.perf_counter()
    state.artifacts[side] = Artifact(locator=locator)
    try:
        acquired = acquire(staging / side)
        state.artifacts[side] = _artifact(acquired, locator)
        if own:
            verify_signature(pair, state, acquired, staging)
        model = read_model(acquired.main)
    except CodeError as error:
        state.artifacts[side] = state.artifacts[side].model_copy(update={"format": error.kind})
        if pair.trust == "code" and error.kind in SCRIPTS:
            return unread_model(acquired.main, error.kind, acquired.bytes)
        if pair.trust == "code":
            error.what += (
                "; the policy trusts its code, but nothing here runs this form, so nothing was measured"
            )
        state.findings.append(trusting(error_finding(error, error.rule, side), pair.trust))
        return None
    except FormatError as error:
        state.findings.append(error_finding(error, error.rule, side))
        return None
    except SourceError as error:
        state.findings.append(error_finding(error, _source_rule(error), side))
        return None
    finally:
        timed(state, "acquire", started)
    state.artifacts[side] = state.artifacts[side].model_copy(update={"format": model.format})
    return model


def _source_rule(error: SourceError) -> str:
    text = error.what.lower()
    if "lfs" in text:
        return "ART102"
    return "ART108" if "sha256" in text or "digest" in text else "ART101"


def _artifact(acquired: Acquired, locator: str) -> Artifact:
    return Artifact(
        locator=locator,
        sha256=acquired.sha256,
        bytes=acquired.bytes,
        files=dict(sorted(acquired.files.items())),
    )


def _digest_of_all(files: Mapping[str, str]) -> str:
    """One digest of a table and every file that it names."""
    return hashlib.sha256("".join(f"{files[name]}  {name}\n" for name in sorted(files)).encode()).hexdigest()


def acquire_data(pair: Pair, state: State, staging: Path) -> Path | bool | None:
    """The data's copy, None where there are none, False where they cannot be had."""
    if pair.data is None:
        return None
    try:
        acquired = pair.data(staging / "data")
    except (DataError, SourceError, FormatError) as error:
        state.findings.append(error_finding(error, "ART113", "data"))
        return False
    digest = acquired.sha256 if len(acquired.files) == 1 else _digest_of_all(acquired.files)
    if pair.images is not None:  # the same files, prepared otherwise, are other samples
        digest = hashlib.sha256(
            f"{digest}  {json.dumps(asdict(pair.images), sort_keys=True)}".encode()
        ).hexdigest()
    state.data = DataUsed(origin="given", locator=pair.data_locator, sha256=digest)
    return acquired.main
