"""Archives of torch.export (.pt2) with something planted in one of their places."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from tests.corpus.hostile.case import Target, hostile
from tests.corpus.hostile.native import shared_library
from tests.corpus.hostile.opcodes import Call, call, stream
from tests.corpus.hostile.torch_bytes import archive, checkpoint, member

loads = partial(hostile, "pt2", "model.pt2", loader="torch-export")
silent = partial(hostile, "pt2", "model.pt2")
MODEL, WEIGHTS = "m/models/model.json", "m/data/weights/model_weights_config.json"
CONSTANTS = "m/data/constants/model_constants_config.json"
SAMPLES = "m/data/sample_inputs/model.pt"


@cache
def clean() -> dict[str, bytes]:
    """The members of an honest archive: one linear layer with a symbolic batch."""
    import torch

    net = torch.nn.Linear(4, 3)
    batch = torch.export.Dim("batch", min=2, max=64)
    made = torch.export.export(net, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    out = io.BytesIO()
    torch.export.save(made, out)
    with zipfile.ZipFile(out) as held:
        return {f"m/{name.partition('/')[2]}": held.read(name) for name in held.namelist()}


def planted(changes: dict[str, bytes | None]) -> bytes:
    """The honest archive with members replaced, added, or with None left out."""
    held = {**clean(), **changes}
    return archive([member(name, data) for name, data in held.items() if data is not None])


def edited(name: str, edit: Callable[[Any], None], **more: bytes) -> bytes:
    """The honest archive with one of its JSON members edited."""
    held = json.loads(clean()[name])
    edit(held)
    return planted({name: json.dumps(held).encode(), **more})


def system(t: Target) -> Call:
    return call("os:system", t.shell)


@loads()
def sample_inputs(t):
    """a pickle in place of the sample inputs"""
    return planted({SAMPLES: checkpoint(system(t))})


@loads()
def sample_inputs_legacy(t):
    """the sample inputs in torch's older format"""
    from tests.corpus.hostile.torch_bytes import legacy

    return planted({SAMPLES: legacy(system(t))})


@loads()
def weight_by_pickle(t):
    """a weight marked use_pickle"""

    def edit(config):
        config["config"]["weight"]["use_pickle"] = True

    return edited(WEIGHTS, edit, **{"m/data/weights/weight_0": checkpoint(system(t))})


def entry(path: str, **more: Any) -> dict[str, Any]:
    return {"path_name": path, "is_param": False, "use_pickle": True, "tensor_meta": None, **more}


def constant(path: str, data: bytes) -> bytes:
    """An archive with one constant beside the weights."""

    def edit(config):
        config["config"]["c"] = entry(path)

    return edited(CONSTANTS, edit, **{f"m/data/constants/{path}": data})


@loads()
def constant_by_pickle(t):
    """a tensor constant marked use_pickle"""
    return constant("tensor_0", checkpoint(system(t)))


@loads()
def opaque_object(t):
    """an opaque constant: a bare pickle"""
    return constant("opaque_obj_0", stream(system(t)))


@silent()
def custom_object(t):
    """a TorchBind object as a constant"""
    return constant("custom_obj_0", checkpoint(system(t)))


