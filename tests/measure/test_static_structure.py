# ruff: noqa: E501 - one graph a line
"""What is said of the graph of a pair: differences, bodies, operators that triggers are made of, coverage."""

import dataclasses

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.formats.read import read_model
from qgate.measure.interface import Interface
from qgate.measure.operators import unknown_operators
from qgate.measure.static import inspect_pair
from tests.quant.net import candidate, coded, floats, inspect, named, quantized_text, reference
from tests.quant.twin import half_bytes, model, save

WEIGHTS = floats()
FLOAT = reference(WEIGHTS)
HONEST = quantized_text()


def differences(found):
    return [
        (m.value, m.detail["candidate_operators"], m.at.node)
        for m in named(found, "structure.difference")
        if "candidate_operators" in m.detail
    ]


def changed(tmp_path, old, new, **more):
    assert old in HONEST
    proto = candidate(coded(WEIGHTS), text=HONEST.replace(old, new))
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in more.items())
    return inspect(FLOAT, proto, tmp_path)


def test_an_added_operation_is_named_by_the_files_own_node(tmp_path):
    found = changed(tmp_path, "b = Relu (a)", "k = Sin (a) b = Relu (k)")
    assert differences(found) == [("added", ["Sin"], "Sin->k")]
    (entry,) = named(found, "structure.difference")
    assert entry.at.tensor == "k"
    assert [m.value for m in named(found, "alignment.coverage")] == [1]


def test_a_removed_operation_is_named_by_the_references_node(tmp_path):
    found = changed(tmp_path, "h = Flatten (p)", "h = Reshape (p, t)", t=np.array([1, -1]))
    assert all(value != "unmatched" for value, _, _ in differences(found))
    found = changed(tmp_path, "f = Relu (e)", "f = Identity (e)")
    assert [(m.value, m.detail["reference_operators"]) for m in named(found, "structure.difference")] in (
        [("removed", ["Relu"])], [("range", ["Relu"])],
    )  # fmt: skip


@pytest.mark.parametrize("op", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_chance_is_told(op, tmp_path):
    found = changed(
        tmp_path,
        "b = Relu (a)",
        f"k = {op} (a) l = Mul (k, tiny) m = Add (a, l) b = Relu (m)",
        tiny=np.float32(1e-3),
    )
    assert any(value == "operator" and nodes == [op] for value, nodes, _ in differences(found))


def test_a_comparison_that_selects_is_told(tmp_path):
    found = changed(
        tmp_path, "b = Relu (a)", "k = Greater (a, big) l = Where (k, big, a) b = Relu (l)", big=np.float32(9)
    )
    assert {"Where", "Greater"} & {op for _, ops, _ in differences(found) for op in ops}


def test_the_pair_of_norms_is_compared_to_the_element(tmp_path):
    text = (
        "g (float[1,2,4,4] x) => (float[1,3,4,4] y) {c = Conv (x, w) y = BatchNormalization (c, s, b, m, v)}"
    )
    rng = np.random.default_rng(0)
    held = {"w": rng.standard_normal((3, 2, 1, 1)).astype(np.float32)} | {
        k: rng.random(3).astype(np.float32) + 1 for k in "sbmv"
    }
    moved = held | {"m": held["m"] * np.float32([1, 1.5, 1])}
    found = inspect(model(text, **held), model(text, **moved), tmp_path)
    bad = {m.at.tensor for m in named(found, "weight.derivation") if m.value != "derived"}
    assert bad == {"m"}


# -- bodies ----------------------------------------------------------------------------------------


def branching(then, value=2.0, dtype=np.float32, constants=True):
    outs = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    held = [numpy_helper.from_array(np.full(3, value, dtype), "k")]
    one = helper.make_graph(
        [helper.make_node(op, ["a", "k"] if op in ("Mul", "Add") else ["a"], ["o"]) for op in then],
        "t",
        [],
        outs,
        held if constants else [],
    )
    two = helper.make_graph([helper.make_node("Sin", ["a"], ["o"])], "e", [], outs)
    proto = model("g (float[3] x, bool c) => (float[N] y) {a = Relu (x)}")
    proto.graph.node.append(helper.make_node("If", ["c"], ["y"], "choice", then_branch=one, else_branch=two))
    return proto


@pytest.mark.parametrize(
    ("theirs", "kind", "node", "words"),
    [
        (branching(["Mul"]), None, "", ""),
        (branching(["Mul"], 2.0004, np.float16), None, "", ""),
        (branching(["Add"]), "replaced", "Add->o", "in then_branch of If 'choice': Add 'Add->o' stands where the reference has Mul"),
        (branching(["Mul"], 2.5), "constant", "Mul->o", "'k'"),
    ],
    ids=["same", "rounded", "operator", "constant"],
)  # fmt: skip
def test_the_bodies_of_a_branch_are_compared(theirs, kind, node, words, tmp_path):
    found = inspect(branching(["Mul"]), theirs, tmp_path)
    told = [(m.value, m.at.node) for m in named(found, "structure.difference")]
    if kind == "constant":
        bad = [m for m in named(found, "weight.derivation") if m.value != "derived"]
        assert [(m.at.tensor, m.at.node) for m in bad] == [("k", node)]
        assert told == []
    else:
        assert told == ([(kind, node)] if kind else [])
        assert all(words in m.detail["message"] for m in named(found, "structure.difference"))


def test_a_branch_that_the_reference_does_not_have_is_told(tmp_path):
    ours = model("g (float[3] x, bool c) => (float[N] y) {a = Relu (x) y = Sin (a)}")
    found = inspect(ours, branching(["Mul"]), tmp_path)
    assert ("operator", ["If"], "choice") in differences(found)


# -- operators -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "op", "allowed", "known"),
    [
        ("", "Relu", frozenset(), True), ("", "Wizardry", frozenset(), False), ("com.microsoft", "QGemm", frozenset(), True),
        ("com.microsoft", "Wizardry", frozenset(), False), ("com.microsoft", "EPContext", frozenset(), False),
        ("acme", "Fold", frozenset(), False), ("acme", "Fold", frozenset({"acme::Fold"}), True),
        ("ai.onnx.ml", "Scaler", frozenset(), True),
    ],
)  # fmt: skip
def test_operators_that_no_specification_defines_are_told_and_not_run(domain, op, allowed, known, tmp_path):
    proto = model("g (float[3] x) => (float[N] y) {a = Relu (x)}")
    if domain not in ("", "com.microsoft"):
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    proto.graph.node.append(helper.make_node(op, ["a"], ["y"], "odd", domain=domain))
    path = save(proto, tmp_path)
    found = list(unknown_operators(read_model(path), allowed))
    assert (found == []) is known
    assert inspect_pair(None, read_model(path), Interface(), allowed_operators=allowed).runnable is known
    if not known:
        assert "odd" in str(found[0].at) or op in str(found[0])


