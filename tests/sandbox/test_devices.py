"""A process that must reach a GPU: what it goes without, and that nobody gets it who did not ask for less."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgate.errors import MeasureError, UsageError
from qgate.measure.deployed.asking import PROGRAM
from qgate.measure.deployed.request import RuntimeRequest
from qgate.sandbox.engaged import Engaged
from qgate.sandbox.launch import run_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory

MODEL = Path(__file__).parents[2] / "examples" / "digits" / "digits_fp32.onnx"


def test_no_device_without_the_word_for_less() -> None:
    with pytest.raises(UsageError, match="cannot be reached from within the sandbox"):
        Limits(devices=True)


def test_what_is_left_out_is_said() -> None:
    with staging_directory() as folder:
        path = folder / "m.onnx"
        path.write_bytes(MODEL.read_bytes())
        path.chmod(0o644)
        asked = RuntimeRequest("run", "onnxruntime", path)
        try:
            # Without inputs there is no result; what counts is what the process said before.
            outcome = run_child(
                asked.to_json(), Limits(reduced=True, devices=True, wall_seconds=60), program=PROGRAM
            )
        except MeasureError as error:
            assert "a run has inputs" in error.what
        else:
            pytest.fail(f"a run without inputs has a result: {outcome.payload[:80]!r}")


def test_it_is_told_apart_from_a_kernel_that_cannot() -> None:
    from qgate.sandbox.engaged import LEFT_OUT

    engaged = Engaged(65534, lacking={"landlock": LEFT_OUT, "seccomp": LEFT_OUT})
    assert Engaged.read(engaged.line()) == engaged
    assert engaged.suffices(True)
    assert not engaged.suffices(False)
    assert all("so that the GPU can be reached" in why for why in engaged.reasons().values())
