"""Help, explanations, and what starting the command imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from qgate.commands.guard import guarded
from qgate.rules.catalogue import catalogue

from .conftest import CANDIDATE, INPUTS, REFERENCE, Shop

HEAVY = {
    "numpy",
    "onnx",
    "onnxruntime",
    "pydantic",
    "torch",
    "scipy",
    "requests",
    "github",
    "rich",
    "jinja2",
    "ruamel",
}


def modules_after(program: str) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after a program."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def command(*arguments: object) -> str:
    """A program that runs the command and lives on."""
    return (
        "from qgate.cli import main\n"
        f"try: main({[str(argument) for argument in arguments]!r})\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code"
    )


@pytest.mark.parametrize("arguments", [("--help",), ("verify", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not modules_after(command(*arguments)) & HEAVY


def test_an_onnx_pair_never_imports_torch() -> None:
    parent = modules_after(command("verify", "-r", REFERENCE, "-c", CANDIDATE, "--samples", "1"))
    assert "torch" not in parent
    assert "onnxruntime" not in parent, "models run in the child alone"
    assert not parent & {"requests", "github"}, "nothing comes from the web"
    child = modules_after(
        "from pathlib import Path\n"
        "import qgate.sandbox.child\n"
        "from qgate.measure.answer import answer, prepare\n"
        "from qgate.measure.request import PairRequest\n"
        f"asked = PairRequest(reference=Path({str(REFERENCE)!r}), candidate=Path({str(CANDIDATE)!r}),"
        f" inputs=Path({str(INPUTS)!r})).to_json()\n"
        "prepare(asked)\n"
        "assert b'\"result\"' in answer(asked, lambda done, total: None)"
    )
    assert "onnxruntime" in child
    assert not child & {"torch", "scipy", "requests", "github"}


def test_help_names_commands_options_and_exit_codes(shop: Shop) -> None:
    found = shop.run("--help")
    assert (found.code, found.err) == (0, "")
    for said in ("verify", "explain", "accept", "Exit 0 PASS, 1 FAIL, 2 INCONCLUSIVE or ERROR"):
        assert said in found.text
    options = shop.run("verify", "--help").text
    for option in ("reference", "candidate", "inputs", "labels", "task", "scheme", "io-map", "io-optional", "io-type",
                   "io-shape", "profile", "report", "config", "target", "base"):  # fmt: skip
        assert f"--{option} " in options


def test_version(shop: Shop) -> None:
    import qgate

    assert shop.run("--version").text == f"qgate, version {qgate.__version__}"


def test_explain_lists_every_rule(shop: Shop) -> None:
    found = shop.run("explain")
    assert (found.code, found.err) == (0, "")
    assert [line.split()[0] for line in found.out.splitlines()] == list(catalogue())


@pytest.mark.parametrize("rule", ["FEA201", "QNT201", "TRC102"])
def test_explain_tells_one_rule(shop: Shop, rule: str) -> None:
    found = shop.run("explain", rule)
    assert found.code == 0
    for said in (
        catalogue()[rule].title,
        "Why:",
        "How:",
        "Remedy:",
        "strict",
        "balanced",
        "permissive",
        "severity",
    ):
        assert said in found.text


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("FEA20", "Did you mean FEA2"), ("qnt2011", "Did you mean QNT201?"), ("zzz", "lists all rules")],
)
def test_explain_answers_an_unknown_rule_with_the_nearest(shop: Shop, asked: str, hint: str) -> None:
    found = shop.run("explain", asked)
    assert found.code == 2
    assert f"there is no rule '{asked}'" in found.refusal()
    assert hint in found.err


POLICY = """\
version: 1
profile: ours
profiles: {ours: {extends: strict, thresholds: {FEA201: {min_db: 35}}}}
targets:
  - {name: plate, candidate: a.onnx, reference: b.onnx, scheme: int8, thresholds: {QNT101: {min_share: 0.5}}}