def test_an_unknown_operator_in_a_body_is_told(tmp_path):
    proto = branching(["Wizardry"])
    found = list(unknown_operators(read_model(save(proto, tmp_path)), frozenset()))
    assert "Wizardry" in str(found)


def test_bodies_of_the_files_own_functions_are_looked_at_where_they_are_used(tmp_path):
    proto = model("g (float[3] x) => (float[N] y) {y = Relu (x)}")
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("odd", 1)]
    for name, body in (
        ("Known", helper.make_node("Relu", ["a"], ["b"])),
        ("Odd", helper.make_node("Wizardry", ["a"], ["b"], "inner", domain="odd")),
    ):
        proto.functions.append(helper.make_function("mine", name, ["a"], ["b"], [body], imports))
    assert inspect_pair(None, read_model(save(proto, tmp_path)), Interface()).runnable
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "mine", "Known"
    assert inspect_pair(None, read_model(save(proto, tmp_path)), Interface()).runnable
    proto.graph.node[0].op_type = "Odd"
    found = inspect_pair(None, read_model(save(proto, tmp_path)), Interface())
    assert not found.runnable
    (told,) = named(found, "artifact.operator")
    assert (told.value, told.at.node) == ("odd::Wizardry", "Odd->y/inner")


# -- the whole -------------------------------------------------------------------------------------


def test_a_candidate_alone_is_inspected_for_itself(tmp_path):
    held = coded(WEIGHTS)
    held["w2s"][1] = np.nan
    found = inspect_pair(None, read_model(save(candidate(held), tmp_path)), Interface())
    names = {m.name for m in found.measurements}
    assert {"artifact.bytes", "quant.scheme", "quant.share", "quant.bits", "scale.defect"} <= names
    assert not any(name.startswith(("weight.", "alignment.", "interface.")) for name in names)
    assert found.taps == ()


def test_values_that_are_not_finite_are_located(tmp_path):
    made = {k: v.copy() for k, v in WEIGHTS.items()}
    made["w2"][3, 1, 0, 2] = np.nan
    made["w2"][4, 1, 0, 2] = np.inf
    (entry,) = named(inspect(FLOAT, reference(made), tmp_path), "constant.nonfinite")
    assert (entry.at.tensor, entry.at.index, entry.value) == ("w2", (3, 1, 0, 2), 2)
    assert (entry.detail["nan"], entry.detail["operator"], entry.detail["position"]) == (1, "Conv", 1)


def test_the_same_pair_gives_the_same_measurements(tmp_path):
    proto = candidate(coded(WEIGHTS))
    assert inspect(FLOAT, proto, tmp_path).measurements == inspect(FLOAT, proto, tmp_path).measurements


