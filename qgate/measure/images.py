"""Decodes images and brings them into the form that a model takes: hostile bytes, in the sandboxed child only.

Size and form are checked before a pixel is decoded, and only formats of ``FORMATS`` are looked for.
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.preprocessing import Preprocessing
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_BYTES = 64 << 20
"""Largest image file."""

MAX_PIXELS = 89_478_485
"""Most pixels of one image: Pillow's own limit, at which it only warns."""

_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Forms with 8 bits to a channel at most; conversion of others cuts values off."""

_MAX_SIDE = 30_000


def import_decoders() -> None:
    """Imports what decoding needs, before nothing can be read any more."""
    for name in ("Image", "PngImagePlugin", "JpegImagePlugin", "WebPImagePlugin", "BmpImagePlugin"):
        importlib.import_module(f"PIL.{name}")


def decode(data: bytes, steps: Preprocessing, shown: str, where: str) -> NDArray[Any]:
    """One image as the model takes it.

    Args:
        data: The file's bytes.
        steps: What is declared.
        shown: What messages call the image.
        where: The data set.

    Returns:
        Array of shape ``steps.shape`` and type ``steps.dtype``. Orientation tags (EXIF) are not followed, transparency
        is dropped, of animations the first picture counts.

    Raises:
        DataError: It is no image, damaged, too large, of too many bits, or smaller than what is cut from it.
    """
    from PIL import Image, UnidentifiedImageError

    def refuse(what: str, remedy: str) -> DataError:
        return DataError(f"the image {one_line(shown, 120)!r} {what}", where=where, remedy=remedy)

    if len(data) > MAX_BYTES:
        raise refuse(f"has more than {MAX_BYTES >> 20} MiB", "Save it smaller")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise refuse(f"has {width} x {height} pixels, more than {MAX_PIXELS:,}", "Save it smaller")
            if picture.mode not in _MODES:
                raise refuse(f"has the form {one_line(picture.mode, 20)}", "Save 8 bits to a channel")
            plain = picture.convert("L" if steps.mode == "L" else "RGB")
        values = np.asarray(_resized(plain, steps), dtype=np.uint8)
    except DataError:
        raise
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refuse(f"has more than {MAX_PIXELS:,} pixels", "Save it smaller") from error
    except ValueError as error:
        raise refuse(f"cannot be used ({one_line(str(error), 150)})", "Look at the file") from error
    except Exception as error:  # Pillow's decoders raise whatever their parsers do
        # Of what it does not know Pillow says no more than where in memory it lay.
        known = not isinstance(error, UnidentifiedImageError)
        reason = (one_line(str(error), 150) if known else "it is no image") or type(error).__name__
        raise refuse(f"cannot be read ({reason})", f"Save it as one of {', '.join(FORMATS)}") from error
    return _values(values.reshape(*steps.size, steps.channels), steps)


def size_of(path: Path, shown: str, where: str) -> tuple[int, int]:
    """Width and height of an image, from its header.

    Raises:
        DataError: It is no image.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
    except Exception as error:  # as above
        reason = one_line(str(error), 150) or type(error).__name__
        raise DataError(
            f"the image {one_line(shown, 120)!r} cannot be read ({reason})",
            where=where,
            remedy=f"Save it as one of {', '.join(FORMATS)}",
        ) from error
    return width, height


def moved(
    boxes: NDArray[np.float64], size: tuple[int, int], steps: Preprocessing
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Corners in pixels of an image, [boxes, 4], as pixels of what is made of it, and whether anything is left of each.

    Args:
        boxes: x1, y1, x2, y2.
        size: Width and height of the image.
        steps: What is declared; boxes are cut where the image is.
    """
    height, width = steps.size
    new = (width, height) if steps.shorter is None else _scaled(size, steps.shorter)
    left, top = (0, 0) if steps.shorter is None else _corner(new, steps)
    scale = np.array([new[0] / size[0], new[1] / size[1]] * 2)
    whole = boxes * scale - np.array([left, top, left, top])
    cut = np.clip(whole, 0, np.array([width, height, width, height]))
    gone = ((cut[:, 2] <= cut[:, 0]) & (whole[:, 2] > whole[:, 0])) | (
        (cut[:, 3] <= cut[:, 1]) & (whole[:, 3] > whole[:, 1])
    )
    return cut, ~gone


def _scaled(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height with the shorter side at so many pixels, as torchvision's ``Resize`` has them."""
    wide, high = size
    long = int(shorter * max(wide, high) / min(wide, high))
    return (shorter, long) if wide <= high else (long, shorter)


def _corner(size: tuple[int, int], steps: Preprocessing) -> tuple[int, int]:
    """Where the centre begins that is cut out."""
    height, width = steps.size
    return round((size[0] - width) / 2), round((size[1] - height) / 2)


def _resized(picture: Any, steps: Preprocessing) -> Any:
    from PIL import Image

    method = Image.Resampling[steps.filter.upper()]
    height, width = steps.size
    if steps.shorter is None:
        return picture.resize((width, height), method)
    wide, high = picture.size
    new = _scaled(picture.size, steps.shorter)
    if max(new) > _MAX_SIDE:
        raise ValueError(
            f"{wide} x {high} pixels with the shorter side at {steps.shorter} are {max(new)} long"
        )
    if new[0] < width or new[1] < height:
        raise ValueError(f"{new[0]} x {new[1]} pixels are left, and {width} x {height} are cut from them")
    left, top = _corner(new, steps)
    return picture.resize(new, method).crop((left, top, left + width, top + height))


def _values(pixels: NDArray[Any], steps: Preprocessing) -> NDArray[Any]:
    """Scaled, normalised, in the declared order: ``pixels`` is height, width, channel."""
    if steps.mode == "BGR":
        pixels = pixels[:, :, ::-1]
    if steps.dtype == "uint8":
        values: NDArray[Any] = pixels
    else:
        values = pixels.astype(np.float32) * np.float32(steps.factor)
        if steps.mean:
            values = values - np.array(steps.mean, dtype=np.float32)
        if steps.std:
            values = values / np.array(steps.std, dtype=np.float32)
        values = values.astype(steps.dtype)
    return np.ascontiguousarray(values.transpose(2, 0, 1) if steps.layout == "NCHW" else values)
