"""What a quantizer of ``bench/verdicts.py`` is given, and how it is kept quiet."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from verdicts_nets import Net


@dataclass(frozen=True)
class Job:
    """What a tool is given.

    Args:
        net: What is to be quantized.
        source: The same as an ONNX file.
        target: Where the candidate goes.
        calibration: Samples to calibrate on.
        scale: Every calibrated range is multiplied by it, where it is not 1.
        reference: Where tools of PyTorch write their own export of ``original``, which is the reference then.
        original: The net that was trained.
    """

    net: Net
    source: Path
    target: Path
    calibration: np.ndarray
    scale: float = 1.0
    reference: Path = field(default_factory=Path)
    original: Net | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Libraries tell how far they are, recommend other recipes, and say that they are old."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)
