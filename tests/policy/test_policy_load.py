from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import PolicyError
from qgate.policy.load import load_policy
from qgate.policy.schema import Policy
from qgate.rules.base import Rule
from qgate.sources.locator import HttpsLocator, PathLocator

Load = Callable[[str], Policy]
SHA = "0123456789abcdef" * 4

FULL = f"""
version: 1
profile: medical
profiles:
  medical: {{extends: strict, thresholds: {{FEA201: {{min_db: 35}}, BEH301: {{max_drop: 0.002}}}}}}
targets:
  - name: plate-ocr
    candidate: models/plate_int8.onnx
    reference: {{path: models/plate_fp32.onnx, sha256: {SHA}}}
    data: {{inputs: data/plates.npz, labels: y, slices: country}}
    task: {{metric: top1}}
    scheme: int8
    derivation: auto
    io: {{map: {{image: x, 1876: "7"}}, optional: [sr], types: {{image: uint8}}}}
    runtimes: [onnxruntime]
    profile: balanced
    thresholds: {{FEA201: {{min_db: 30.5, severity: warning}}}}
    require_baseline: true
  - name: other
    candidate: {{url: "https://example.com/m.onnx", sha256: {SHA}}}
waivers:
  - {{target: plate-ocr, rule: FEA202, at: output y, reason: "server CPUs only", until: 2027-01-31}}
rereference: forbid
accept: allow
loosen: approve
require_baseline: false
allow_hosts: [Models.Example.com, "10.0.0.7:8080", "fd00::1"]
approval: {{label: models-ok}}
limits: {{memory_mb: 4096, cpu_seconds: 60, wall_seconds: 90, file_mb: 16, download_mb: 512}}
allow_ops: ["com.example::Fused", "::Identity"]
"""


def test_everything_that_a_policy_can_say(load: Load) -> None:
    policy = load(FULL)
    plate, other = policy.targets
    assert policy.profile == "medical"
    assert policy.profiles["medical"].thresholds["FEA201"]["min_db"] == 35
    assert plate.candidate == PathLocator(path="models/plate_int8.onnx")
    assert plate.reference == PathLocator(path="models/plate_fp32.onnx", sha256=SHA)
    assert plate.io.map == {"image": "x", "1876": "7"}
    assert plate.thresholds == {"FEA201": {"min_db": 30.5, "severity": "warning"}}
    assert isinstance(other.candidate, HttpsLocator)
    assert policy.waivers[0].until == date(2027, 1, 31)
    assert policy.allow_hosts == ("models.example.com", "10.0.0.7:8080", "fd00::1")
    assert policy.limits.memory_mb == 4096
    assert policy.target("other") is other
    assert policy.target("nobody") is None
    assert policy.requires_baseline(plate) and not policy.requires_baseline(other)


def test_what_is_left_out_is_filled_with_the_safe_default(load: Load) -> None:
    policy = load("version: 1\ntargets:\n  - {name: a, candidate: m.onnx}\n")
    target = policy.targets[0]
    assert (policy.profile, policy.rereference, policy.accept, policy.loosen) == (
        "balanced",
        *("approve",) * 3,
    )
    assert (target.scheme, target.derivation, target.runtimes) == ("auto", "auto", ("onnxruntime",))
    assert policy.allow_hosts == policy.allow_ops == policy.waivers == ()


def test_a_policy_survives_its_own_json(load: Load) -> None:
    policy = load(FULL)
    assert Policy.model_validate_json(policy.model_dump_json()) == policy


HEAD = "version: 1\n"
TARGET = "targets:\n  - {name: a, candidate: m.onnx}\n"
ONE = HEAD + TARGET


def in_target(line: str) -> str:
    return f"{HEAD}targets:\n  - name: a\n    candidate: m.onnx\n    {line}\n"


def in_thresholds(line: str) -> str:
    return in_target(f"thresholds:\n      {line}")


WAIVER = "waivers:\n  - {{target: {0}, rule: {1}, reason: {2}, until: {3}}}\n"

