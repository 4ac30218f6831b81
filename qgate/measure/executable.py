"""Which sides of a pair can be run, and why the others are not: formats, factories, trust. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_TENSORS = ("torch-checkpoint", "torch-legacy", "safetensors")
SCRIPTS = ("torchscript", "executorch")
"""Formats of which nothing is read: they are run, where that is trusted."""
_CODE = ("torch-export", *SCRIPTS)
RUN_BY_PYTORCH = frozenset((*_TENSORS, *_CODE))
"""Formats that PyTorch runs, where they are run."""

_UNMEASURED = "its operations, features and behaviour were not measured"


def why_not_run(formats: Mapping[str, str], code: Collection[str], trust: str) -> dict[str, str]:
    """A sentence for each side that is not run; empty where all of them are.

    Args:
        formats: Format by side.
        code: Roles of the code that is there, ``factory.candidate`` and ``factory.reference`` among them.
        trust: ``code`` where files that hold programs may be run.
    """
    found = {}
    for side, form in formats.items():
        if form in ("onnx", "tflite") or (form in _TENSORS and f"factory.{side}" in code):
            continue
        if form in _CODE and trust == "code":
            continue
        what = f"the {side} is a {form} file"
        if form in _TENSORS:
            found[side] = (
                f"{what}, tensors without a model, and no factory builds one: {_UNMEASURED}. "
                "Name the `factory` (--factory), or export both models to ONNX"
            )
        elif form in _CODE:
            found[side] = (
                f"{what}, a program that runs code of its own when it is loaded: {_UNMEASURED}. "
                "Trust it with `trust: code` (--trust code), or export both models to ONNX"
            )
        else:
            found[side] = f"{what}, which nothing here runs: {_UNMEASURED}. Export both models to ONNX"
    return found
