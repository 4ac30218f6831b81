"""What changed since the accepted model, told from digests alone, and in words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from qgate.baseline.content import LISTED, Side, compare_contents
from qgate.baseline.content_finding import content_finding
from qgate.merkle import content_digest
from qgate.records import Severity
from qgate.report.content import described, headline, short, whereabouts
from qgate.report.schema import MAX_TENSORS, Artifact, Content, ContentDelta, TensorDelta

Tensors = Mapping[str, str]


def root(values: str) -> str:
    return hashlib.sha256(values.encode()).hexdigest()[:43]


def side(tensors: Tensors, *, graph: str = "g", file: str = "") -> Side:
    """A model whose tensors are told as ``values`` or as ``dtype shape values``."""
    entries = []
    for name, told in tensors.items():
        kind, values = told.rsplit(" ", 1) if " " in told else ("int8 64x3", told)
        entries.append(f"{kind} {root(told)} {name}" if " " not in values else "")
    content = Content(graph=graph, count=len(entries), tensors=tuple(entries))
    digest = content_digest(graph, entries)
    sha = hashlib.sha256(f"{digest}{file}".encode()).hexdigest()
    return Artifact(locator="m.onnx", sha256=sha, content=digest, files={"m.onnx": sha}), content


def delta(old: Tensors, new: Tensors, **graphs: str) -> ContentDelta:
    return compare_contents(side(old), side(new, **graphs))


def kinds(found: ContentDelta) -> dict[str, str]:
    return {tensor.name: tensor.kind for tensor in found.tensors}


OLD = {"a": "1", "b": "2", "c": "3"}


def test_the_same_file_says_nothing() -> None:
    found = delta(OLD, OLD)
    assert (found.state, found.files, found.total) == ("same", False, 3)
    assert content_finding(found) is None


def test_another_file_of_the_same_content_is_said() -> None:
    found = delta(OLD, OLD, file="saved otherwise")
    assert (found.state, found.files) == ("same", True)
    note = content_finding(found)
    assert note is not None
    assert (note.rule, note.severity) == ("TRC114", Severity.NOTE)
    assert "to the bit; only the way of storing it differs" in note.message


def test_a_changed_tensor_is_named() -> None:
    found = delta(OLD, {**OLD, "b": "other"})
    assert kinds(found) == {"b": "changed"}
    assert (found.graph, found.wiring, found.counts) == (False, False, {"changed": 1})
    assert headline(found) == "1 of 3 tensors changed since the accepted model, the graph is the same"
    assert short(found) == ("1 of 3 tensors differ",)


def test_added_removed_and_retyped() -> None:
    found = delta({**OLD, "d": "4"}, {**OLD, "c": "uint8 64x3 3", "e": "5"}, graph="other")
    assert kinds(found) == {"c": "retyped", "e": "added", "d": "removed"}
    assert found.graph
    assert [described(tensor) for tensor in found.tensors] == [
        "`c` is uint8 64x3, was int8 64x3",
        "`e` added (int8 64x3)",
        "`d` removed",
    ]
    assert headline(found) == (
        "2 of 4 tensors differ from the accepted model's (1 retyped, 1 added, 1 removed), and the graph differs"
    )
    assert short(found) == ("2 of 4 tensors differ", "1 gone, other graph")


def test_a_renamed_tensor_is_not_all_changed() -> None:
    found = delta(OLD, {"x": "1", "y": "2", "z": "3"})
    assert kinds(found) == {"x": "renamed", "y": "renamed", "z": "renamed"}
    assert [tensor.before for tensor in found.tensors] == ["a", "b", "c"]
    assert {tensor.elements for tensor in found.tensors} == {0}
    assert not found.wiring
    assert described(found.tensors[0]) == "`x` was `a`"


def test_a_tensor_that_was_renamed_and_changed_is_found_by_its_place_in_the_graph() -> None:
    found = delta(OLD, {"a": "1", "y": "other", "c": "3"})
    (tensor,) = found.tensors
    assert (tensor.kind, tensor.before, tensor.elements) == ("renamed", "b", None)
    assert described(tensor) == "`y` was `b` and has other values"
    assert kinds(delta(OLD, {"a": "1", "y": "other", "c": "3"}, graph="h")) == {"y": "added", "b": "removed"}


def test_by_root_where_the_graph_changed_too() -> None:
    found = delta(OLD, {"c2": "3", "n": "new", "b": "2"}, graph="h")
    assert kinds(found) == {"c2": "renamed", "n": "added", "a": "removed"}


def test_tensors_of_the_same_values_are_each_renamed_once() -> None:
    same = {"p": "1", "q": "1", "r": "1"}
    found = delta(same, {"s": "1", "t": "1"}, graph="h")
    assert kinds(found) == {"s": "renamed", "t": "renamed", "r": "removed"}


def test_exchanged_tensors_are_told() -> None:
    found = delta(OLD, {**OLD, "a": "2", "b": "1"})
    assert {tensor.name: tensor.same_as for tensor in found.tensors} == {"a": "b", "b": "a"}
    assert described(found.tensors[0]) == "`a` holds what `b` held"
    small = {"a": "int8 3 1", "b": "int8 3 2"}
    found = delta(small, {"a": small["b"], "b": small["a"]})
    assert [tensor.same_as for tensor in found.tensors] == [None, None], "three equal numbers are chance"


def test_the_same_tensors_at_other_places_are_other_wiring() -> None:
    found = delta(OLD, {"b": "2", "a": "1", "c": "3"})
    assert (found.state, found.tensors, found.graph, found.wiring) == ("changed", (), False, True)
    assert "same graph uses other tensors in their places" in headline(found)
    assert short(found) == ("other wiring",)
    assert not delta(OLD, {"a": "1", "n": "new", "b": "2", "c": "3"}).wiring


def test_the_graph_alone() -> None:
    found = delta(OLD, OLD, graph="other")
    assert (found.state, found.tensors, found.graph) == ("changed", (), True)
    assert headline(found) == "no listed tensor differs from the accepted model's, and the graph differs"


def test_without_digests_it_is_not_known() -> None:
    for pair in (((side(OLD)[0], None), side(OLD)), (side(OLD), (side(OLD)[0], None))):
        found = compare_contents(*pair)
        assert found.state == "unknown"
        note = content_finding(found)
        assert note is not None
        assert "not known" in note.message
        assert short(found) == ()


def test_too_many_tensors_to_list() -> None:
    many = Content(graph="g", count=MAX_TENSORS + 1)
    artifact = Artifact(locator="m", sha256="a", content="c")
    found = compare_contents((artifact.model_copy(update={"content": "d"}), many), (artifact, many))
    assert (found.state, found.tensors) == ("changed", ())
    assert "too many" in found.reason
    assert many.agrees_with(artifact)
    assert not Content(graph="g", count=3).agrees_with(artifact)


def test_the_list_is_bounded_and_the_rest_counted() -> None:
    old = {f"w{i}": f"{i}" for i in range(LISTED + 50)}
    found = delta(old, {name: f"{value}x" for name, value in old.items()})
    assert (len(found.tensors), found.counts) == (LISTED, {"changed": LISTED + 50})
    note = content_finding(found)
    assert note is not None
    assert note.message.endswith("`w2` other values, and 1047 more")


def placed(**told: object) -> TensorDelta:
    return TensorDelta.model_validate(
        {"name": "w", "kind": "changed", "dtype": "int8", "shape": (64, 3, 7, 7), **told}
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "other values"),
        ({"elements": 1, "at": [(0, 3, 1, 1)]}, "1 element at [0,3,1,1]"),
        ({"elements": 2, "at": [(0, 0, 0, 1), (0, 0, 0, 2)]}, "2 elements at [0,0,0,1], [0,0,0,2]"),
        ({"elements": 9000, "at": [(0, 0, 0, i) for i in range(7)]}, "9,000 elements at [0,0,0,0], [0,0,0,1], [0,0,0,2], …"),
        ({"elements": 0}, "other quantization, the same elements"),
        ({"ranges": [((0, 0, 0, 0), (6, 2, 6, 1))]}, "elements within [0,0,0,0] to [6,2,6,1]"),
        ({"elements": 1, "at": [()], "shape": ()}, "another value"),
        ({"same_as": "v"}, "holds what `v` held"),
    ],
)  # fmt: skip
def test_places_in_words(told: dict[str, object], words: str) -> None:
    assert described(placed(**told)) == f"`w` {words}"


def test_the_note_stands_at_the_first_element_and_shows_its_bits() -> None:
    found = delta(OLD, {**OLD, "b": "other"})
    located = found.model_copy(
        update={
            "located": "elements",
            "tensors": (placed(name="b", elements=1, at=[(3, 0, 1, 1)], was="0xbe", now="0xbf"),),
        }
    )
    note = content_finding(located)
    assert note is not None
    assert str(note.at) == "tensor b [3, 0, 1, 1]"
    assert note.evidence == {"changed": 1, "tensors": 3, "was": "0xbe", "now": "0xbf"}
    assert whereabouts(located.tensors[0]) == "1 element at [3,0,1,1]; the first from 0xbe to 0xbf"
    lost = found.model_copy(update={"reason": "the repository does not hold the accepted model"})
    note = content_finding(lost)
    assert note is not None
    assert "places are not known better: the repository does not hold" in note.message
