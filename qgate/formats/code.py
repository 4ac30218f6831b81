"""The refusal of files that are programs: whatever loads them runs what they hold."""

from __future__ import annotations

from qgate.errors import FormatError

REMEDY = (
    "Export the model to ONNX, or save its state_dict alone. With `trust: code` for the target in the base "
    "branch's policy (--trust code) TorchScript and ExecuTorch programs are run in the sandbox, and other such files are "
    "INCONCLUSIVE"
)


class CodeError(FormatError):
    """A file runs code of its own when it is loaded, so that it is not opened.

    Args:
        what: What it is, and where the code sits in it.
        where: The file.
        kind: Its format, by the names of ``qgate.formats.detect``.
        tensor: The entry at fault, if there is one.
    """

    def __init__(self, what: str, *, where: str, kind: str, tensor: str | None = None) -> None:
        super().__init__(what, where=where, remedy=REMEDY, rule="ART114", tensor=tensor)
        self.kind = kind