@pytest.mark.parametrize(
    ("weight", "name", "share", "bits"),
    [
        (np.ones((8, 5), np.float32), "none", 0, 32), (np.ones((8, 5), np.float16), "fp16", 1, 16),
        (np.ones((8, 5), np.int8), "int8", 1, 8), (half_bytes(np.ones((8, 5)), "int4"), "int4", 1, 4),
        (np.ones((8, 5), np.uint16), "int8", 1, 16),
    ],
    ids=["float", "half", "int8", "int4", "uint16"],
)  # fmt: skip
def test_the_scheme_is_that_of_the_weights(weight, name, share, bits, tmp_path):
    coded_weight = weight.dtype not in (np.float32, np.float16)
    body = "d = DequantizeLinear (w, s)" if coded_weight else "d = Cast <to = 1> (w)"
    proto = model(
        f"g (float[3,8] x) => (float[N,M] y) {{{body} y = MatMul (x, d)}}", w=weight, s=np.float32(0.1)
    )
    found = inspect_pair(None, read_model(save(proto, tmp_path)), Interface())
    assert found.scheme.name == name
    assert found.scheme.share == share
    assert [m.value for m in named(found, "quant.bits")] == [bits]
    assert found.scheme.float_weights == (("w",) if name == "none" else ())


def test_the_scheme_is_that_of_most_weights_and_ties_go_to_the_shorter(tmp_path):
    text = "g (float[3,8] x) => (float[N,M] y) {a = DequantizeLinear (w, s) b = DequantizeLinear (v, s) c = MatMul (x, a) y = MatMul (c, b)}"
    for size, name in ((8, "int4"), (4, "int8")):
        held = {
            "w": np.ones((8, 8), np.int8),
            "v": half_bytes(np.ones((8, size)), "int4"),
            "s": np.float32(0.1),
        }
        assert (
            inspect_pair(None, read_model(save(model(text, **held), tmp_path)), Interface()).scheme.name
            == name
        )


def test_a_model_without_weights_says_so(tmp_path):
    path = save(model("g (float[3] x) => (float[N] y) {y = Relu (x)}"), tmp_path)
    found = inspect_pair(read_model(path), read_model(path), Interface())
    reasons = {m.name: m.not_measured for m in found.measurements if m.not_measured}
    assert set(reasons) == {"quant.share", "alignment.coverage", "alignment.macs", "weight.derived_share"}
    assert np.isnan(found.scheme.share)


def test_levels_of_large_weights_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    codes = rng.integers(-8, 8, (64, 32)).astype(np.int8)
    text = "g (float[3,64] x) => (float[N,M] y) {d = DequantizeLinear (w, s) y = MatMul (x, d)}"
    ours = model("g (float[3,64] x) => (float[N,M] y) {y = MatMul (x, w)}", w=codes * np.float32(0.1))
    found = inspect(ours, model(text, w=codes, s=np.float32(0.1)), tmp_path)
    assert [m.value for m in named(found, "weight.levels")] == [16]


# -- the interface ---------------------------------------------------------------------------------

IO = "g (float[N,8] x, int64[3] k) => (float[N,4] y) {a = Relu (x) y = Identity (a)}"


def told(folder, ours, theirs, **declared):
    found = inspect(model(ours), model(theirs), folder, **declared)
    return [
        (m.value, m.detail["side"], m.at.input or m.at.output) for m in named(found, "interface.difference")
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("x", "x", []),
        ("float[N,8] x", "float[B,8] x", []),
        ("float[N,8] x", "float[1,8] x", [("fixed", "input", "x")]),
        ("float[N,4] y", "float[1,4] y", []),
        ("float[N,8] x", "float[N,9] x", [("shape", "input", "x")]),
        ("float[N,4] y", "float[N,5] y", [("shape", "output", "y")]),
        ("float[N,8] x", "float[N,8,1] x", [("rank", "input", "x")]),
        ("float[N,8] x", "float16[N,8] x", [("float-type", "input", "x")]),
        ("int64[3] k", "int32[3] k", [("type", "input", "k")]),
        (", int64[3] k", "", [("missing", "input", "k")]),
        ("int64[3] k", "int64[3] k, float[2] z", [("extra", "input", "z")]),
        ("int64[3] k", "int64[3] other", [("missing", "input", "k"), ("extra", "input", "other")]),
    ],
)
def test_undeclared_differences_of_the_interface_are_told(old, new, expected, tmp_path):
    assert old in IO
    assert told(tmp_path, IO, IO.replace(old, new)) == expected


