"""Flips one bit of one weight in a quantized ONNX file, as a bad disk or a bad actor would.

    python examples/corrupt.py examples/digits/digits_int8_pc.onnx corrupted.onnx

The file stays a valid model, its outputs hardly move and its accuracy usually does not change at all.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

QUANTIZED = (TensorProto.INT8, TensorProto.UINT8)


def flip(model: onnx.ModelProto, *, element: int, bit: int) -> tuple[str, tuple[int, ...], int, int]:
    """Flips a bit in the model's largest quantized weight.

    Args:
        model: The model, changed in place.
        element: Which element of the flattened weight, counted from its end if it is negative.
        bit: Which bit, 0 the lowest.

    Returns:
        The tensor's name, the element's index, its value before and after.

    Raises:
        ValueError: The model has no quantized weight, or the weight no such element.
    """
    weights = [tensor for tensor in model.graph.initializer if tensor.data_type in QUANTIZED and tensor.dims]
    if not weights:
        raise ValueError("the model has no 8-bit weight")
    tensor = max(weights, key=lambda weight: math.prod(weight.dims))
    values = numpy_helper.to_array(tensor).copy()
    index = tuple(int(part) for part in np.unravel_index(range(values.size)[element], values.shape))
    before = int(values[index])
    values.view(np.uint8)[index] ^= 1 << bit
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return tensor.name, index, before, int(values[index])


def main() -> int:
    """Reads one file, writes another, and says what was changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--element", type=int, default=-1000)
    parser.add_argument("--bit", type=int, default=4, choices=range(8))
    arguments = parser.parse_args()
    model = onnx.load(arguments.source)
    try:
        name, index, before, after = flip(model, element=arguments.element, bit=arguments.bit)
    except (ValueError, IndexError) as error:
        print(f"{arguments.source}: {error}", file=sys.stderr)
        return 1
    onnx.save(model, arguments.destination)
    print(f"{arguments.destination}: {name}{list(index)} was {before} and is {after}, one bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
