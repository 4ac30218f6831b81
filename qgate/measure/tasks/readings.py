"""Other ways to read the same numbers as boxes: which of them would have met the labels. Pure.

A format that is declared wrongly makes both models equally wrong, and what little is met by accident is more than is met
of another image's labels, so that chance alone does not show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.boxes import FORMATS, corners, four_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from qgate.measure.data import ArraySpec

    Doubles = NDArray[np.float64]
    Pairs = Sequence[tuple[Doubles, Doubles]]

MOST_IMAGES = 32
"""Labelled images that are read in other ways, the first ones: a wrong format is wrong in every image."""

ENOUGH = 0.5
"""An AP50 of which no other reading can have twice as much."""

ABOUT = 0.9
"""Readings with so large a share of the highest AP50 are about as good."""

SCALES = ("as_is", "shares", "pixels")
"""What the outputs' numbers are in the units of the labels: the same, shares of the image where labels are pixels, or pixels."""

_CHANNELS = 4


@dataclass(frozen=True)
class Reading:
    """How numbers are read as boxes.

    Args:
        format: How four numbers of an output are a box, one of ``FORMATS``.
        label_format: The same of the labels.
        scale: One of ``SCALES``.
    """

    format: str
    label_format: str
    scale: str = SCALES[0]


@dataclass(frozen=True)
class Declared:
    """How the policy says that they are read, and what else they may be.

    Args:
        format: See ``Reading``; ``label_format`` likewise.
        fixed: Labels are corners by their columns.
        size: Width and height of the images that the model is given; None where they are not known.
    """

    format: str
    label_format: str
    fixed: bool = False
    size: tuple[int, int] | None = None

    def others(self) -> Iterator[Reading]:
        """Every other reading of the outputs, then every other one of the labels.

        Never of both: boxes that are read as larger on both sides overlap more, whatever they are.
        """
        scales = SCALES[:1] if self.size is None else SCALES
        outputs = [Reading(form, self.label_format, scale) for scale in scales for form in FORMATS]
        labels = [Reading(self.format, form, scale) for scale in scales for form in FORMATS]
        own = Reading(self.format, self.label_format)
        yield from (
            each for each in dict.fromkeys([*outputs, *([] if self.fixed else labels)]) if each != own
        )

    def reread(self, boxes: Doubles, labels: Doubles, reading: Reading) -> tuple[Doubles, Doubles] | None:
        """Boxes and labels of an image as another reading has them; None where a label would have a negative size.

        Args:
            boxes: Corners as they were declared, then what else is told of each, [boxes, 4 or more].
            labels: The same of the labels.
            reading: The other one.
        """
        told = corners(four_numbers(boxes[:, :4], self.format), reading.format)
        if reading.scale != SCALES[0] and self.size is not None:
            size = np.array(self.size * 2, dtype=np.float64)
            told = told * size if reading.scale == "shares" else told / size
        own = corners(four_numbers(labels[:, :4], self.label_format), reading.label_format)
        if (own[:, 2:] < own[:, :2]).any():
            return None
        return np.column_stack([told, boxes[:, 4:]]), np.column_stack([own, labels[:, 4:]])


@dataclass(frozen=True)
class BestReading:
    """The other reading that meets the labels best, on the images that were read again.

    Args:
        reading: How.
        images: How many images.
        declared: The reference's AP50 as its boxes are declared; ``found`` as they are read here.
        low: Lower end of the 95 % interval of their paired difference.
    """

    reading: Reading
    images: int
    declared: float
    found: float
    low: float

    def state(self) -> dict[str, Any]:
        """What the parent is told."""
        figures = {"images": self.images, "declared": self.declared, "found": self.found, "low": self.low}
        return {**asdict(self.reading), **figures}


@dataclass(frozen=True)
class Better:
    """A reading that is better than the declared one, its interval yet to be made, and what it makes of the images."""

    told: BestReading
    pairs: Pairs


def best_reading(declared: Declared, pairs: Pairs, ap50: Callable[[Pairs], float]) -> Better | None:
    """The best of all other readings; None where none is better than the declared one.

    Nothing is read again where the declared one has an AP50 of a half: no other could have twice as much. Of readings that
    are about as good, it is the one with the smaller labels: the same numbers taken for corner and size on both sides make
    boxes that are too large, and overlap the more for it.

    Args:
        declared: How boxes and labels are declared.
        pairs: The reference's boxes and the labels of each image, see ``Declared.reread``.
        ap50: Average precision of such at an IoU of 0.5.
    """
    own = ap50(pairs)
    found: list[Better] = []
    for reading in declared.others() if own < ENOUGH else ():
        again = [declared.reread(*pair, reading) for pair in pairs]
        whole = [pair for pair in again if pair is not None]
        value = ap50(whole) if len(whole) == len(again) else 0.0
        if value > own:
            found.append(Better(BestReading(reading, len(pairs), own, value, 0.0), whole))
    most = max((each.told.found for each in found), default=0.0)
    near = [each for each in found if each.told.found >= ABOUT * most]
    return min(near, key=lambda each: (_area(each.pairs), -each.told.found), default=None)


def _area(pairs: Pairs) -> float:
    """All labels' areas."""
    return sum(float(np.prod(own[:, 2:4] - own[:, :2], axis=1).sum()) for _, own in pairs)


def image_size(arrays: Mapping[str, ArraySpec]) -> tuple[int, int] | None:
    """Width and height of a data set's images, as the model is given them; None where no array, or several, may be images.

    Images are samples of three axes or more of which two are larger than a number of channels.
    """
    found = {size for spec in arrays.values() if (size := _size(spec.shape[1:])) is not None}
    return found.pop() if len(found) == 1 else None


def _size(shape: Sequence[int]) -> tuple[int, int] | None:
    large = [each for each in shape if each > _CHANNELS]
    return (large[1], large[0]) if len(shape) >= 3 and len(large) == 2 else None