BAD = {
    "unknown key": (ONE + "profil: strict\n", 4, "profil: unknown key 'profil'. Did you mean `profile`?"),
    "unknown key, nothing near": (
        in_target("io: {zzz: 1}"),
        5,
        "targets[0].io.zzz: unknown key 'zzz'. Known here: map, optional, types",
    ),
    "key of the policy in a target": (
        in_target("refernce: f.onnx"),
        5,
        "unknown key 'refernce'. Did you mean `reference`?",
    ),
    "key in the wrong case": (in_target("Scheme: int8"), 5, "Did you mean `scheme`?"),
    "unknown key in a profile": (ONE + "profiles:\n  x: {extend: strict}\n", 5, "Did you mean `extends`?"),
    "hostile key": (ONE + '"\\e]8;;x\\a": 1\n', 4, r"unknown key '\x1b]8;;x\x07'"),
    "no version": (TARGET, 1, "the key `version` is missing. Begin the file with `version: 1`"),
    "version of the future": ("version: 2\n" + TARGET, 1, "version: this qgate reads version 1"),
    "version as text": ("version: '1'\n" + TARGET, 1, "written as the number 1"),
    "version as flag": ("version: true\n" + TARGET, 1, "written as the number 1"),
    "no targets": (HEAD, 1, "the key `targets` is missing"),
    "empty targets": (HEAD + "targets: []\n", 2, "targets: at least one entry is needed"),
    "targets left blank": (HEAD + "targets:\n", 2, "targets: must be a list, not empty"),
    "targets as mapping": (HEAD + "targets: {a: m.onnx}\n", 2, "targets: must be a list, not the mapping"),
    "target as text": (HEAD + "targets: [m.onnx]\n", 2, "targets[0]: must be a mapping of keys to values"),
    "target without candidate": (
        HEAD + "targets:\n  - name: a\n",
        3,
        "targets[0]: the key `candidate` is missing. Add `candidate:`",
    ),
    "bad name": (HEAD + "targets:\n  - {name: ../x, candidate: m}\n", 3, "targets[0].name: it must match"),
    "long name": (HEAD + f"targets:\n  - {{name: {'a' * 65}, candidate: m}}\n", 3, "64 at most"),
    "name as number": (
        HEAD + "targets:\n  - {name: 7, candidate: m}\n",
        3,
        "not the number 7. Put it in quotes",
    ),
    "name of half a character": (HEAD + 'targets:\n  - {name: "\\ud800", candidate: m}\n', 3, "name: input"),
    "same name twice": (
        ONE + "  - {name: a, candidate: n.onnx}\n",
        4,
        "targets[1].name: the target name `a` is given twice",
    ),
    "same name but for case": (
        ONE + "  - {name: A, candidate: n.onnx}\n",
        4,
        "differs from `a` in case alone",
    ),
    "absolute path": (HEAD + "targets:\n  - {name: a, candidate: /etc/m}\n", 3, "the path is absolute"),
    "climbing path": (HEAD + "targets:\n  - {name: a, candidate: ../m}\n", 3, "climbs with '..'"),
    "path of nothing": (HEAD + "targets:\n  - {name: a, candidate: ''}\n", 3, "a path has 1 to"),
    "path as list": (HEAD + "targets:\n  - {name: a, candidate: [m]}\n", 3, "not a place: write a path"),
    "unpinned address": (
        in_target('reference: "https://example.com/f.onnx"'),
        5,
        "targets[0].reference: the key `sha256` is missing. Pin the file",
    ),
    "bad digest": (
        in_target("reference: {path: f, sha256: abc}"),
        5,
        "targets[0].reference.sha256: sha256 is 64 hexadecimal digits",
    ),
    "keys of two places": (
        in_target(f"reference: {{url: 'https://e.com/f', path: f, sha256: {SHA}}}"),
        5,
        "reference.path: the key 'path' does not go with the others here",
    ),
    "candidate is its reference": (
        in_target("reference: ./m.onnx"),
        5,
        "the same file, which proves nothing",
    ),
    "wrong word": (in_target("scheme: int9"), 5, "must be one of auto, int8, int4, fp16, fp8, none"),
    "wrong word, near": (in_target("derivation: exakt"), 5, "Did you mean `exact`?"),
    "runtime that is not there": (
        in_target("runtimes: [tensorlt]"),
        5,
        "Did you mean `tensorrt`?",
    ),
    "no runtimes": (in_target("runtimes: []"), 5, "at least one entry"),
    "task as word": (
        in_target("task: top1"),
        5,
        "task: must be a mapping of keys to values, not the text 'top1'",
    ),
    "task without labels": (in_target("task: {metric: top1}"), 5, "the metric top1 needs labels"),
    "flag in YAML 1.1": (ONE + "require_baseline: yes\n", 4, "must be true or false, not the text 'yes'"),
    "number as name of a tensor": (
        in_target("io: {map: {x: 5}}"),
        5,
        "must be text, not the number 5. Put it in q",
    ),
    "empty name of a tensor": (in_target("io: {map: {'': x}}"), 5, "the key '' is not allowed: it is empty"),
    "control character in a name": (in_target('io: {optional: ["a\\nb"]}'), 5, "control characters"),
    "memory with a unit": (
        ONE + "limits: {memory_mb: 8GB}\n",
        4,
        "Write the plain number of MiB, without a unit",
    ),
    "time with a unit": (ONE + "limits: {wall_seconds: 5m}\n", 4, "Write the plain number of seconds"),
    "memory of zero": (ONE + "limits: {memory_mb: 0}\n", 4, "must be more than 0 (it is the number 0)"),
    "memory beyond all": (ONE + f"limits: {{memory_mb: {10**30}}}\n", 4, "must be at most 16777216"),
    "memory that is no number": (
        ONE + "limits: {memory_mb: .nan}\n",
        4,
        "a whole number, not the number nan",
    ),
    "limits left blank": (ONE + "limits:\n", 4, "not empty. Give `limits` a value, or remove the key"),
    "address in place of a host": (
        ONE + "allow_hosts: ['https://x/']\n",
        4,
        "no scheme, path or wildcard",
    ),
    "host with a bad port": (ONE + "allow_hosts: ['h:x']\n", 4, "with `:port` if need be"),
    "any host": (ONE + "allow_hosts: ['*']\n", 4, "wildcard"),
    "operator without domain": (ONE + "allow_ops: [Fused]\n", 4, "allow_ops[0]: it must match"),
    "unknown profile": (
        HEAD + "profile: strikt\n" + TARGET,
        2,
        "no profile 'strikt'. Did you mean `strict`?",
    ),
    "unknown profile of a target": (
        in_target("profile: medical"),
        5,
        "targets[0].profile: there is no profile",
    ),
    "extends nothing": (
        ONE + "profiles:\n  x: {extends: y}\n",
        5,
        "profiles.x.extends: there is no profile 'y'",
    ),
    "extends itself": (ONE + "profiles:\n  x: {extends: x}\n", 5, "in a circle: x -> x"),
    "extends in a circle": (
        ONE + "profiles:\n  x: {extends: y}\n  y: {extends: x}\n",
        5,
        "in a circle: x -> y -> x",
    ),
    "built-in profile redefined": (ONE + "profiles:\n  strict: {}\n", 5, "the profile `strict` is built in"),
    "profile with a bad name": (
        ONE + "profiles:\n  a b: {}\n",
        5,
        "the key 'a b' is not allowed: it must match",
    ),
    "unknown rule": (
        in_thresholds("FEA2O1: {min_db: 1}"),
        6,
        "targets[0].thresholds.FEA2O1: there is no rule 'FEA2O1'. Did you mean FEA201 (What FEA201 demands)?",
    ),
    "unknown rule, nothing near": (in_thresholds("nonsense: {}"), 6, "`qgate explain` lists all rules"),
    "unknown parameter": (
        in_thresholds("FEA201: {min_bd: 1}"),
        6,
        "FEA201 has no parameter 'min_bd'. Did you mean `min_db`?",
    ),
    "thresholds as number": (
        in_thresholds("FEA201: 30"),
        6,
        "must be a mapping of keys to values, not the number",
    ),
    "percent": (
        in_thresholds("FEA202: {max_l2: 5%}"),
        6,
        "FEA202.max_l2: must be a number (ratio), not the text '5%'. Write 0.05: the unit is a ratio",
    ),
    "number with its unit": (
        in_thresholds("FEA201: {min_db: 35 dB}"),
        6,
        "must be a number (dB), not the text '35 dB'. Write 35: the unit is dB already",
    ),
    "number with another unit": (
        in_thresholds("FEA201: {min_db: 35V}"),
        6,
        "The unit is dB: write the number",
    ),
    "quoted number": (in_thresholds("FEA201: {min_db: '35'}"), 6, "Remove the quotes"),
    "word for a number": (in_thresholds("FEA201: {min_db: high}"), 6, "For example 20.0"),
    "flag for a number": (
        in_thresholds("FEA201: {min_db: true}"),
        6,
        "must be a number (dB), not the word true",
    ),
    "number for a flag": (
        in_thresholds("BEH301: {require_power: 1}"),
        6,
        "must be true or false, not the number",
    ),
    "not a number": (
        in_thresholds("FEA201: {min_db: .nan}"),
        6,
        "must be a finite number (dB), not the number nan",
    ),
    "minus infinity": (in_thresholds("FEA201: {min_db: -.inf}"), 6, "it would switch the rule off"),
    "beyond a double": (in_thresholds("FEA202: {max_l2: 1e999}"), 6, "not the number inf"),
    "infinity as word": (in_thresholds("FEA202: {max_l2: inf}"), 6, "not the number inf"),
    "threshold left blank": (in_thresholds("FEA201: {min_db: }"), 6, "a number or a word, not nothing"),
    "threshold as list": (in_thresholds("FEA201: {min_db: [1]}"), 6, "a number or a word, not a list"),
    "unknown severity": (
        in_thresholds("FEA201: {severity: warn}"),
        6,
        "must be one of error, warning, note, not the text 'warn'. Did you mean `warning`?",
    ),
    "severity as number": (in_thresholds("FEA201: {severity: 0}"), 6, "must be one of error, warning, note"),
    "unknown choice": (in_thresholds("QNT104: {method: exat}"), 6, "Did you mean `exact`?"),
    "bad threshold of a profile": (
        ONE + "profiles:\n  x:\n    thresholds:\n      FEA201: {min_db: 5%}\n",
        7,
        "profiles.x.thresholds.FEA201.min_db: must be a number",
    ),
    "waiver of an unknown target": (
        ONE + WAIVER.format("aa", "FEA201", "known", "2027-01-31"),
        5,
        "waivers[0].target: there is no target 'aa'. Did you mean `a`?",
    ),
    "waiver of an unknown rule": (
        ONE + WAIVER.format("a", "fea201", "known", "2027-01-31"),
        5,
        "waivers[0].rule: there is no rule 'fea201'. Did you mean FEA201",
    ),
    "waiver of expired waivers": (
        ONE + WAIVER.format("a", "TRC104", "x", "2027-01-31"),
        5,
        "cannot be waived",
    ),
    "waiver without reason": (
        ONE + WAIVER.format("a", "FEA201", "''", "2027-01-31"),
        5,
        "reason: it is empty",
    ),
    "waiver with a blank reason": (
        ONE + WAIVER.format("a", "FEA201", "' '", "2027-01-31"),
        5,
        "spaces at its ends",
    ),
    "waiver on no day": (ONE + WAIVER.format("a", "FEA201", "x", "2027-02-30"), 5, "there is no such day"),
    "waiver in another order": (
        ONE + WAIVER.format("a", "FEA201", "x", "31.1.2027"),
        5,
        "written YYYY-MM-DD",
    ),
    "waiver until a number": (ONE + WAIVER.format("a", "FEA201", "x", "2027"), 5, "written YYYY-MM-DD"),
    "waiver for ever": (
        ONE + "waivers:\n  - {target: a, rule: FEA201, reason: x}\n",
        5,
        "waivers[0]: the key `until` is missing. A waiver ends some day",
    ),
    "waiver twice": (
        ONE
        + WAIVER.format("a", "FEA201", "x", "2027-01-31")
        + "  - {target: a, rule: FEA201, reason: y, until: 2028-01-31}\n",
        6,
        "waived twice",
    ),
}


