"""What is not installed is said before anything is run, with an extra that there is."""

import re
import tomllib
from pathlib import Path

import pytest

from qgate.errors import MeasureError
from qgate.runtimes import required

EXTRAS = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
CASES = {
    "torch": "PyTorch is not installed, and this model is run by it",
    "torchao": "torchao is not installed, and this model's tensors or operations are torchao's",
    "executorch": "ExecuTorch is not installed, and this model is run by it",
    "ai_edge_litert": "LiteRT is not installed, and this model is run by it",
    "onnxscript": "onnxscript is not installed, and PyTorch's dynamo exporter needs it",
}


@pytest.mark.parametrize(("package", "said"), CASES.items())
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    package: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(required, "find_spec", lambda name: None)
    with pytest.raises(MeasureError, match=said) as caught:
        required.require(package, "m.pt")
    assert caught.value.where == "m.pt"
    found = re.fullmatch(r"Install the extra `(\w+)`: pip install 'qgate\[([\w,]+)\]'", caught.value.remedy)
    assert found is not None
    extra, together = found[1], found[2].split(",")
    assert extra == together[-1]
    assert any(re.match(r"[\w.-]+", each)[0].replace("-", "_") == package for each in EXTRAS[extra])
    assert set(together) <= set(EXTRAS)


def test_what_is_installed_is_not_missed() -> None:
    assert required.require("torch", "m.pt") is None
