"""Where two tensors differ: element by element, and leaf by leaf from a file that need not be trusted."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.content import ModelContent, model_content
from qgate.formats.difference import difference
from qgate.formats.leaves import read_leaves, write_leaves
from qgate.formats.model import Constant, Graph, StaticModel
from qgate.formats.stored import packed, strings_as_bytes
from qgate.merkle import elements_of, index_of, leaf_runs

FEW = settings(max_examples=40, deadline=None)


def constant(values: np.ndarray[Any, Any], dtype: str, bits: int, name: str = "w") -> Constant:
    return Constant(name, dtype, values.shape, bits, lambda: values)


def model(*constants: Constant) -> ModelContent:
    graph = Graph((), (), (), {c.name: c for c in constants})
    return model_content(StaticModel(Path("m"), "safetensors", graph, {}, 0, "", {}, (), {}, 0))


@pytest.mark.parametrize(
    ("dtype", "bits", "kind"), [("int8", 8, "i1"), ("float", 32, "<u4"), ("double", 64, "<u8")]
)
@given(data=st.data())
@FEW
def test_every_changed_element_is_found(dtype: str, bits: int, kind: str, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), max_size=3)))
    old = np.arange(np.prod(shape, dtype=int)).astype(kind).reshape(shape)
    new = old.copy()
    places = sorted(data.draw(st.sets(st.integers(0, old.size - 1), min_size=1, max_size=12)))
    new.reshape(-1)[places] ^= 1
    found = difference(constant(old, dtype, bits), constant(new, dtype, bits))
    assert found.elements == len(places)
    assert found.at == tuple(tuple(int(i) for i in np.unravel_index(p, shape)) for p in places[:8])
    first = int(old.reshape(-1)[places[0]]) & (1 << bits) - 1
    assert (int(found.was, 16), int(found.now, 16)) == (first, first ^ 1)


@pytest.mark.parametrize(("dtype", "bits"), [("int4", 4), ("uint4", 4), ("int2", 2)])
@given(data=st.data())
@FEW
def test_codes_of_a_few_bits(dtype: str, bits: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    top = (1 << bits) - 1
    codes = np.array(data.draw(st.lists(st.integers(0, top), min_size=count, max_size=count)), np.uint8)
    other = codes.copy()
    places = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    other[places] ^= 1 << data.draw(st.integers(0, bits - 1))
    old, new = (
        Constant("w", dtype, (count,), bits, lambda: codes, raw=partial(packed, c, bits))
        for c in (codes, other)
    )
    found = difference(old, new)
    assert (found.elements, found.at) == (len(places), tuple((p,) for p in places[:8]))
    assert (int(found.was, 16), int(found.now, 16)) == (codes[places[0]], other[places[0]])


def test_the_same_values_differ_nowhere_and_bits_count() -> None:
    plus, minus = np.float32([0.0, 1.0]), np.float32([-0.0, 1.0])
    assert difference(constant(plus, "float", 32), constant(plus, "float", 32)).elements == 0
    found = difference(constant(plus, "float", 32), constant(minus, "float", 32))
    assert (found.elements, found.at, found.was, found.now) == (1, ((0,),), "0x00000000", "0x80000000")
    empty = np.zeros((0, 3), np.int8)
    assert difference(constant(empty, "int8", 8), constant(empty, "int8", 8)).elements == 0


def test_strings() -> None:
    old, new = (
        Constant("w", "string", (2,), 0, lambda: None, raw=partial(strings_as_bytes, s))
        for s in ([b"a", b"\xff"], [b"a", b"\\xff"])
    )
    found = difference(old, new)
    assert (found.elements, found.at) == (1, ((1,),))


def test_other_types_are_not_compared() -> None:
    values = np.zeros(3, np.int8)
    with pytest.raises(ValueError, match="int8"):
        difference(constant(values, "int8", 8), constant(values, "uint8", 8))


def test_indices_and_runs() -> None:
    assert [index_of(i, (2, 3)) for i in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert index_of(0, ()) == ()
    old = bytes(16 * 6)
    new = bytearray(old)
    for leaf in (1, 2, 5):
        new[leaf * 16] = 1
    assert leaf_runs(old, bytes(new)) == ((1, 2), (5, 5))
    assert elements_of((1, 2), (3, 1024)) == ((1, 0), (2, 1023))
    assert elements_of((5, 5), (5200,)) == ((5120,), (5199,))
    with pytest.raises(ValueError, match="bytes of leaves"):
        leaf_runs(old, old[:-16])


@given(st.integers(1, 6000), st.data())
@FEW
def test_the_leaves_of_a_file_locate_a_change(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("leaves")
    values = np.zeros(size, "<i2")
    at = data.draw(st.integers(0, size - 1))
    write_leaves(model(constant(values.copy(), "int16", 16)), folder / "old")
    values[at] = 7
    write_leaves(model(constant(values, "int16", 16)), folder / "new")
    old, new = (read_leaves(folder / side)["w"] for side in ("old", "new"))
    assert old[0] != new[0]
    ((first, last),) = (elements_of(run, (size,)) for run in leaf_runs(old[1], new[1]))
    assert first[0] <= at <= last[0] < first[0] + 1024


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "plate.leaves"
    weight = np.arange(3000, dtype=np.int16)
    write_leaves(model(constant(weight, "int16", 16), constant(np.float32(1), "float", 32, "s")), path)
    return path


def test_a_file_reads_back(written: Path) -> None:
    found = read_leaves(written)
    assert {name: len(leaves) for name, (_, leaves) in found.items()} == {"s": 16, "w": 48}
    assert written.read_bytes().startswith(b"qgate-leaves/v1\n{")


def test_no_byte_can_be_changed_unseen(written: Path) -> None:
    """What matters of the file is bound by the roots; the list of tensors is JSON, so blanks may move."""
    whole = written.read_bytes()
    honest = read_leaves(written)
    for at in range(0, len(whole), 3):
        written.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = read_leaves(written)
        except FormatError:
            continue
        # The digests of the whole model at its head bind nothing that is used; names are the caller's to match.
        assert sorted(found.values()) == sorted(honest.values())


@pytest.mark.parametrize(
    "content",
    [b"", b"qgate-leaves/v1\n", b"qgate-leaves/v2\n{}\n", b"qgate-leaves/v1\n{}\n", b"qgate-leaves/v1\n[]\n",
     b'qgate-leaves/v1\n{"tensors": [1]}\n', b'qgate-leaves/v1\n{"tensors": [["a", "b", "c"]]}\n',
     b'qgate-leaves/v1\n{"tensors": []}\nmore', b"qgate-leaves/v1\n" + b"[" * 100_000 + b"\n",
     b'qgate-leaves/v1\n{"tensors": [["int8 4 ' + b"r" * 43 + b' w", 7, "00"]]}\n'],
)  # fmt: skip
def test_hostile_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.leaves"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_leaves(path)
    assert (caught.value.where, caught.value.rule) == ("x.leaves", "TRC114")


def test_a_tensor_listed_twice_and_leaves_cut_off_are_refused(written: Path) -> None:
    first, head, leaves = written.read_bytes().split(b"\n", 2)
    told = json.loads(head)
    told["tensors"] += told["tensors"][:1]
    for content in (
        b"\n".join((first, json.dumps(told).encode(), leaves + leaves[:16])),
        b"\n".join((first, head, leaves[:-1])),
        b"\n".join((first, head, leaves + b"x")),
        b"\n".join((first, head)),
    ):
        written.write_bytes(content)
        with pytest.raises(FormatError):
            read_leaves(written)
    with pytest.raises(FormatError):
        read_leaves(written.parent / "none")
