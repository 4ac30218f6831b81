"""What the documentation says is so: links, commands, rules, keys, inputs, and the output that it quotes."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel
from ruamel.yaml import YAML

from qgate import records
from qgate.cli import main
from qgate.policy import schema as policy
from qgate.policy.load import load_policy
from qgate.report import schema as report
from qgate.rules.catalogue import catalogue
from qgate.settings import read_settings

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for part in (".", "docs", "examples") for page in (ROOT / part).glob("*.md"))
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_RULE = re.compile(r"(?<![A-Za-z0-9])(?:ART|QNT|RNG|FEA|BEH|TRC|DEP|CST)[0-9]{3}(?![0-9])")
_PATH = re.compile(r"`((?:qgate|tests|docs|schemas|examples|bench|tools)/[A-Za-z0-9_./-]*|[A-Z]+\.md)`")
_CODE = re.compile(r"`([^`\n]+)`")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path) -> list[tuple[str, str]]:
    """Language line and content of each fenced block."""
    return _FENCE.findall(page.read_text("utf-8"))


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text("utf-8"))


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    kept = (c for c in text if c in "-_ " or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(line) for line in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)}


def section(page: Path, heading: str) -> str:
    """The text between a heading and the next of any level."""
    pattern = rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)"
    found = re.search(pattern, page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"{name(page)} has no section {heading!r}"
    return found[1]


def table(page: Path, heading: str, column: str) -> dict[str, list[str]]:
    """The rows of the section's table whose first column has that title, by their first cell."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in section(page, heading).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == column:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            rows[cells[0].strip("`")] = cells[1:]
    assert rows, f"{name(page)}, {heading!r} has no table of {column!r}"
    return rows


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_internal_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in _LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        there = (page.parent / path).resolve() if path else page
        inside = there.exists() and there.is_relative_to(ROOT)
        if not inside or (anchor and anchor not in anchors(there)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_rules_and_paths_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    assert {rule for rule in _RULE.findall(text) if rule not in catalogue()} == set()
    assert [path for path in _PATH.findall(prose(page)) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_machine_is_spoken_of(page: Path) -> None:
    found = re.findall(r"(?:/work|/tmp|/home|/root)/\S*", page.read_text("utf-8"))
    assert found == []


def policies(page: Path) -> Iterator[tuple[str, str]]:
    for language, content in fences(page):
        kind = language.removeprefix("yaml policy").strip() if language.startswith("yaml policy") else None
        if kind is not None:
            yield kind, content


def completed(kind: str, content: str) -> str:
    """A part of a policy with what makes it a whole one."""
    if kind == "keys":
        target = "targets:\n  - {name: plate-ocr, candidate: a.onnx, reference: b.onnx}\n"
        return f"version: 1\n{content}{target}"
    if kind == "target":
        return "version: 1\ntargets:\n  - " + content.rstrip().replace("\n", "\n    ") + "\n"
    assert kind == ""
    return content


POLICIES = [(page, kind, content) for page in PAGES for kind, content in policies(page)]


@pytest.mark.parametrize(("page", "kind", "content"), POLICIES, ids=[name(page) for page, _, _ in POLICIES])
def test_examples_of_policies_load(page: Path, kind: str, content: str) -> None:
    assert load_policy(completed(kind, content).encode(), name(page)).targets


def test_other_yaml_is_no_policy_that_escaped_the_check() -> None:
    for page in PAGES:
        for language, content in fences(page):
            if language.split()[:1] == ["yaml"] and "policy" not in language:
                assert "targets:" not in content or page.name == "rules.md", name(page)


KEYS = [
    ("Top level", "key", policy.Policy),
    ("Approval", "key", policy.ApprovalSpec),
    ("Limits", "key", policy.Limits),
    ("Targets", "key", policy.Target),
    ("Data", "key", policy.DataSpec),
    ("Task", "key", policy.TaskSpec),
    ("io", "key", policy.IoSpec),
    ("Signature", "key", policy.SignatureSpec),
    ("Thresholds and profiles", "key of a profile", policy.ProfileSpec),
    ("Waivers", "key of a waiver", policy.Waiver),
]


@pytest.mark.parametrize(("heading", "column", "model"), KEYS, ids=[key[0] for key in KEYS])
def test_every_key_of_the_policy_is_explained(heading: str, column: str, model: type[BaseModel]) -> None:
    rows = table(ROOT / "docs" / "policy.md", heading, column)
    assert set(rows) == set(model.model_fields)
    for key, field in model.model_fields.items():
        told = rows[key][0]
        assert (told == "required") == field.is_required(), key
        if isinstance(field.default, str | int) and not isinstance(field.default, bool):
            assert told.strip("`") == str(field.default), key


def test_every_kind_of_place_is_explained() -> None:
    from qgate.sources import locator

    rows = table(ROOT / "docs" / "policy.md", "Locators", "place")
    told = {frozenset(key.rstrip("?") for key in _CODE.findall(cells[0])) for cells in rows.values()}
    kinds = (
        locator.PathLocator,
        locator.GitLocator,
        locator.HttpsLocator,
        locator.ReleaseLocator,
        locator.HubLocator,
    )
    assert told == {frozenset(kind.model_fields) for kind in kinds}


RECORDS = [
    ("The run", report.Report),
    ("`summary`", report.Summary),
    ("`policy`", report.PolicyUsed),
    ("`provenance`", report.Provenance),
    ("A target", report.TargetReport),
    ("A file", report.Artifact),
    ("`data`", records.DataUsed),
    ("`sandbox`", records.Sandbox),
    ("A measurement", records.Measurement),
    ("A finding", records.Finding),
    ("A place", records.Place),
    ("`baseline`", report.BaselineUsed),
]


@pytest.mark.parametrize(("heading", "model"), RECORDS, ids=[heading for heading, _ in RECORDS])
def test_every_key_of_the_report_is_explained(heading: str, model: type[BaseModel]) -> None:
    fields = {field.alias or key for key, field in model.model_fields.items()}
    assert set(table(ROOT / "docs" / "report.md", heading, "key")) == fields


@cache
def action() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((ROOT / "action.yml").read_text("utf-8")))


@pytest.mark.parametrize(
    ("heading", "column", "part"), [("Inputs", "input", "inputs"), ("Outputs", "output", "outputs")]
)
def test_inputs_and_outputs_are_those_of_the_action(heading: str, column: str, part: str) -> None:
    rows = table(ROOT / "docs" / "github.md", heading, column)
    assert set(rows) == set(action()[part])
    if part == "inputs":
        defaults = {key: str(value.get("default", "")) for key, value in action()[part].items()}
        for key, cells in rows.items():
            assert cells[0].strip("`") == defaults[key] or (
                not defaults[key] and not cells[0].startswith("`")
            )


def test_the_action_has_the_inputs_that_the_code_reads() -> None:
    given = {f"INPUT_{key.upper()}": "never" if key == "comment" else "" for key in action()["inputs"]}
    assert read_settings(given).comment == "never"
    source = (ROOT / "qgate" / "settings.py").read_text("utf-8")
    assert set(re.findall(r'"(INPUT_[A-Z-]+)"', source)) == set(given)


def steps(page: Path) -> Iterator[dict[str, Any]]:
    for language, content in fences(page):
        if language == "yaml" and "uses: qgate/qgate" in content:
            jobs = YAML(typ="safe").load(content)["jobs"]
            yield from (step for job in jobs.values() for step in job["steps"])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_steps_use_inputs_and_outputs_that_exist(page: Path) -> None:
    for step in steps(page):
        if str(step.get("uses", "")).startswith("qgate/qgate@"):
            assert set(step.get("with") or {}) <= set(action()["inputs"])
    used = re.findall(r"steps\.gate\.outputs\.([a-z-]+)", page.read_text("utf-8"))
    assert set(used) <= set(action()["outputs"])


@pytest.mark.parametrize("page", READMES, ids=name)
def test_the_readme_shows_the_example_workflow(page: Path) -> None:
    example = (ROOT / "examples" / "workflow.yml").read_text("utf-8")
    shown = [content for language, content in fences(page) if language == "yaml" and "uses:" in content]
    assert len(shown) == 1
    assert example.endswith(shown[0])


def test_both_readmes_say_the_same() -> None:
    english, chinese = ([content for _, content in fences(page)] for page in READMES)
    strip = re.compile(r"\s+#.*$", re.MULTILINE)
    for one, other in zip(english, chinese, strict=True):
        assert set(strip.sub("", other).splitlines()) <= set(strip.sub("", one).splitlines())
    links = [{link for link in _LINK.findall(prose(page)) if "README" not in link} for page in READMES]
    assert links[0] == links[1]
    assert set(_RULE.findall(prose(READMES[0]))) == set(_RULE.findall(prose(READMES[1])))


def commands(page: Path) -> Iterator[str]:
    """Command lines in fenced blocks and in code spans."""
    for language, content in fences(page):
        if language == "sh":
            yield from content.splitlines()
        elif language == "console":
            yield from (line.removeprefix("$ ") for line in content.splitlines() if line.startswith("$ "))
    for span in _CODE.findall(prose(page)):
        if re.match(
            r"(?:[A-Z0-9_]+=\S+ )*(?:qgate (?:verify|accept|explain)\b|make [a-z]|python -?\w)", span
        ):
            yield span


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_named_exist(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z0-9_]+=\S*", words[0]):
            words.pop(0)
        if words[:1] == ["qgate"]:
            require_options(words[1:])
        elif words[:1] == ["make"]:
            targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
            assert {word for word in words[1:] if "=" not in word} <= targets, line
        elif words[:2] == ["python", "-m"] and words[2].startswith(("qgate", "tests")):
            assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file(), line
        elif words[:1] == ["python"] and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), line


