"""NVIDIA's parser and engine builder as measurements; they judge the file and run no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgate.errors import MeasureError
from qgate.formats.model import StaticModel
from qgate.measure.deployed.arrays import JudgementState
from qgate.measure.deployed.asking import ask
from qgate.measure.deployed.inputs import Materialised
from qgate.measure.deployed.request import RuntimeRequest
from qgate.measure.request import PairRequest
from qgate.records import Measurement, Place
from qgate.sandbox.limits import Limits
from qgate.sandbox.quoting import one_line

NAME = "tensorrt"
_AT = Place(runtime=NAME)


def oracle_measurements(
    request: PairRequest, candidate: StaticModel, inputs: Materialised
) -> Iterator[Measurement]:
    """``tensorrt.parsed``, ``tensorrt.refused`` for each error, and ``tensorrt.built``."""
    asked = RuntimeRequest(
        "judge", NAME, request.candidate, tuple(request.candidate.parent / f for f in candidate.side_files), shapes=inputs.shapes
    )  # fmt: skip
    yield from judge_file(asked, request.limits, request.label("candidate"))


def judge_file(asked: RuntimeRequest, limits: Limits, where: str) -> Iterator[Measurement]:
    """The same for a request that is there."""
    try:
        answer, _ = ask(asked, limits, where)
    except MeasureError as error:
        yield Measurement(name="tensorrt.parsed", at=_AT, not_measured=error.what, detail={"cause": "failed"})
        return
    if answer.judgement is None:
        yield Measurement(
            name="tensorrt.parsed", at=_AT, not_measured="it gives no verdict", detail={"cause": "failed"}
        )
        return
    yield from _told(answer.judgement)


def _told(judgement: JudgementState) -> Iterator[Measurement]:
    version = {"version": f"TensorRT-RTX {one_line(judgement.version, 60)}"}
    yield Measurement(name="tensorrt.parsed", at=_AT, value=not judgement.errors, detail=version)
    for error in judgement.errors:
        node = one_line(error.node, 300)
        detail = {"operator": one_line(error.operator, 120), "what": one_line(error.what, 400), **version}
        yield Measurement(
            name="tensorrt.refused", at=Place(node=node or None, runtime=NAME), value=one_line(error.code, 60) or "UNKNOWN",
            detail=detail,
        )  # fmt: skip
    if judgement.errors:
        return
    if judgement.unprofiled:
        names = ", ".join(repr(one_line(name, 80)) for name in judgement.unprofiled[:5])
        yield Measurement(
            name="tensorrt.built", at=_AT, not_measured=f"no size is known for the inputs {names}"
        )
    elif judgement.built is None:
        yield Measurement(name="tensorrt.built", at=_AT, not_measured="no engine was built")
    else:
        words = [one_line(text, 400) for text in judgement.build_errors]
        built: dict[str, Any] = {"engine_bytes": judgement.engine_bytes, "words": words, **version}
        yield Measurement(name="tensorrt.built", at=_AT, value=judgement.built, detail=built)