waivers: [{target: plate, rule: RNG104, reason: known, until: 2027-01-01}]
"""


@pytest.fixture
def plate(shop: Shop) -> Shop:
    """A repository whose committed policy has a target, and whose work tree asks for less."""
    (shop.root / "qgate.yml").write_text(POLICY)
    for line in ("init -q", "add qgate.yml", "-c user.name=a -c user.email=a@b.c commit -qm policy"):
        subprocess.run(["git", *line.split(" ")], cwd=shop.root, check=True, capture_output=True)
    (shop.root / "qgate.yml").write_text(POLICY.replace("min_db: 35", "min_db: 9"))
    return shop


def test_explain_tells_every_threshold_of_a_target_and_where_it_came_from(plate: Shop) -> None:
    lines = plate.run("explain", "--target", "plate", "--all").out.splitlines()
    assert lines[0] == "target plate, profile ours, scheme int8"
    assert [line.split()[0] for line in lines if line[:3].isupper()] == list(catalogue())
    rows = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
    assert ["min_share", "50 %  target plate (qgate.yml)"] in rows
    assert ["min_db", "9 dB  profile ours (qgate.yml)"] in [[a, b.replace("9.0", "9")] for a, b in rows]
    assert len(rows) == sum(len(rule.params) for rule in catalogue().values())
    assert lines[-1] == "waived until 2027-01-01: RNG104: known"


def test_explain_tells_of_a_target_what_its_policy_sets_and_counts_the_rest(plate: Shop) -> None:
    lines = plate.run("explain", "--target", "plate").out.splitlines()
    rows = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
    assert rows
    assert all("(qgate.yml)" in row[1] for row in rows)
    many = sum(len(rule.params) for rule in catalogue().values()) - len(rows)
    assert f"{many} thresholds are the profile's own: --all shows them, and RULE those of one rule" in lines
    assert lines[-1] == "waived until 2027-01-01: RNG104: known"


def test_explain_reads_the_policy_of_a_revision(plate: Shop) -> None:
    said = plate.run("explain", "FEA201", "-t", "plate", "--base", "HEAD").out
    assert "35.0 dB  profile ours (qgate.yml at " in said
    assert "QNT101" not in said


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        (("-t", "plte"), "Did you mean `plate`?"),
        (("-t", "plate", "--base", "gone"), "there is no revision 'gone'"),
        (("-t", "plate", "--config", "other.yml"), "there is no policy"),
        (("-t", "plate", "FEA20"), "there is no rule 'FEA20'"),
        (("--base", "HEAD"), "Name the target"),
    ],
)
def test_explain_refuses_what_is_not_there(plate: Shop, asked: tuple[str, ...], hint: str) -> None:
    found = plate.run("explain", *asked)
    assert found.code == 2
    assert hint in found.refusal()


def test_a_name_cannot_speak_to_the_terminal(shop: Shop) -> None:
    found = shop.run("explain", "\x1b[2J\x07FEA201\n::error::x")
    assert found.code == 2
    assert "\x1b" not in found.err + found.out
    assert "\x07" not in found.err
    assert not any(line.startswith("::") for line in found.err.splitlines())


@pytest.mark.parametrize(
    "error", [KeyError("lost"), RecursionError("deep"), OSError(28, "No space left on device", "x")]
)
def test_what_no_code_foresaw_is_one_line_and_never_the_exit_code_of_fail(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> int:
        raise error

    with pytest.raises(SystemExit) as stopped:
        guarded(broken)()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "qgate: x: the system refuses: No space"
        if isinstance(error, OSError)
        else "qgate: test_cli_words.py:"
    )


def test_verify_without_models_or_a_repository_says_so_and_leaves_nothing(shop: Shop) -> None:
    found = shop.run("verify", env={"GIT_CEILING_DIRECTORIES": str(shop.root.parent)})
    assert found.code == 2
    assert "there is nothing to verify: no pair is named" in found.refusal()
    assert "Give --reference and --candidate" in found.refusal()


def test_audit_takes_the_folder_of_a_report(shop: Shop) -> None:
    (shop.root / "report").mkdir()
    (shop.root / "report" / "report.json").write_text("{}")
    said = {shop.run("audit", name).refusal() for name in ("report", "report/report.json")}
    assert len(said) == 1
    assert "report.json" in said.pop()


def test_a_reader_that_has_gone_away_is_not_told_fail(shop: Shop) -> None:
    read, written = os.pipe()
    os.close(read)
    try:
        command = [
            sys.executable,
            "-m",
            "qgate.cli",
            "verify",
            "-r",
            REFERENCE,
            "-c",
            CANDIDATE,
            "-i",
            INPUTS,
        ]
        done = subprocess.run(command, cwd=shop.root, stdout=written, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(written)
    assert done.returncode == 2