def require_options(words: list[str]) -> None:
    assert isinstance(main, click.Group)
    if not words or words[0].startswith("-"):
        known = {option for param in main.params for option in param.opts} | {"--help", "-h"}
        assert set(words) <= known
        return
    command = main.commands.get(words[0])
    assert command is not None, words
    known = {option for param in command.params for option in param.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)} <= known, words


def test_the_commands_say_what_each_option_does() -> None:
    assert isinstance(main, click.Group)
    for label, command in main.commands.items():
        assert command.help, label
        for param in command.params:
            assert not isinstance(param, click.Option) or param.help, (label, param.name)
        shown = CliRunner().invoke(main, [label, "--help"], terminal_width=100)
        assert shown.exit_code == 0
        assert max(map(len, shown.output.splitlines())) <= 100


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_quoted_output_says_which_command_made_it(page: Path) -> None:
    for language, content in fences(page):
        boxes = any(sign in content for sign in "╭┌│")
        assert not boxes or language == "console", name(page)
        if language == "console":
            assert content.startswith("$ "), name(page)


def shape(text: str) -> list[str]:
    """Lines of output without padding and without figures, which depend on versions and processor; counts of rules do not."""
    lines = [
        re.sub(r"(?<!rules hold on )(?<![0-9])[0-9]+(?:[.,][0-9]+)*", "#", line) for line in text.splitlines()
    ]
    return [re.sub(r"[ ─]+", " ", line).strip() for line in lines if line.strip()]


