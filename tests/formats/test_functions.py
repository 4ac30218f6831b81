"""Model-local functions: what stands in the graph afterwards is what a runtime runs, and nothing unfolds without end."""

from collections import Counter

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.measure.unread import measure_unread
from tests.formats.rebuild import model_of

X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def read(tmp_path):
    def write(proto):
        path = tmp_path / "m.onnx"
        path.write_bytes(proto.SerializeToString())
        return read_model(path)

    return write


def model(text):
    return parser.parse_model(text)


HEAD = '<ir_version: 10, opset_import: ["" : 21, "f" : 1, "g" : 1]>\n'
BODY = 'domain: "f", opset_import: ["" : 21, "f" : 1, "g" : 1]'


def run(proto, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, feeds)


def operators(graph):
    found = Counter()
    for node in graph.node:
        found[node.op_type] += 1
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.type == 5 else [])):
                found += operators(inner)
    return found


CASES = {
    "plain": HEAD + "main (float[3,4] x) => (float[M,N] y) {a = f.F (x)  y = f.F (a)}"
    f"<{BODY}> F (p) => (q) {{t = Exp (p)  q = Neg (t)}}",
    "inner_calls": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F (x)}"
    f"<{BODY}> F (p) => (q) {{t = g.G (p)  q = g.G (t)}}"
    '<domain: "g", opset_import: ["" : 21]> G (p) => (q) {t = Tanh (p)  q = Mul (t, p)}',
    "attribute_of_the_caller": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F <alpha = 0.25, k = 1> (x)}"
    f"<{BODY}> F <alpha, k> (p) => (q) {{t = LeakyRelu <alpha : float = @alpha> (p)  q = Softmax <axis : int = @k> (t)}}",
    "attribute_left_out": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F (x)}"
    f"<{BODY}> F <alpha> (p) => (q) {{q = LeakyRelu <alpha : float = @alpha> (p)}}",
    "default": HEAD + "main (float[3,4] x) => (float[M,N] y) {a = f.F (x)  y = f.F <alpha = 0.5> (a)}"
    f"<{BODY}> F <alpha : float = 0.125> (p) => (q) {{q = LeakyRelu <alpha : float = @alpha> (p)}}",
    "attribute_handed_on": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F <alpha = 0.5> (x)}"
    f"<{BODY}> F <alpha> (p) => (q) {{q = g.G <beta : float = @alpha> (p)}}"
    '<domain: "g", opset_import: ["" : 21]> G <beta> (p) => (q) {q = LeakyRelu <alpha : float = @beta> (p)}',
    "input_left_out": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F (x)}"
    f"<{BODY}> F (p, low) => (q) {{q = Clip (p, low)}}",
    "input_handed_out": HEAD + "main (float[3,4] x) => (float[M,N] y, float[M,N] z) {y, z = f.F (x)}"
    f"<{BODY}> F (p) => (p, q) {{q = Neg (p)}}",
    "output_left_out": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F (x)}"
    f"<{BODY}> F (p) => (q, r) {{q = Neg (p)  r = Abs (p)}}",
    "first_output_left_out": HEAD + 'main (float[3,4] x) => (float[M,N] y) {"", y = f.F (x)}'
    f"<{BODY}> F (p) => (q, r) {{q = Neg (p)  r = Abs (q)}}",
    "one_input_twice": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F (x, x)}"
    f"<{BODY}> F (p, r) => (q) {{t = Neg (p)  q = Sub (t, r)}}",
    "names_that_are_taken": HEAD + "main (float[3,4] x) => (float[M,N] y) {t = Neg (x)  q = f.F (t)  p = f.F (q)  y = Add (p, t)}"
    f"<{BODY}> F (p) => (q) {{t = Exp (p)  x = Neg (t)  q = Mul (x, t)}}",
    "branches": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F (x)}"
    f"<{BODY}> F (p) => (q) {{"
    "t = ReduceSum <keepdims = 0> (p)  zero = Constant <value_float = 0.5> ()  c = Greater (t, zero)"
    "q = If (c) <then_branch = one () => (float[M,N] b) {t2 = Neg (p)  b = f.H (t2)},"
    " else_branch = two () => (float[M,N] b) {b = Exp (p)}>}"
    f"<{BODY}> H (p) => (q) {{b = Abs (p)  q = Sqrt (b)}}",
    "calls_in_a_branch": HEAD + "main (float[3,4] x, bool c) => (float[M,N] y) {"
    "y = If (c) <then_branch = one () => (float[M,N] b) {b = f.F (x)},"
    " else_branch = two () => (float[M,N] b) {t = f.F (x)  b = f.F (t)}>}"
    f"<{BODY}> F (p) => (q) {{t = Neg (p)  q = Exp (t)}}",
    "a_loop": HEAD + "main (float[3,4] x) => (float[M,N] y) {y = f.F <n = 3> (x)}"
    f"<{BODY}> F <n> (p) => (q) {{m = Constant <value_int : int = @n> ()"
    "go = Constant <value_int = 1> ()  yes = Cast <to = 9> (go)"
    "q = Loop (m, yes, p) <body = step (int64 i, bool c, float[M,N] v) => (bool d, float[M,N] w)"
    " {d = Identity (c)  w = Mul (v, p)}>}",
}  # fmt: skip


