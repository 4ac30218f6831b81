"""The mark that GPTQ leaves: a column of a weight that is rounded to nearest throughout."""

from __future__ import annotations

import numpy as np

from qgate.quant.blocks import pieces
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.side_by_side import Layout

_LUCK = 1e-6


def exact_columns(reference: Array, candidate: ConstantValue) -> bool | None:
    """Whether some column of a weight is rounded to nearest throughout while the rest is not.

    A column is what remains of the tensor along one axis with all others held; of a matrix product's weight
    the elements that one input feeds.

    Returns:
        None where the tensor is too small to tell a column from luck.
    """
    try:
        job = Layout(reference, candidate, short=True)
    except ValueError:
        return None
    shape = job.codes.shape
    off = [np.zeros(_without(shape, axis), np.int32) for axis in range(len(shape))]
    live = [np.zeros(_without(shape, axis), np.int32) for axis in range(len(shape))]
    with np.errstate(all="ignore"):
        for piece in pieces(shape):
            weights = job.reference[piece].astype(np.float64)
            error = np.abs(job.codes[piece] - job.quotients(piece, weights))
            wrong = (error > 0.5 + 1e-3) & (weights != 0)
            for axis in range(len(shape)):
                place = piece[:axis] + piece[axis + 1 :]
                off[axis][place] += np.count_nonzero(wrong, axis=axis)
                live[axis][place] += np.count_nonzero(weights, axis=axis)
    share = off[0].sum() / max(live[0].sum(), 1) if shape else 0.0
    able = True
    for wrong, many in zip(off, live, strict=True):
        # Expected number of columns that are exact by luck, of those long enough to be told.
        telling = many * np.log1p(-min(share, 0.999)) < np.log(_LUCK / max(many.size, 1))
        able &= bool(telling.any())
        if bool((telling & (wrong == 0)).any()):
            return True
    return False if able else None


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