QUOTED = [
    (page, content)
    for page in READMES
    for language, content in fences(page)
    if language == "console" and content.startswith(("$ qgate verify", "$ python"))
]


DIGITS = "examples/digits"
CORRUPT = f"python examples/corrupt.py {DIGITS}/digits_int8_pc.onnx corrupted.onnx"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples, and the model that the page corrupts."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").symlink_to(ROOT / "examples")
    said(CORRUPT, folder)
    return folder


@cache
def said(line: str, folder: Path) -> str:
    """What a command of the page prints, in a folder that has the examples."""
    words = shlex.split(line)
    program = [sys.executable] if words[0] == "python" else [str(Path(sys.executable).parent / words[0])]
    done = subprocess.run(
        [*program, *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "100", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(folder)},
    )
    return done.stdout


@pytest.mark.parametrize(("page", "content"), QUOTED, ids=[name(page) for page, _ in QUOTED])
def test_quoted_output_is_what_the_command_prints(page: Path, content: str, stage: Path) -> None:
    line, _, quoted = content.partition("\n")
    printed = said(line.removeprefix("$ "), stage)
    assert shape(quoted) == shape(printed)[: len(shape(quoted))]


@pytest.mark.parametrize("page", READMES, ids=name)
def test_the_comment_that_is_shown_is_the_one_of_the_corrupted_model(page: Path, stage: Path) -> None:
    asked = f"--reference {DIGITS}/digits_fp32.onnx --inputs {DIGITS}/digits_test.npz --labels label"
    said(f"qgate verify --candidate corrupted.onnx {asked} --report out", stage)
    summary = (stage / "out" / "summary.md").read_text("utf-8")
    rendered = comparable(summary)
    shown = [line[1:].strip() for line in prose(page).splitlines() if line.startswith(">")]
    paragraphs = " ".join(line or "\n" for line in shown).split("\n")
    assert len(paragraphs) >= 5
    assert [paragraph for paragraph in paragraphs if comparable(paragraph) not in rendered] == []
    for part in ("`f1.weight_quantized` `[62, 24]`", "stored -95, expected -79, xor 0x10"):
        assert part in " ".join(shown)
        assert part in summary


