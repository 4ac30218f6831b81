"""Images whose places have classes, for ``bench/verdicts.py``: regions with a texture each."""

from __future__ import annotations

import numpy as np

PERIOD = 4
"""A texture repeats after so many places, so that a convolution can tell it anywhere."""

COARSE = 4
"""Regions are where one of several smooth fields is highest; a field has so many free numbers along an axis."""

BACKGROUND = 0.4
"""How much higher the field of class 0 is than the others': one class is more frequent than the rest."""


def textures(random: np.random.Generator, classes: int, shape: tuple[int, ...]) -> np.ndarray:
    """The texture of each class all over an image, [classes, channels, rows, columns]: a colour and a pattern."""
    channels, *size = shape
    colour = random.standard_normal((classes, channels, 1, 1)) * 0.8
    tile = random.standard_normal((classes, channels, PERIOD, PERIOD)) * 0.8
    times = [-(-each // PERIOD) for each in size]
    return np.asarray((colour + np.tile(tile, (1, 1, *times)))[:, :, : size[0], : size[1]])


def regions(random: np.random.Generator, count: int, classes: int, size: tuple[int, ...]) -> np.ndarray:
    """The class of each place, [images, rows, columns]."""
    free = random.standard_normal((count, classes, COARSE, COARSE)).astype(np.float32)
    free[:, 0] += BACKGROUND
    rows, columns = (_wide(each) for each in size)
    fields = rows @ free @ columns.T
    return np.asarray(fields.argmax(axis=1))


def painted(templates: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Each place with the texture of its class, [images, channels, rows, columns]."""
    rows, columns = np.indices(classes.shape[1:])
    return np.moveaxis(templates[classes, :, rows, columns], -1, 1)


def _wide(size: int) -> np.ndarray:
    """Linear interpolation of ``COARSE`` numbers to ``size``, as a matrix."""
    at = np.linspace(0, COARSE - 1, size)
    near = 1 - np.abs(at[:, None] - np.arange(COARSE))
    return np.maximum(near, 0).astype(np.float32)
