"""How an image becomes what a model takes, as it is declared. Standard library only: requests carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Names of images; what they are is told by their content."""

DEFAULT_SCALE = 1 / 255


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a decoded image to an array, in this order.

    Args:
        size: Height and width of the array.
        mode: Channels: ``RGB``, ``BGR`` or ``L`` (grey, ITU-R 601-2 luma).
        shorter: The shorter side is resized to this many pixels and ``size`` cut from the centre, as torchvision's
            ``Resize`` and ``CenterCrop`` do; None stretches the whole image to ``size``.
        filter: How it is resized: ``nearest``, ``box``, ``bilinear``, ``hamming``, ``bicubic`` or ``lanczos``, as Pillow
            computes them (with antialiasing where an image gets smaller).
        scale: Values 0 to 255 are multiplied by this; None is 1/255 for floating-point arrays, 1 for others.
        mean: Subtracted after scaling, one for each channel or one for all; none where empty.
        std: Divided by after that; likewise.
        layout: ``NCHW`` or ``NHWC``.
        dtype: Element type of the array: ``float32``, ``float16`` or ``uint8``.
        classes: Names of folders in the order of the model's classes; empty for their sorted order.
    """

    size: tuple[int, int]
    mode: Literal["RGB", "BGR", "L"] = "RGB"
    shorter: int | None = None
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    classes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the array."""
        return 1 if self.mode == "L" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one sample."""
        height, width = self.size
        return (self.channels, height, width) if self.layout == "NCHW" else (height, width, self.channels)

    @property
    def factor(self) -> float:
        """What values are multiplied by."""
        if self.scale is not None:
            return self.scale
        return 1.0 if self.dtype == "uint8" else DEFAULT_SCALE

    @classmethod
    def from_data(cls, raw: Mapping[str, Any]) -> Preprocessing:
        """From JSON, where tuples are lists."""
        lists = {key: tuple(raw[key]) for key in ("size", "mean", "std", "classes")}
        return cls(**{**raw, **lists})