def comparable(text: str) -> str:
    """Markdown as one line, without figures and without the marks of a quotation."""
    return " ".join(shape(text.replace(">", " ").replace("\n", " ")))


def test_the_example_that_reads_a_report_runs(stage: Path) -> None:
    pair = f"--reference {DIGITS}/digits_fp32.onnx --candidate corrupted.onnx"
    said(f"qgate verify {pair} --report qgate-report", stage)
    (code,) = (content for language, content in fences(ROOT / "docs" / "report.md") if language == "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=stage, capture_output=True, text=True, check=True)
    (finding,) = done.stdout.splitlines()
    assert "QNT201" in finding
    assert "f1.weight_quantized" in finding
    stored = json.loads((stage / "qgate-report" / "report.json").read_text("utf-8"))
    assert finding.startswith(stored["verdict"])


def test_the_rooms_are_those_of_the_code_in_the_order_of_the_road() -> None:
    rows = table(ROOT / "docs" / "architecture.md", "Rooms", "where")
    *rooms, programs = rows
    told = [room.removeprefix("qgate/").removesuffix("/").removesuffix(".py") for room in rooms]
    source = ast.parse((ROOT / "tests" / "test_structure.py").read_text("utf-8"))
    (road,) = (
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROAD"
    )
    assert (*told, "programs") == road
    assert {room.rstrip("`").removeprefix("`") for room in programs.split(", ")} == {
        "qgate/cli.py",
        "qgate/action.py",
        "qgate/sandbox/child.py",
        "qgate/signing/child.py",
        "qgate/runtimes/child.py",
        "qgate/export/child.py",
    }


def test_files_that_a_report_consists_of_are_listed() -> None:
    from qgate.report.write import NAMES

    text = (ROOT / "docs" / "report.md").read_text("utf-8")
    assert all(f"`{file}`" in text for file in NAMES)


def test_the_changelog_knows_the_version() -> None:
    import qgate

    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert qgate.__version__ in text
    assert re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)[0] == "Unreleased"
    headings = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