@pytest.mark.parametrize(("text", "line", "part"), BAD.values(), ids=list(BAD))
def test_a_wrong_policy_is_refused_by_line_key_and_remedy(
    load: Load, text: str, line: int, part: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        load(text)
    assert part in str(caught.value)
    assert caught.value.where.startswith(f"qgate.yml:{line}:")
    assert str(caught.value).isprintable()


def test_several_faults_are_told_at_once_in_the_order_of_the_file(load: Load) -> None:
    with pytest.raises(PolicyError) as caught:
        load("version: 1\ntargets:\n  - {name: a, candidate: m, foo: 1}\n  - {name: b}\nprofil: x\nzzz: 1\n")
    said = str(caught.value)
    assert said.startswith(
        "qgate.yml:3:29: targets[0].foo: unknown key 'foo'; line 4: targets[1]: the key `cand"
    )
    assert "; line 5: profil: unknown key 'profil'; line 6: zzz" in said


def test_a_misspelt_key_that_must_be_there_is_one_fault(load: Load) -> None:
    with pytest.raises(PolicyError) as caught:
        load("version: 1\ntargets:\n  - name: a\n    candidat: m.onnx\n    reference: r.onnx\n")
    assert "unknown key 'candidat'" in caught.value.what
    assert "missing" not in caught.value.what
    assert "candidate" in (caught.value.remedy or "")


def test_a_thousand_faults_are_not_all_listed(load: Load) -> None:
    with pytest.raises(PolicyError) as caught:
        load(ONE + "".join(f"k{i}: 1\n" for i in range(1000)))
    assert "; and more" in str(caught.value)
    assert len(str(caught.value)) < 1000


def hostile_policies() -> dict[str, str]:
    chain = "".join(f"  p{i}: {{extends: p{i + 1}}}\n" for i in range(3000))
    targets = "".join(f"  - {{name: {'t' * 50}{i}, candidate: m}}\n" for i in range(1500))
    waivers = "".join(
        f"  - {{target: {'t' * 49}{i}, rule: F, reason: r, until: 2027-01-31}}\n" for i in range(600)
    )
    return {
        "profiles upon profiles": f"{ONE}profiles:\n{chain}  p3000: {{}}\n",
        "waivers of nobody": f"{HEAD}targets:\n{targets}waivers:\n{waivers}",
        "keys of nobody": ONE + "".join(f"profilee{i}: 1\n" for i in range(6000)),
        "spaces for a number": in_thresholds('FEA201: {min_db: "5' + "\\n" * 8000 + '?"}'),
        "digits for a number": in_thresholds("FEA201: {min_db: 1" + "1" * 16000 + "x}"),
    }


@pytest.mark.parametrize("name", list(hostile_policies()))
def test_a_hostile_policy_is_refused_in_bounded_time_and_words(load: Load, name: str) -> None:
    started = time.process_time()
    with pytest.raises(PolicyError) as caught:
        load(hostile_policies()[name])
    assert time.process_time() - started < 20
    assert len(str(caught.value)) < 2000


def test_infinity_is_a_threshold_where_it_is_built_in(load: Load) -> None:
    policy = load(in_thresholds("FEA207: {max_value: .inf}"))
    assert policy.targets[0].thresholds == {"FEA207": {"max_value": math.inf}}
    for value in (".nan", "-.inf"):
        with pytest.raises(PolicyError, match="must be a finite number"):
            load(in_thresholds(f"FEA207: {{max_value: {value}}}"))


def test_the_real_catalogue_is_the_default() -> None:
    text = in_thresholds("TRC104: {severity: error}")
    assert load_policy(text.encode(), "qgate.yml").targets[0].thresholds == {"TRC104": {"severity": "error"}}
    with pytest.raises(PolicyError, match="there is no rule 'TRC999'"):
        load_policy(in_thresholds("TRC999: {severity: error}").encode(), "qgate.yml")


_WORDS = st.sampled_from(
    [*dict.fromkeys(re.findall(r"[A-Za-z0-9_.]+", FULL)), "git", "hf", "release", "asset", "<<"]
)
_SCALARS = st.one_of(
    _WORDS, st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=8), st.just("2027-01-31")
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_WORDS, inner, max_size=5)),
    max_leaves=20,
)
_TARGETS = st.fixed_dictionaries(
    {"name": st.just("a"), "candidate": st.one_of(st.just("m.onnx"), _TREES)},
    optional=dict.fromkeys(["reference", "data", "task", "io", "profile", "thresholds", "runtimes"], _TREES),
)
_POLICIES = st.fixed_dictionaries(
    {"version": st.just(1), "targets": st.lists(_TARGETS, max_size=2)},
    optional=dict.fromkeys(
        ["profile", "profiles", "waivers", "limits", "allow_hosts", "allow_ops", "x"], _TREES
    ),
)


def _yaml(value: object) -> str:
    """Flow YAML of a tree, strings in double quotes with every odd character escaped."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(k)}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, float):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(str(value), str(value))
    return "null" if value is None else str(value).lower()


@settings(max_examples=150, deadline=None)
@given(tree=_POLICIES)
def test_any_tree_is_a_policy_or_a_policy_error(rules: Mapping[str, Rule], tree: object) -> None:
    try:
        policy = load_policy(_yaml(tree).encode(), "qgate.yml", rules=rules)
    except PolicyError as error:
        assert error.where.startswith("qgate.yml")
        assert str(error).isprintable()
    else:
        assert policy.targets


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, len(FULL)), junk=st.binary(max_size=6), keep=st.integers(0, 40))
def test_a_damaged_policy_is_a_policy_or_a_policy_error(
    rules: Mapping[str, Rule], cut: int, junk: bytes, keep: int
) -> None:
    data = FULL.encode()
    try:
        load_policy(data[:cut] + junk + data[cut + keep :], "qgate.yml", rules=rules)
    except PolicyError as error:
        assert error.where.startswith("qgate.yml")