# onnxruntime takes no call that leaves a last output out, and no body that hands an input out.
NOT_BY_ORT = {"output_left_out", "input_handed_out"}
# onnx.inliner knows no defaults: it leaves the attribute out; and it loses an input that is handed out.
NOT_BY_ONNX = {"default", "input_handed_out"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_body_in_place_of_its_call_computes_the_same(name, read):
    proto = model(CASES[name])
    onnx.checker.check_model(proto)
    found = read(proto)
    assert not any(n.domain in ("f", "g") for n in found.graph.all_nodes())
    ours, theirs = model_of(found), onnx.inliner.inline_local_functions(proto)
    onnx.checker.check_model(ours)
    expected = operators(theirs.graph)
    expected.pop("Identity", None)
    mine = operators(ours.graph)
    mine.pop("Identity", None)
    assert mine == expected
    for truth in (True, False):
        feeds = {"x": X} | ({"c": np.array(truth)} if "bool c)" in CASES[name].split("=>")[0] else {})
        others = [] if name in NOT_BY_ORT else [proto]
        others += [] if name in NOT_BY_ONNX else [theirs]
        for other in others:
            for one, two in zip(run(other, feeds), run(ours, feeds), strict=True):
                assert np.array_equal(one, two)


def test_an_input_that_a_body_hands_out_is_an_output(read):
    found = read(model(CASES["input_handed_out"]))
    assert sorted(n.op for n in found.graph.nodes) == ["Identity", "Neg"]
    y, z = run(model_of(found), {"x": X})
    assert np.array_equal(y, X)
    assert np.array_equal(z, -X)


def test_names_of_bodies_are_told_and_are_those_of_the_call(read):
    found = read(model(CASES["names_that_are_taken"]))
    made = [name for node in found.graph.nodes for name in node.outputs]
    assert len(made) == len(set(made)) == 8
    assert found.inlined == {name for name in made if "/" in name}
    assert len(found.inlined) == 4
    assert {name.split("/")[0] for name in found.inlined} == {"F->q", "F->p"}
    assert [node.position for node in found.graph.nodes] == list(range(len(found.graph.nodes)))
    assert found.functions == ("f::F",)


def test_a_model_without_calls_is_as_it_was(read):
    proto = model(CASES["plain"].replace("f.F (x)", "Relu (x)").replace("f.F (a)", "Relu (a)"))
    found = read(proto)
    assert [n.op for n in found.graph.nodes] == ["Relu", "Relu"]
    assert (found.functions, found.inlined) == (("f::F",), frozenset())
    assert [[n.op for n in body.nodes] for body in found.idle] == [["Exp", "Neg"]]


def test_a_payload_in_a_function_that_nothing_calls_is_told(read):
    proto = model(CASES["plain"].replace("f.F (x)", "Relu (x)").replace("f.F (a)", "Relu (a)"))
    payload = numpy_helper.from_array(np.zeros(5000, np.uint8), "payload")
    node = helper.make_node("Constant", [], ["hidden"], value=payload)
    proto.functions[0].node.append(node)
    found = {m.name: m for m in measure_unread(None, read(proto))}
    assert found["artifact.unread_bytes"].value == 5000
    assert found["artifact.unread_bytes"].detail["tensors"] == [["payload", 5000]]
    assert found["artifact.unread_nodes"].value == 2
    called = {m.name: m for m in measure_unread(None, read(model(CASES["plain"])))}
    assert called["artifact.unread_nodes"].value == 0


def test_what_onnxscript_writes_is_understood(read):
    pytest.importorskip("onnxscript", reason="of the extra `export`")
    from tests.formats.scripted import net

    proto = net.to_model_proto()
    assert {f.name for f in proto.functions} == {"centred", "activated"}
    found = read(proto)
    assert not any(n.domain == "library" for n in found.graph.all_nodes())
    assert len(found.graph.nodes) > 2 * 2 * 7
    assert np.array_equal(run(proto, {"x": X})[0], run(model_of(found), {"x": X})[0])


def changed(case, *edits):
    text = CASES[case]
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


OLD = ('opset_import: ["" : 21]> G', 'opset_import: ["" : 12]> G')
REFUSED = {
    "recursion": (changed("plain", ("t = Exp (p)", "t = f.F (p)")), "ART105", "calls itself"),
    "recursion_in_a_branch": (changed("branches", ("b = Abs (p)", "b = f.F (p)")), "ART105", "calls itself"),
    "two_of_a_name": (
        CASES["plain"] + CASES["plain"].split("}", 1)[1].replace("q = Neg", "q = Abs"),
        "ART105", "is defined twice",
    ),
    "no_such_output": (
        changed("plain", ("q = Neg (t)", "z = Neg (t)")), "ART105", "does not make its output 'q'",
    ),
    "made_twice": (changed("plain", ("q = Neg", "t = Neg (t)  q = Abs")), "ART105", "makes 't' twice"),
    "an_input_made": (changed("plain", ("q = Neg", "p = Neg (t)  q = Abs")), "ART105", "makes 'p' twice"),
    "more_inputs": (changed("plain", ("f.F (x)", "f.F (x, x)")), "ART105", "more inputs or outputs"),
    "more_outputs": (changed("plain", ("a = f.F (x)", "a, b = f.F (x)")), "ART105", "more inputs or outputs"),
    "other_meaning": (
        changed("inner_calls", OLD, ("Tanh (p)", "Softmax (p)")),
        "ART103", "is written for version 12 of Softmax, the model for version 21",
    ),
    "not_imported_inside": (
        changed("inner_calls", (OLD[0], 'opset_import: ["g" : 1]> G')),
        "ART105", "an operator set that it does not import",
    ),
    "not_imported_outside": (
        changed("plain", (', "f" : 1, "g" : 1]>\nmain', "]>\nmain"), ("a = f.F (x)", "a = Abs (x)")),
        "ART105", "its domain is not imported",
    ),
    "another_kind": (
        changed("attribute_of_the_caller", ("alpha = 0.25", "alpha = 1")),
        "ART105", "an attribute 'alpha' of another kind",
    ),
    "no_such_attribute": (
        changed("attribute_of_the_caller", ("<alpha, k>", "<alpha>")),
        "ART105", "the attribute 'k', which it does not have",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_functions_that_runtimes_would_understand_differently_are_refused(name, read):
    text, rule, words = REFUSED[name]
    with pytest.raises(FormatError) as caught:
        read(model(text))
    assert caught.value.rule == rule
    assert words in caught.value.what
    assert caught.value.tensor
    assert caught.value.remedy


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"])
def test_no_function_may_stand_where_a_specification_has_operators(domain, read):
    proto = model(CASES["plain"])
    proto.functions[0].domain, proto.functions[0].name = domain, "Relu"
    with pytest.raises(FormatError, match="stands where operators of a specification stand"):
        read(proto)


def test_overloads_and_faulty_definitions_are_refused(read):
    for change, words in (
        (lambda f, n: setattr(f, "overload", "one"), "one of several"),
        (lambda f, n: setattr(n, "overload", "one"), "one of several"),
        (lambda f, n: f.input.append("p"), "twice"),
        (lambda f, n: f.output.append(""), "a part without a name"),
        (lambda f, n: f.attribute.extend(["k", "k"]), "twice"),
        (lambda f, n: f.attribute_proto.append(helper.make_attribute("", 1)), "without a name"),
        (lambda f, n: f.opset_import.add(domain="", version=20), "an operator set twice"),
        (
            lambda f, n: f.attribute_proto.add(name="k", ref_attr_name="j", type=1),
            "a default that is a reference",
        ),
    ):
        proto = model(CASES["plain"])
        change(proto.functions[0], proto.graph.node[0])
        with pytest.raises(FormatError, match=words):
            read(proto)


def test_a_reference_outside_of_functions_is_refused(read):
    proto = model(HEAD + "main (float[3,4] x) => (float[M,N] y) {y = LeakyRelu (x)}")
    proto.graph.node[0].attribute.add(name="alpha", ref_attr_name="k", type=1)
    with pytest.raises(FormatError, match="takes its attribute 'alpha' from a caller, and has none"):
        read(proto)
    proto.graph.node[0].attribute[0].f = 1
    with pytest.raises(FormatError, match="a reference and a value"):
        read(proto)


def test_an_operator_of_one_meaning_in_two_versions_is_taken(read):
    text = CASES["inner_calls"].replace('opset_import: ["" : 21]> G', 'opset_import: ["" : 18]> G')
    assert [n.op for n in read(model(text)).graph.nodes] == ["Tanh", "Mul"] * 2


def test_a_graph_that_the_caller_gives_keeps_the_callers_names(read):
    """The attribute is a branch that uses the caller's t; the body has a t of its own."""
    body = (
        "t = Exp (p)  q = If (c) <then_branch = one () => (float[M,N] b) {b = Abs (t)},"
        " else_branch = two () => (float[M,N] b) {b = Sqrt (t)}>"
    )
    main = "main (float[3,4] x, bool c) => (float[M,N] y) {t = Neg (x)  y = f.F (x, c)}"
    proto = model(f"{HEAD}{main}<{BODY}> F <branch> (p, c) => (q) {{{body}}}")
    branch = parser.parse_graph("one () => (float[M,N] b) {b = Identity (t)}")
    proto.graph.node[1].attribute.append(helper.make_attribute("branch", branch))
    chosen = proto.functions[0].node[1].attribute
    chosen[0].ClearField("g")
    chosen[0].ref_attr_name = "branch"
    ours = model_of(read(proto))
    assert np.array_equal(run(ours, {"x": X, "c": np.array(True)})[0], -X)
    expected = np.sqrt(np.exp(X))
    assert np.allclose(run(ours, {"x": X, "c": np.array(False)})[0], expected)


def test_constants_of_a_body_are_found(read):
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32))
    proto = model(CASES["plain"].replace("t = Exp (p)", "w = Constant () t = MatMul (p, w)"))
    proto.functions[0].node[0].attribute.append(helper.make_attribute("value", weight))
    found = read(proto)
    held = [n.attributes["value"] for n in found.graph.nodes if n.op == "Constant"]
    assert [c.shape for c in held] == [(4, 4), (4, 4)]
    assert proto.functions[0].node[0].attribute[0].t.data_type == TensorProto.FLOAT
