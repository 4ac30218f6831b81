"""What the verifying child hands back, checked by the parent before it is believed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from qgate.errors import MeasureError
from qgate.records import Record
from qgate.signing.order import State

MAX_ANSWER = 2**16
_Word = Annotated[str, StringConstraints(max_length=2000)]


class Answer(Record):
    """The child's answer.

    Args:
        state: What is known.
        message: Why, where the state is not valid.
        signer: Who signed, where it is.
    """

    state: State
    message: _Word = ""
    signer: dict[_Word, _Word] = Field(default={}, max_length=8)


def read_answer(payload: bytes) -> Answer:
    """Reads the child's bytes.

    Raises:
        MeasureError: They are no answer.
    """
    if len(payload) > MAX_ANSWER:
        raise MeasureError("the verifying process answered with more than it may say")
    try:
        answer = Answer.model_validate_json(payload)
    except ValidationError as error:
        raise MeasureError("the verifying process answered with something else") from error
    if answer.state is State.MISSING or (answer.state is State.VALID) != bool(answer.signer):
        raise MeasureError("the verifying process contradicts itself")
    return answer