@pytest.mark.parametrize(
    ("old", "new", "declared"),
    [
        ("float[N,8] x", "float16[N,8] x", {"types": {"x": "float16"}}),
        ("float[N,8] x", "double[N,8] x", {"types": {"x": "float64"}}),
        (", int64[3] k", "", {"optional": ("k",)}),
        ("int64[3] k", "int64[3] k, float[2] z", {"optional": ("z",)}),
        ("int64[3] k", "int64[3] other", {"map": {"k": "other"}}),
        ("float[N,8] x", "float[1,8] x", {"shapes": {"x": (1, 8)}}),
        ("float[N,8] x", "float[N,9] x", {"shapes": {"x": (None, 9)}}),
    ],
)
def test_declared_differences_of_the_interface_are_none(old, new, declared, tmp_path):
    assert told(tmp_path, IO, IO.replace(old, new), **declared) == []


@pytest.mark.parametrize(
    ("declared", "key", "name", "nearest"),
    [
        ({"map": {"kk": "other"}}, "map", "kk", "input 'k'"),
        ({"map": {"k": "othr"}}, "map", "othr", "input 'other'"),
        ({"map": {"k": "other"}, "optional": ("sr",)}, "optional", "sr", "nearest is"),
        ({"map": {"k": "other"}, "types": {"X": "float16"}}, "types", "X", "nearest is"),
        ({"map": {"k": "other"}, "shapes": {"xx": (1, 8)}}, "shapes", "xx", "input 'x'"),
    ],
)  # fmt: skip
def test_a_declared_name_that_no_model_has_is_told_with_the_nearest(declared, key, name, nearest, tmp_path):
    theirs = IO.replace("int64[3] k", "int64[3] other")
    found = [m for m in named(inspect(model(IO), model(theirs), tmp_path, **declared), "interface.difference")
             if m.value == "unknown-name"]  # fmt: skip
    (entry,) = found
    assert (entry.detail["declared"], entry.at.input) == (key, name)
    assert nearest in entry.detail["message"]


def test_a_declared_type_or_shape_that_is_not_there_is_told(tmp_path):
    assert told(tmp_path, IO, IO, types={"x": "float16"}) == [("float-type", "input", "x")]
    assert told(tmp_path, IO, IO, shapes={"x": (None, 9)}) == [("shape", "input", "x")]


def test_a_missing_input_names_the_one_that_took_its_place(tmp_path):
    found = inspect(model(IO), model(IO.replace("int64[3] k", "int64[3] other")), tmp_path)
    assert "'other' instead" in named(found, "interface.difference")[0].detail["message"]


def test_a_weight_that_a_caller_may_replace_is_a_door(tmp_path):
    ours = reference(WEIGHTS)
    theirs = reference(WEIGHTS)
    theirs.graph.input.append(helper.make_tensor_value_info("w2", TensorProto.FLOAT, WEIGHTS["w2"].shape))
    (entry,) = named(inspect(ours, theirs, tmp_path), "interface.difference")
    assert (entry.value, entry.at.input) == ("extra", "w2")
    assert named(inspect(theirs, theirs, tmp_path), "interface.difference") == []


def test_old_files_list_every_weight_as_an_input(tmp_path):
    theirs = reference(WEIGHTS)
    for name, values in WEIGHTS.items():
        theirs.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape))
    (entry,) = named(inspect(FLOAT, theirs, tmp_path), "interface.difference")
    assert entry.value == "overridable"
    theirs.ir_version = 3
    theirs.opset_import[0].version = 8
    assert dataclasses.is_dataclass(read_model(save(theirs, tmp_path)))


def test_a_quantizer_that_does_an_activation_is_held_against_what_the_activation_makes(tmp_path):
    """Beside it a float Relu reads the same tensor, as in a candidate of which one layer was put back to float."""
    rng = np.random.default_rng(6)
    held = {name: rng.standard_normal((8, 8)).astype(np.float32) for name in ("w", "v")}
    coded = {"s": np.float32(0.02), "z": np.uint8(0)}
    head = "g (float[2,8] x) => (float[2,8] y)"
    ours = f"{head} {{a = MatMul (x, w) r = Relu (a) b = MatMul (r, v) y = Add (TWO)}}"
    theirs = (
        f"{head} {{a = MatMul (x, w) q = QuantizeLinear (a, s, z) d = DequantizeLinear (q, s, z) r = Relu (a)"
        " b = MatMul (d, v) y = Add (TWO)}"
    )
    for order in ("b, r", "r, b"):
        pair = [
            read_model(save(model(text.replace("TWO", order), **held, **more), tmp_path, name))
            for name, text, more in (("one", ours, {}), ("two", theirs, coded))
        ]
        found = inspect_pair(*pair, Interface())
        assert [(tap.tensor, tap.low) for tap in found.taps] == [("r", 0.0)]
        assert ("r", "q") in {(layer.reference, layer.candidate) for layer in found.layers}
