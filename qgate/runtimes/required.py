"""What has to be installed so that a model can be run, and the extra of this package that brings it. Imports none."""

from __future__ import annotations

from importlib.util import find_spec

from qgate.errors import MeasureError

_RUN = "this model is run by it"
_LIBRARIES = {
    "torch": ("PyTorch", _RUN, "torch"),
    "torchao": ("torchao", "this model's tensors or operations are torchao's", "torch,torchao"),
    "executorch": ("ExecuTorch", _RUN, "torch,executorch"),
    "ai_edge_litert": ("LiteRT", _RUN, "litert"),
    "onnxscript": ("onnxscript", "PyTorch's dynamo exporter needs it", "export"),
}
"""By package: its name in messages, what it is needed for, and the extras, the one that brings it last."""


def require(package: str, where: str) -> None:
    """Says what to install where a library is not.

    Args:
        package: Its Python package, one of those above.
        where: The model that needs it.

    Raises:
        MeasureError: It is not installed.
    """
    if find_spec(package) is None:
        title, reason, extras = _LIBRARIES[package]
        raise MeasureError(
            f"{title} is not installed, and {reason}",
            where=where,
            remedy=f"Install the extra `{extras.rpartition(',')[2]}`: pip install 'qgate[{extras}]'",
        )