def symbolic(text: str) -> bytes:
    """The archive with another expression for the batch."""

    def edit(model):
        for value in model["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text

    return edited(MODEL, edit)


@loads()
def expression(t):
    """a size that is Python: sympy evaluates it"""
    return symbolic(f"[{t.code}, 1][1]")


@loads()
def expression_import(t):
    """a size that imports"""
    return symbolic(f"__import__('os').system({t.shell!r})")


@loads()
def expression_in_symbol(t):
    """a call within the arguments of Symbol"""
    return symbolic(f"Symbol(str({t.code}), positive=True, integer=True)")


@silent()
def expression_lambda(t):
    """a lambda that is called at once"""
    return symbolic(f"(lambda f: f)({t.code}) or Symbol('s0', integer=True)")


@silent()
def expression_deep(t):
    """ten thousand nested parentheses"""
    return symbolic("(" * 10_000 + "1" + ")" * 10_000)


@silent()
def expression_power(t):
    """a number with a billion digits"""
    return symbolic("10**10**9")


@silent()
def expression_long(t):
    """an expression of a megabyte"""
    return symbolic("+".join(["1"] * 500_000))


@loads()
def range_expression(t):
    """the expression stands in the hint's place"""

    def edit(model):
        for value in model["graph_module"]["graph"]["tensor_values"].values():
            value["strides"][0] = {"as_expr": {"expr_str": f"[{t.code}, 4][1]", "hint": {"as_int": 4}}}

    return edited(MODEL, edit)


def target(name: str) -> bytes:
    """The archive with another function for its node."""

    def edit(model):
        model["graph_module"]["graph"]["nodes"][0]["target"] = name

    return edited(MODEL, edit)


@silent()
def target_os(t):
    """a node that calls os.system by way of torch"""
    return target("torch.serialization.os.system")


@silent()
def target_operator(t):
    """a node that calls operator.attrgetter"""
    return target("_operator.attrgetter")


@silent()
def target_custom(t):
    """a node of an operator library of somebody's own"""
    return target("torch.ops.my_library.do.default")


@silent()
def target_file(t):
    """a node that reads a file: aten.from_file"""
    return target("torch.ops.aten.from_file.default")


@silent()
def target_exec(t):
    """a node of a wrapper that runs Python"""
    return target("torch.ops.higher_order.wrap")


def tree(kind: str, context: object) -> bytes:
    """The archive with another description of its arguments."""

    def edit(model):
        spec = [1, {"type": kind, "context": json.dumps(context), "children_spec": []}]
        model["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps(spec)

    return edited(MODEL, edit)


def cdll(t: Target) -> dict[str, object]:
    """A member of an enumeration, which is a library to be loaded."""
    (t.folder / "libx.so").write_bytes(shared_library(t.canary))
    return {"__enum__": True, "fqn": "ctypes:cdll", "name": str(t.folder / "libx.so")}


@loads()
def tree_enumeration(t):
    """the description of the arguments names a member of an enumeration, which loads a library"""
    return tree("builtins.dict", [cdll(t)])


@silent()
def tree_enumeration_nested(t):
    """the same within the context of a defaultdict"""
    factory = {"default_factory_module": "builtins", "default_factory_name": "list"}
    return tree("collections.defaultdict", {**factory, "dict_context": [cdll(t)]})


@loads()
def tree_enumeration_escaped(t):
    """the same, spelled in escapes"""
    made = json.dumps(json.dumps([cdll(t)])).replace("__enum__", "\\u005f_enum__")
    return planted({MODEL: tree_text(made)})


def tree_text(context: str) -> bytes:
    """The program with this text as the context of its arguments, as it is."""
    model = json.loads(clean()[MODEL])
    spec = '[1, {"type": "builtins.dict", "context": ' + context + ', "children_spec": []}]'
    model["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = spec
    return json.dumps(model).encode()


@silent()
def tree_factory(t):
    """a defaultdict whose factory is imported from any module"""
    return tree(
        "collections.defaultdict",
        {"default_factory_module": "os", "default_factory_name": "system", "dict_context": []},
    )


@silent()
def custom_value(t):
    """a value of a TorchBind class"""

    def edit(model):
        model["graph_module"]["graph"]["custom_obj_values"] = {"x": {"name": "x", "class_fqn": "my.Class"}}

    return edited(MODEL, edit)


@silent()
def script_object_input(t):
    """an input that is a script object"""

    def edit(model):
        model["graph_module"]["graph"]["inputs"].append(
            {"as_custom_obj": {"name": "o", "class_fqn": "my.Class"}}
        )

    return edited(MODEL, edit)


@silent()
def native_member(t):
    """a shared library beside the weights"""
    return planted({"m/data/aotinductor/model/w.so": shared_library(t.canary)})


@silent()
def native_as_weight(t):
    """a shared library in place of a weight's bytes"""
    return planted({"m/data/weights/weight_0": shared_library(t.canary)})


@silent()
def python_member(t):
    """Python in the folder for extra files"""
    return planted({"m/extra/setup.py": t.code.encode()})


@silent()
def pickle_member(t):
    """a pickle that nothing names"""
    return planted({"m/extra/x.pkl": stream(system(t))})


@silent()
def weight_traversal(t):
    """a weight whose file climbs out"""

    def edit(config):
        config["config"]["weight"]["path_name"] = "../../../../etc/passwd"

    return edited(WEIGHTS, edit)


@silent()
def weight_short(t):
    """a weight with fewer bytes than its shape needs"""
    return planted({"m/data/weights/weight_0": b"\0" * 7})


@silent()
def weight_missing(t):
    """a weight without its bytes"""
    return planted({"m/data/weights/weight_0": None})


@silent()
def weight_huge(t):
    """a weight that declares 2^62 elements"""

    def edit(config):
        config["config"]["weight"]["tensor_meta"]["sizes"] = [{"as_int": 2**31}, {"as_int": 2**31}]

    return edited(WEIGHTS, edit)


@silent()
def weight_negative(t):
    """a weight with a negative size and offset"""

    def edit(config):
        meta = config["config"]["weight"]["tensor_meta"]
        meta["sizes"], meta["storage_offset"] = [{"as_int": -3}, {"as_int": 4}], {"as_int": -1}

    return edited(WEIGHTS, edit)


@silent()
def weight_twice(t):
    """a weight named twice in one JSON object: readers differ in which counts"""
    text = clean()[WEIGHTS].decode().rstrip().removesuffix("}}")
    held = json.dumps(json.loads(clean()[WEIGHTS])["config"]["weight"]).replace("weight_0", "weight_1")
    return planted({WEIGHTS: f'{text}, "weight": {held}}}}}'.encode()})


@silent()
def json_deep(t):
    """JSON a hundred thousand levels deep"""
    return planted({MODEL: b"[" * 100_000 + b"]" * 100_000})


@silent()
def json_not_utf8(t):
    """JSON that is no UTF-8"""
    return planted({MODEL: b'{"\xff\xfe": 1}'})


@silent()
def json_huge_number(t):
    """a size of a million digits"""
    return planted(
        {MODEL: clean()[MODEL].replace(b'{"as_int": 4}', b'{"as_int": ' + b"9" * 1_000_000 + b"}")}
    )


@silent()
def json_long_argument(t):
    """an operation of three hundred thousand tensors"""

    def edit(model):
        node = model["graph_module"]["graph"]["nodes"][0]
        node["inputs"][0]["arg"] = {"as_tensors": [{"name": "x"}] * 300_000}
        node["target"] = "torch.ops.my_library.do.default"

    return edited(MODEL, edit)


@silent()
def json_empty(t):
    """no graph at all"""
    return planted({MODEL: b"{}"})


@silent()
def two_models(t):
    """two models in one archive"""
    return planted({"m/models/other.json": clean()[MODEL]})


@loads()
def earlier_layout(t):
    """the layout before torch 2.8: the weights are a pickle"""
    held = {
        "version": b"8.1", "serialized_exported_program.json": clean()[MODEL],
        "serialized_state_dict.pt": checkpoint(system(t)), "serialized_constants.pt": checkpoint(),
        "serialized_example_inputs.pt": checkpoint(system(t)),
    }  # fmt: skip
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in held.items():
            made.writestr(name, data)
    return out.getvalue()
