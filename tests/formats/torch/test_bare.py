"""Pickles that are no checkpoint are refused by what they name."""

import pickle
from pathlib import Path

import pytest

from qgate.formats.code import CodeError
from qgate.formats.read import read_model

from .parts import PROTO, name, storage, text, written


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps({"w": [1.0]}), "can run whatever it names"),
        (PROTO + name("os", "system") + text("true") + b"\x85R.", "the pickle names os.system"),
        (b"cos\nsystem\n(S'true'\ntR.", "the pickle names os.system"),
        (b"(cposix\nsystem\n.", "the pickle names posix.system"),
        (PROTO + storage() + b".", "outside of itself"),
        (PROTO + b"X\xff\xff\xff\xff.", "string of"),
        (PROTO + b"(", "damaged"),
    ],
)
def test_what_it_would_run_is_said(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(CodeError) as caught:
        read_model(written(tmp_path, data, "m.pt"))
    assert words in caught.value.what
    assert caught.value.kind == "pickle"
