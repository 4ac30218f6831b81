"""What annotations in COCO's form may cost where they are read outside of the sandbox: docs/security-model.md states it."""

from pathlib import Path

import pytest

from qgate.measure.box_rows import MAX_JSON_BYTES, MAX_JSON_COMMAS, MAX_JSON_PARTS, read_coco
from tests.formats.bounds import SECONDS, measure_call

MOST = 512 << 20
_PARTS, _COMMAS = MAX_JSON_PARTS - 10, MAX_JSON_COMMAS - 10
_ONE = b'"images":[{"id":1,"file_name":"a.png"}],"categories":[{"id":1,"name":"x"}]'


def _many(piece: bytes, count: int) -> bytes:
    return b'{"images":[' + b",".join([piece] * count) + b"]}"


NASTY = {
    "objects": lambda: _many(b'{"a":0}', _PARTS - 1),
    "lists": lambda: _many(b"[1.5,1.5,1.5,1.5]", _PARTS - 2),
    "text": lambda: _many(b'"abc"', _COMMAS),
    "keys": lambda: b'{"images":{' + b",".join(b'"%x":1' % n for n in range(3_000_000)) + b"}}",
    "images": lambda: (
        b'{"images":['
        + b",".join(b'{"id":%d,"file_name":"%d.png"}' % (n, n) for n in range(800_000))
        + b'],"categories":[],"annotations":[]}'
    ),
    "boxes": lambda: (
        b"{%s," % _ONE
        + b'"annotations":['
        + b",".join(
            b'{"image_id":1,"category_id":1,"bbox":[%d,2,3,4.5]}' % n for n in range(_PARTS // 2 - 10)
        )
        + b"]}"
    ),
}


def read(path: Path) -> None:
    read_coco(path, "a.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NASTY))
def test_the_worst_annotations_stay_within_what_is_stated(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(NASTY[name]())
    assert MAX_JSON_BYTES // 5 < path.stat().st_size <= MAX_JSON_BYTES
    found = measure_call("tests.measure.test_annotation_bounds:read", path)
    assert not found.crash, found
    assert bool(found.error) == (name not in ("images", "boxes")), found
    assert found.seconds < SECONDS and found.peak_extra_bytes < MOST, found
