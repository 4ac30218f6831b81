"""Where a few of a tensor's values are read, the same in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.measure.layers.ledger import SKETCH

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sketch_positions() -> NDArray[np.float64]:
    """Shares of a tensor's length at which the sketch reads, in rising order: a fixed sample without weight."""
    shares = np.random.default_rng(20_171_204).random(SKETCH)
    return np.sort(shares) * (1 - 2.0**-40)
