"""What is said of LiteRT models that are of a form that is not read."""

from __future__ import annotations

from qgate.errors import FormatError
from qgate.formats.tflite.flat import Flat

_REMEDY = "Export the model to ONNX and verify that"


def unread(flat: Flat, what: str, remedy: str = _REMEDY) -> FormatError:
    """The error of a model with something that is not read."""
    return FormatError(
        f"a LiteRT model with {what}, which is not read", where=flat.where, remedy=remedy, rule="ART103"
    )


def several_graphs(flat: Flat, count: int) -> FormatError:
    """The error of a model of several graphs."""
    return unread(
        flat,
        f"{count} graphs (branches, loops, composites, initial states, or one for each signature)",
        "Convert each signature to a file of its own, branches and loops unrolled, state as inputs and outputs, and composites "
        "lowered; or export the model to ONNX and verify that",
    )
