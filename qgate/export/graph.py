"""An export as it is rewritten: constants resolved, readers known, quantizers put in the place of others.

It runs in the sandboxed child, with the library ``onnx``. What is rewritten is what PyTorch's exporters write: one graph
without branches.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.quant.constants import INTEGER_RANGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODES = {name: INTEGER_RANGES[name] for name in ("int8", "uint8")}
"""Types of activation codes, and their ends."""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operations with a weight."""


class RecipeError(Exception):
    """The model cannot be given another recipe.

    Args:
        what: Why, in words.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Editable:
    """A model's graph.

    Args:
        serialized: The model's bytes.

    Attributes:
        model: The ``ModelProto``, changed in place.

    Raises:
        RecipeError: It is not one graph without branches.
    """

    def __init__(self, serialized: bytes) -> None:
        import onnx
        from onnx import inliner

        try:
            self.model: Any = onnx.load_model_from_string(serialized)
            if self.model.functions:
                self.model = inliner.inline_local_functions(self.model)
        except Exception as error:  # the library raises whatever it comes upon
            raise RecipeError(f"it is not read: {error}") from error
        self.graph: Any = self.model.graph
        if any(each.g.node or each.graphs for node in self.graph.node for each in node.attribute):
            raise RecipeError("it has branches or loops")
        self._held = {each.name: each for each in self.graph.initializer}
        self.ends = {each.name for each in self.graph.output}
        self.index()

    def index(self) -> None:
        """Looks again at who makes and reads what, after nodes were changed."""
        self.made: dict[str, Any] = {}
        self.readers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
        for node in self.graph.node:
            for output in node.output:
                self.made[output] = node
            for place, name in enumerate(node.input):
                self.readers[name].append((node, place))

    def constant(self, name: str) -> NDArray[Any] | None:
        """What a tensor is whatever the inputs are: an initializer, or what is made of constants alone; else None."""
        from onnx import helper, numpy_helper

        held = self._held.get(name)
        if held is not None:
            return np.asarray(numpy_helper.to_array(held))
        node = self.made.get(name)
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Constant":
            value = attribute(node, "value")
            return None if value is None else np.asarray(numpy_helper.to_array(value))
        if node.op_type not in ("Cast", "Identity", "ConstantOfShape", "QuantizeLinear"):
            return None
        source = self.constant(node.input[0])
        if source is None:
            return None
        if node.op_type == "Cast":
            return source.astype(helper.tensor_dtype_to_np_dtype(attribute(node, "to")))
        if node.op_type == "ConstantOfShape":
            value = attribute(node, "value")
            return np.full(
                source.astype(np.int64), 0 if value is None else numpy_helper.to_array(value).item()
            )
        return source if node.op_type == "Identity" else self._quantized(node, source)

    def _quantized(self, node: Any, source: NDArray[Any]) -> NDArray[Any] | None:
        found = self.parameters(node, source.ndim)
        if found is None or found[1].dtype.name not in CODES:
            return None
        scale, zero = found
        codes = np.rint(source.astype(np.float32) / scale) + zero.astype(np.float32)
        held: NDArray[Any] = codes.clip(*CODES[zero.dtype.name]).astype(zero.dtype)
        return held

    def parameters(self, node: Any, rank: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Scale and zero point of a quantizing node, shaped to go with a tensor of a rank; None where they are computed.

        Of rank 1 they are lists, along whichever axis they go.

        Raises:
            RecipeError: Its scales go by blocks, or one is no positive number.
        """
        if attribute(node, "block_size"):
            raise RecipeError(f"{label(node)} has scales by block")
        scale = self.constant(node.input[1])
        if scale is None:
            return None
        if not (scale.size and np.isfinite(scale).all() and (scale > 0).all()):
            raise RecipeError(f"a scale of {label(node)} is no positive number")
        named = node.input[2] if len(node.input) > 2 else ""
        codes = self.constant(node.input[0]) if node.op_type == "DequantizeLinear" else None
        zero = self.constant(named) if named else np.zeros(1, np.uint8 if codes is None else codes.dtype)
        if zero is None:
            return None
        named_axis = attribute(node, "axis")
        axis = 0 if rank == 1 else 1 if named_axis is None else int(named_axis)
        shape = [1] * rank
        if max(scale.size, zero.size) > 1:
            if not -rank <= axis < rank:
                raise RecipeError(f"{label(node)} has scales along an axis that there is not")
            shape[axis] = -1
        return scale.astype(np.float32).reshape(shape), zero.reshape(shape)

    def dequantized(self, codes: str) -> list[Any]:
        """The DequantizeLinear nodes that read codes, at once or as another type.

        Raises:
            RecipeError: Something else reads them, or they leave the model.
        """
        found = []
        if codes in self.ends:
            raise RecipeError(f"its output {codes!r} is codes")
        for node, place in self.readers[codes]:
            if node.op_type == "DequantizeLinear" and place == 0:
                found.append(node)
            elif node.op_type in ("Cast", "Identity"):
                found += self.dequantized(node.output[0])
            else:
                raise RecipeError(f"{label(node)} reads the codes {codes!r}")
        return found

    def hold(self, name: str, values: NDArray[Any]) -> str:
        """Adds an initializer; returns its name, which is free."""
        from onnx import numpy_helper

        while name in self._held or name in self.made:
            name += "_"
        held = numpy_helper.from_array(np.asarray(values, order="C"), name)
        self._held[name] = held
        self.graph.initializer.append(held)
        return name

    def finished(self) -> bytes:
        """The model without what nothing reads any more, in bytes."""
        wanted, nodes = set(self.ends), []
        for node in reversed(self.graph.node):
            if wanted & set(node.output):
                wanted.update(node.input)
                nodes.append(node)
        # Copies: emptying the list takes its members with it.
        kept = [copied(each) for each in reversed(nodes)]
        held = [copied(each) for each in self.graph.initializer if each.name in wanted]
        made = {name for each in kept for name in each.output}
        types = [copied(each) for each in self.graph.value_info if each.name in made and _is_float(each)]
        for field, values in (("node", kept), ("initializer", held), ("value_info", types)):
            self.graph.ClearField(field)
            getattr(self.graph, field).extend(values)
        serialized: bytes = self.model.SerializeToString()
        return serialized


def attribute(node: Any, name: str) -> Any:
    """An attribute's value; None where it is not there."""
    from onnx import helper

    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)


def label(node: Any) -> str:
    """What a message calls a node."""
    return repr(node.name or f"{node.op_type} of {next(iter(node.output), '')}")


def copied(message: Any) -> Any:
    """A copy of a node or tensor."""
    other = type(message)()
    other.CopyFrom(message)
    return other


def _is_float(value: Any) -> bool:
    """Types of codes are no longer what they were."""
    return bool(value.type.tensor_type.elem_type == 1)
