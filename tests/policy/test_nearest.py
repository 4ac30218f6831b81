"""A word that is none of those known is answered with the one that was meant, on the command line and in a policy."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from qgate.cli import main
from qgate.commands.options import SCHEMES, TASKS
from qgate.errors import PolicyError
from qgate.policy.load import load_policy
from qgate.rules.nearest import nearest
from qgate.runtimes.registry import RUNTIMES


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("acc", TASKS, "top1"),
        ("Accuracy", TASKS, "top1"),
        ("top-1", TASKS, "top1"),
        ("f1", TASKS, "macro_f1"),
        ("pixel", TASKS, "pixel_accuracy"),
        ("in8", SCHEMES, "int8"),
        ("W8A8", SCHEMES, "int8"),
        ("trt", tuple(RUNTIMES), "tensorrt"),
        ("acc", ("strict", "balanced"), None),
        ("ma", ("map", "mae"), "map"),
        ("", TASKS, None),
        ("x" * 10_000, TASKS, None),
    ],
)
def test_the_word_that_was_meant(word: str, known: tuple[str, ...], meant: str | None) -> None:
    assert nearest(word, known) == meant


@pytest.mark.parametrize(
    ("option", "word", "meant"),
    [
        ("--task", "acc", "top1"),
        ("--scheme", "in8", "int8"),
        ("--derivation", "exakt", "exact"),
        ("--runtime", "openvin", "openvino"),
        ("--cost", "ful", "full"),
        ("--deploy", "avx", "avx2"),
        ("--sandbox", "reduce", "reduced"),
    ],
)
def test_the_command_line_names_it(option: str, word: str, meant: str) -> None:
    found = CliRunner().invoke(main, ["verify", "-r", "a.onnx", "-c", "b.onnx", option, word])
    assert found.exit_code == 2
    assert f"there is no '{word}'. Did you mean '{meant}'?" in found.output


def test_a_policy_is_answered_in_the_same_way() -> None:
    lines = b"version: 1\ntargets:\n- {name: a, candidate: c.onnx, reference: r.onnx, task: {metric: acc}}\n"
    with pytest.raises(PolicyError, match="Did you mean `top1`"):
        load_policy(lines, "qgate.yml")
