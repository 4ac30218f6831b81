"""A float view of files that hold tensors and no graph: one operation for each module that the names tell of.

The operations compute nothing that is followed; they say which tensors belong together and which axis is
the outputs', so that what judges graphs can judge these files as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from qgate.errors import FormatError
from qgate.formats.model import Constant, Node, StaticModel
from qgate.formats.packing import parameters
from qgate.quant.constants import ConstantValue, Quantized, plain, transposed
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer

# Endings under which a quantized module keeps what the float module calls weight and bias.
_RENAMED = (
    ("._packed_params._packed_params.0", ".weight"), ("._packed_params._packed_params.1", ".bias"),
    (".weight_packed", ".weight"), (".qweight", ".weight"), (".weight.int8", ".weight"), (".weight.int4", ".weight"),
    (".weight_quantized", ".weight"), ("_quantized", ""),
)  # fmt: skip
# Operations of a program that hand a weight on as it is, in other layouts.
_CARRIES = (
    "dequantize",
    "aten.permute",
    "aten.t.",
    "aten.transpose",
    "aten.alias",
    "aten.clone",
    "aten.detach",
)
_WRAPPERS = {"module", "_orig_mod"}
_INPUTS_FIRST = (".qweight",)
_NUMBERED_SCALE = re.compile(r"(.*)scale(_\d+)")


def canonical_name(name: str, root: str = "") -> str:
    """A tensor's name without what wrappers and quantizers add to it.

    Args:
        name: The file's own name.
        root: What stands before all names of the model, with its dot.
    """
    short = name.removeprefix(root)
    for ending, float_ending in _RENAMED:
        if short.endswith(ending):
            short = short.removesuffix(ending) + float_ending
            break
    return ".".join(part for part in short.split(".") if part not in _WRAPPERS)


def tensor_view(model: StaticModel) -> FloatGraph:
    """The view of a model without a graph, or of one whose graph is not followed."""
    held = {constant.name: constant for constant in _used(model)}
    root = model.root
    quantizers = {q.tensor: [q] for q in _activations(held)}
    apart = set(parameters(held)) | {
        n for q in quantizers.values() for n in (q[0].scale_name, q[0].zero_name)
    }
    values = {name: constant_value(c) for name, c in held.items() if name not in apart and c.size}
    names = _distinct(values, root, model.path.name)
    groups = _operations(model, values) if model.graph.nodes else _modules(names, values)
    nodes = [_node(number, *found) for number, found in enumerate(groups)]
    return FloatGraph(
        inputs=(), outputs=(), nodes=nodes, constants=values, quantizers=quantizers, defects=[], dynamic=False,
        names={}, types={},
    )  # fmt: skip


def _distinct(values: Iterable[str], root: str, where: str) -> dict[str, str]:
    """The tensors' own names by their canonical ones.

    Raises:
        FormatError: Two have one: which of them is the model's, the names do not tell.
    """
    found: dict[str, str] = {}
    for name in values:
        short = canonical_name(name, root)
        if short in found:
            raise FormatError(
                f"the tensors {found[short]!r} and {name!r} both stand for {short!r}, so that one would be judged for "
                "the other",
                where=where, remedy="Save the model's state_dict alone, each tensor once", rule="ART105", tensor=name,
            )  # fmt: skip
        found[short] = name
    return found


def _used(model: StaticModel) -> Iterator[Constant]:
    """The constants that are the model's: no optimizer's, of a program those that an operation reads (PT2E leaves float
    copies behind)."""
    read = {name for node in model.graph.all_nodes() for name in node.inputs}
    read |= {tensor.name for tensor in model.graph.outputs}
    for name, constant in model.graph.constants.items():
        if constant.name.startswith(model.root) and (not model.graph.nodes or name in read):
            yield constant


def constant_value(constant: Constant) -> ConstantValue:
    """A constant with what its codes stand for; matrices as inputs by outputs, as graphs multiply by them."""
    value = plain(constant)
    stored = constant.quantization
    if stored is not None:
        scale, zero = stored.scale, stored.zero_point
        quantized = Quantized(
            dtype=constant.dtype, scale=np.asarray(scale.load()), axis=stored.axis, block=stored.block,
            zero_point=np.asarray(zero.load()) if zero is not None else None, scale_name=scale.name,
            zero_name=zero.name if zero is not None else "", scale_dtype=scale.dtype,
        )  # fmt: skip
        value = ConstantValue(
            constant.name, constant.dtype, constant.shape, constant.load, constant.bits, quantized
        )
    is_matrix = len(value.shape) == 2 and not constant.name.endswith(_INPUTS_FIRST)
    return transposed(value) if is_matrix else value


def _activations(held: dict[str, Constant]) -> Iterator[Quantizer]:
    """Scales and zero points of activations: single numbers that lie side by side under a module."""
    own = set(parameters(held))
    for name, scale in held.items():
        numbered = _NUMBERED_SCALE.fullmatch(name)
        zero_name = f"{numbered[1]}zero_point{numbered[2]}" if numbered else ""
        if name.endswith((".scale", "_scale")) or name == "scale":
            zero_name = name.removesuffix("scale") + "zero_point"
        zero = held.get(zero_name)
        if zero is None or name in own or scale.size != 1 or zero.size != 1 or scale.bits < 16:
            continue
        module = name[: -len("scale")].rstrip("._") if not numbered else name
        yield Quantizer(
            tensor=module or name, source=module or name, node=module or name, dtype="uint8",
            scale=np.asarray(scale.load()), zero_point=np.asarray(zero.load()), scale_name=name, zero_name=zero_name,
        )  # fmt: skip


def _modules(names: dict[str, str], values: dict[str, ConstantValue]) -> Iterator[tuple[str, str, list[str]]]:
    """Operator, label and operands of each module; what belongs to none stands alone."""
    left = dict(names)
    norms: dict[str, list[str]] = defaultdict(list)
    for short in names:
        stem, _, last = short.rpartition(".")
        if last == "running_var":
            norms[stem] = [f"{stem}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    for stem, parts in norms.items():
        if all(part in left for part in parts):
            yield "BatchNormalization", stem, [left.pop(part) for part in parts]
    for short in list(left):
        if short not in left or not _is_weight(values[left[short]]):
            continue
        stem, _, last = short.rpartition(".")
        weight = left.pop(short)
        bias = f"{stem}.{last.replace('weight', 'bias')}".lstrip(".") if "weight" in last else ""
        op = "Gemm" if len(values[weight].shape) == 2 else "Conv"
        is_vector = bias in left and len(values[left[bias]].shape) == 1
        yield op, stem or short, [weight, *([left.pop(bias)] if is_vector else [])]
    for short, name in left.items():
        yield "Constant", short, [name]


def _operations(model: StaticModel, values: dict[str, ConstantValue]) -> Iterator[tuple[str, str, list[str]]]:
    """The same for a program: what each of its operations reads, in its order."""
    stands = {name: constant.name for name, constant in model.graph.constants.items()}
    taken: set[str] = set()
    for node in model.graph.nodes:
        if node.inputs and node.inputs[0] in stands and any(word in node.op for word in _CARRIES):
            stands.update(dict.fromkeys(node.outputs, stands[node.inputs[0]]))
            continue
        read = list(dict.fromkeys(stands[name] for name in node.inputs if stands.get(name) in values))
        read = [name for name in read if name not in taken]
        taken.update(read)
        # addmm reads its bias first.
        read.sort(key=lambda name: not _is_weight(values[name]))
        if "batch_norm" in node.op and len(read) == 4:
            yield "BatchNormalization", node.label, read
            continue
        if read and _is_weight(values[read[0]]):
            count = 2 if len(read) > 1 and len(values[read[1]].shape) == 1 else 1
            yield "Gemm" if len(values[read[0]].shape) == 2 else "Conv", node.label, read[:count]
            read = read[count:]
        for name in read:
            yield "Constant", name, [name]
    for name in values:
        if name not in taken:
            yield "Constant", name, [name]


def first_reader(model: StaticModel, name: str) -> str:
    """The output of the first operation that computes with a program's constant; empty where none does."""
    # A program's operations know a parameter by another name than its state_dict does.
    stands = {name, *(own for own, constant in model.graph.constants.items() if constant.name == name)}
    for node in model.graph.nodes:
        if not stands.intersection(node.inputs):
            continue
        if any(word in node.op for word in _CARRIES):
            stands.update(node.outputs)
        elif node.outputs:
            return node.outputs[0]
    return ""


def _is_weight(value: ConstantValue) -> bool:
    """A tensor of numbers to multiply with: of two axes at least, and no table of whole numbers."""
    return len(value.shape) >= 2 and (value.is_quantized or value.bits < 64 or value.dtype == "double")


def _node(number: int, op: str, label: str, operands: list[str]) -> FloatNode:
    inputs = operands if op == "Constant" else ["", *operands]
    node = Node(label, op, "", tuple(inputs), (label,), {}, number)
    return FloatNode(op=op, domain="", inputs=inputs, outputs=[label], attributes={}, node=node)
