"""The word that was probably meant: by another of its names, by its letters, or because it is part of it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_OTHER_NAMES = {
    "acc": "top1", "accuracy": "top1", "f1": "macro_f1", "iou": "miou", "mse": "rmse", "recall": "recall_at_k",
    "ppl": "perplexity", "wer": "cer", "ap": "map", "ort": "onnxruntime", "trt": "tensorrt", "pytorch": "torch",
    "w8a8": "int8", "w4a16": "int4", "half": "fp16", "float16": "fp16", "float8": "fp8", "float": "none", "fp32": "none",
}  # fmt: skip
"""What others call it, where letters alone do not lead to it."""

_LEAST, _NAMED = 3, 20


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be; None where none is near."""
    options = list(known)
    given = word[:100].lower()
    if (other := _OTHER_NAMES.get(given)) in options:
        return other
    lowered = {option.lower(): option for option in reversed(options)}
    match = get_close_matches(given, lowered, n=1, cutoff=0.6)
    if match:
        return lowered[match[0]]
    within = [option for option in options if len(given) >= _LEAST and given in option.lower()]
    return within[0] if len(within) == 1 else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy that names the nearest known word, or all of them."""
    options = list(known)
    near = nearest(word, options)
    if near is not None:
        return f"Did you mean `{near}`?"
    more = ", ..." if len(options) > _NAMED else ""
    return f"Known here: {', '.join(options[:_NAMED])}{more}" if options else ""
