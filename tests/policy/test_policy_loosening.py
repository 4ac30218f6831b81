from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import dedent

import pytest

from qgate.policy.loosening import PolicyChanges, compare, loosened
from qgate.policy.schema import ApprovalSpec, FactorySpec, IoSpec, Limits, Policy, SignatureSpec, Target
from qgate.policy.target_changes import rereferenced
from qgate.policy.threshold_changes import is_looser
from qgate.rules.base import Param, Rule, severity_param

SHA, SHB = "a" * 64, "b" * 64
BASE = dedent(f"""
    version: 1
    profile: medical
    profiles:
      medical: {{extends: strict, thresholds: {{FEA201: {{min_db: 35}}}}}}
    targets:
      - name: plate
        candidate: m.onnx
        reference: {{path: f.onnx, sha256: {SHA}}}
        data: {{inputs: d.npz, labels: y, slices: country}}
        task: {{metric: top1}}
        scheme: int8
        derivation: exact
        io: {{map: {{image: x}}, optional: [sr], types: {{image: uint8}}}}
        runtimes: [onnxruntime]
        profile: strict
        thresholds: {{FEA202: {{max_l2: 0.01}}}}
        require_baseline: true
      - {{name: face, candidate: n.onnx, reference: g.onnx}}
    waivers:
      - {{target: plate, rule: FEA201, at: output y, reason: known, until: 2027-01-31}}
    rereference: forbid
    accept: approve
    loosen: approve
    require_baseline: true
    allow_hosts: [models.example.com]
    approval: {{label: ok}}
    limits: {{memory_mb: 4096}}
    allow_ops: ["com.example::Fused"]
    """)
WAIVER = "  - {target: plate, rule: FEA201, at: output y, reason: known, until: 2027-01-31}\n"

LOOSER = {
    "a target is deleted": (
        "  - {name: face, candidate: n.onnx, reference: g.onnx}\n",
        "",
        "target face is deleted",
    ),
    "a lower min": (
        "min_db: 35",
        "min_db: 20.5",
        "target face: FEA201.min_db is looser: 35 before, 20.5 dB after",
    ),
    "a higher max": (
        "max_l2: 0.01",
        "max_l2: 0.5",
        "plate: FEA202.max_l2 is looser: 0.01 before, 0.5 ratio after, from the target's own thresholds",
    ),
    "a threshold's line is removed": (
        "thresholds: {FEA202: {max_l2: 0.01}}",
        "thresholds: {}",
        "target plate: FEA202.max_l2 is looser: 0.01 before, 0.02 ratio after, from built-in profile strict",
    ),
    "a lower severity": (
        "{min_db: 35}",
        "{min_db: 35, severity: note}",
        "FEA201.severity is looser: error before, note after, from profile medical (qgate.yml)",
    ),
    "no direction": (
        "{FEA202: {max_l2: 0.01}}",
        "{FEA202: {max_l2: 0.01, bins: 2}}",
        "FEA202.bins is changed: 64 b",
    ),
    "another method": (
        "{FEA201: {min_db: 35}}",
        "{QNT104: {method: auto}}",
        "QNT104.method is looser: exact before",
    ),
    "less power": (
        "{min_db: 35}",
        "{min_db: 35}, BEH301: {require_power: false}",
        "require_power is looser: true",
    ),
    "a weaker root": (
        "extends: strict",
        "extends: permissive",
        "target face: BEH301.max_drop is looser: 0.005 befo",
    ),
    "a weaker profile": ("profile: medical", "profile: balanced", "the profile is balanced, it was medical"),
    "a weaker profile of a target": (
        "profile: strict\n",
        "profile: permissive\n",
        "target plate: its profile is permissive, it was strict",
    ),
    "a new waiver": (
        "rereference: forbid",
        "  - {target: face, rule: BEH301, reason: 'see [1]', until: 2027-03-01}\nrereference: forbid",
        "BEH301 for target face is waived until 2027-03-01: 'see [1]'",
    ),
    "a wider waiver": ("at: output y, ", "", "FEA201 for target plate is waived until 2027-01-31: 'known'"),
    "a longer waiver": (
        "2027-01-31",
        "2028-01-31",
        "the waiver of FEA201 at 'output y' for target plate is extended",
    ),
    "re-reference": (
        "rereference: forbid",
        "rereference: approve",
        "`rereference` is approve, it was forbid",
    ),
    "acceptance": ("accept: approve", "accept: allow", "`accept` is allow, it was approve"),
    "loosening": ("loosen: approve", "loosen: allow", "`loosen` is allow, it was approve"),
    "no baseline": (
        "\nrequire_baseline: true",
        "\nrequire_baseline: false",
        "a baseline is no longer required",
    ),
    "no baseline of a target": (
        "    require_baseline: true",
        "    require_baseline: false",
        "target plate: a baseline is no longer required",
    ),
    "a host": ("[models.example.com]", "[models.example.com, 10.0.0.1]", "the host 10.0.0.1 is allowed"),
    "an operator": ('["com.example::Fused"]', '["a::B"]', "the operator a::B is allowed"),
    "another label": (
        "label: ok",
        "label: yes-please",
        "the label that approves is 'yes-please', it was 'ok'",
    ),
    "scheme left open": (
        "scheme: int8",
        "scheme: auto",
        "target plate: the declared scheme is auto, it was int8",
    ),
    "scheme given up": (
        "scheme: int8",
        "scheme: none",
        "target plate: the declared scheme is none, it was int8",
    ),
    "coarser scheme": (
        "scheme: int8",
        "scheme: int4",
        "target plate: the declared scheme is int4, it was int8",
    ),
    "derivation left open": (
        "derivation: exact",
        "derivation: auto",
        "the declared derivation is auto, it was exact",
    ),
    "derivation given up": (
        "derivation: exact",
        "derivation: none",
        "the declared derivation is none, it was exact",
    ),
    "the reference is dropped": (
        "    reference: {path: f.onnx, sha256: " + SHA + "}\n",
        "",
        "`reference` is dropped",
    ),
    "the reference is unpinned": (
        f", sha256: {SHA}",
        "",
        "target plate: the digest of `reference` is no longer pinned",
    ),
    "the data is dropped": (
        "    data: {inputs: d.npz, labels: y, slices: country}\n    task: {metric: top1}\n",
        "",
        "target plate: `data` is dropped",
    ),
    "the labels are dropped": (
        "labels: y, slices: country}\n    task: {metric: top1}",
        "slices: country}",
        "target plate: `labels` is dropped",
    ),
    "the slices are dropped": (", slices: country", "", "target plate: `slices` is dropped"),
    "the task is dropped": (
        "task: {metric: top1}",
        "task: {metric: none}",
        "target plate: `task` is dropped",
    ),
    "another map": ("map: {image: x}", "map: {image: z}", "`io.map` of 'image' is 'z', it was 'x'"),
    "one more map": (
        "map: {image: x}",
        "map: {image: x, a: b}",
        "`io.map` of 'a' is 'b', it was 'not there'",
    ),
    "one more optional": ("optional: [sr]", "optional: [sr, h]", "target plate: the input 'h' is optional"),
    "another type": (
        "types: {image: uint8}",
        "types: {image: int8}",
        "`io.types` of 'image' is 'int8', it was 'ui",
    ),
    "a shape": (
        "types: {image: uint8}",
        "types: {image: uint8}, shapes: {image: [1, 3]}",
        "`io.shapes` of 'image' is '(1, 3)', it was 'not there'",
    ),
}


@pytest.mark.parametrize(("old", "new", "sentence"), LOOSER.values(), ids=list(LOOSER))
def test_what_lets_more_pass_is_told(
    load: Callable[[str], Policy], rules: Mapping[str, Rule], old: str, new: str, sentence: str
) -> None:
    assert BASE.count(old) == 1
    found = loosened(load(BASE), load(BASE.replace(old, new)), rules=rules)
    assert any(sentence in line for line in found), found
    assert all(line.isprintable() for line in found)


NOT_LOOSER = {
    "a higher min": ("min_db: 35", "min_db: 40", "FEA201.min_db is stricter: 35 before, 40 dB after"),
    "a lower max": ("max_l2: 0.01", "max_l2: 0.001", "FEA202.max_l2 is stricter"),
    "a shorter waiver": ("2027-01-31", "2026-01-31", "is shortened to 2026-01-31"),
    "a removed waiver": (
        f"waivers:\n{WAIVER}",
        "",
        "the waiver of FEA201 at 'output y' for target plate is removed",
    ),
    "another reason": ("reason: known", "reason: still known", "has another reason"),
    "more memory": ("memory_mb: 4096", "memory_mb: 8192", "the limit `memory_mb` is 8192, it was 4096"),
    "one host less": (
        "allow_hosts: [models.example.com]\n",
        "",
        "the host models.example.com is no longer allowed",
    ),
    "one operator less": (
        'allow_ops: ["com.example::Fused"]\n',
        "",
        "com.example::Fused is no longer allowed",
    ),
    "a smaller map": ("map: {image: x}, ", "", "`io.map` of 'image' is removed"),
    "nothing optional": ("optional: [sr], ", "", "the input 'sr' is no longer optional"),
    "another candidate": ("m.onnx", "m2.onnx", "target plate: the candidate is 'm2.onnx', it was 'm.onnx'"),
    "another reference": (
        "f.onnx",
        "f2.onnx",
        "target plate: the reference is 'f2.onnx' (sha256 aaaaaaaaaaaa), it",
    ),
    "other data": ("d.npz", "e.npz", "target plate: the data is 'e.npz', it was 'd.npz'"),
    "other labels": ("labels: y", "labels: z", "target plate: the labels array is 'z', it was 'y'"),
    "another metric": ("metric: top1", "metric: mae", "target plate: the task is mae, it was top1"),
    "a pin": (
        "reference: g.onnx",
        f"reference: {{path: g.onnx, sha256: {SHA}}}",
        "the digest of `reference` is pinned",
    ),
    "a stricter profile": (
        "name: face, ",
        "name: face, profile: strict, ",
        "target face: its profile is strict, it was medical",
    ),
    "an unused profile": (
        "profiles:\n",
        "profiles:\n  spare: {}\n",
        "the definition of profile spare is added",
    ),
    "one more target": (
        "waivers:\n",
        "  - {name: eye, candidate: e.onnx}\nwaivers:\n",
        "target eye is added",
    ),
}


@pytest.mark.parametrize(("old", "new", "sentence"), NOT_LOOSER.values(), ids=list(NOT_LOOSER))
def test_what_lets_no_more_pass_is_told_apart(
    load: Callable[[str], Policy], rules: Mapping[str, Rule], old: str, new: str, sentence: str
) -> None:
    assert BASE.count(old) == 1
    found = compare(load(BASE), load(BASE.replace(old, new)), rules=rules)
    assert any(sentence in line for line in found.changed), found
    if "profile is strict" not in sentence:  # medical asks for 35 dB, strict itself for 30
        assert found.loosened == ()


def test_leaving_a_team_profile_for_its_root_shows_the_thresholds_that_are_lost(
    load: Callable[[str], Policy], rules: Mapping[str, Rule]
) -> None:
    new = load(BASE.replace("name: face, ", "name: face, profile: strict, "))
    assert loosened(load(BASE), new, rules=rules) == (
        "target face: FEA201.min_db is looser for every scheme but int4: 35 before, 30.0 dB after, "
        "from built-in profile strict",
        "target face: FEA201.min_db is looser for int4: 35 before, 20.0 dB after, "
        "from built-in profile strict, scheme int4",
    )


def test_the_same_policy_has_no_differences(load: Callable[[str], Policy], rules: Mapping[str, Rule]) -> None:
    assert compare(load(BASE), load(BASE), rules=rules) == PolicyChanges()


def test_targets_that_differ_alike_share_a_sentence(
    load: Callable[[str], Policy], rules: Mapping[str, Rule]
) -> None:
    lines = "".join(f"  - {{name: t{i}, candidate: m{i}.onnx}}\n" for i in range(8))
    strict = f"version: 1\nprofile: strict\ntargets:\n{lines}"
    found = loosened(load(strict), load(strict.replace("profile: strict", "profile: balanced")), rules=rules)
    assert "all 8 common targets: FEA202.max_l2 is looser: 0.02 before, 0.05 ratio after, " in "\n".join(
        found
    )
    assert not any(line.startswith("target t") for line in found)
    own = [f"t{i}, candidate: m{i}.onnx" for i in range(7)]
    weaker = strict
    for part in own:
        weaker = weaker.replace(part, part + ", thresholds: {FEA202: {max_l2: 1}}")
    assert loosened(load(strict), load(weaker), rules=rules) == (
        "targets t0, t1, t2, t3, t4 and 2 more: FEA202.max_l2 is looser: 0.02 before, 1 ratio after, "
        "from the target's own thresholds (qgate.yml)",
    )


def test_a_declared_scheme_is_the_only_one_compared(
    load: Callable[[str], Policy], rules: Mapping[str, Rule]
) -> None:
    old = load(BASE.replace("scheme: int8", "scheme: int4"))
    new = load(
        BASE.replace("scheme: int8", "scheme: int4").replace(
            "max_l2: 0.01}", "max_l2: 0.01}, FEA201: {min_db: 25}"
        )
    )
    assert compare(old, new, rules=rules) == PolicyChanges(
        changed=(
            "target plate: FEA201.min_db is stricter: 20.0 before, 25 dB after, "
            "from the target's own thresholds (qgate.yml)",
        )
    )


@pytest.mark.parametrize(("stricter", "weaker"), [("strict", "balanced"), ("balanced", "permissive")])
def test_every_step_down_the_built_in_profiles_loosens_and_none_up_does(
    load: Callable[[str], Policy], stricter: str, weaker: str
) -> None:
    """On the real catalogue: a rule whose words and numbers disagree about what is looser fails here."""
    text = "version: 1\ntargets:\n  - {name: a, candidate: m.onnx}\nprofile: "
    down = compare(load(text + stricter), load(text + weaker))
    up = compare(load(text + weaker), load(text + stricter))
    assert len(down.loosened) > 10
    assert down.changed == up.loosened == ()
    assert len(up.changed) == len(down.loosened)


@pytest.mark.parametrize("key", sorted(set(Policy.model_fields) - {"version"}))
def test_no_key_of_the_policy_changes_in_silence(
    load: Callable[[str], Policy], rules: Mapping[str, Rule], key: str
) -> None:
    """A key that is added to the schema fails here until its change is told."""
    base = load(BASE)
    other: dict[str, object] = {
        "profile": "permissive",
        "profiles": {},
        "targets": base.targets[:1],
        "waivers": (),
        "rereference": "allow",
        "accept": "allow",
        "loosen": "allow",
        "require_baseline": False,
        "allow_hosts": (),
        "approval": ApprovalSpec(label="x"),
        "limits": Limits(),
        "allow_ops": (),
        "sandbox": "reduced",
    }
    old = base.model_copy(update={"profile": "strict"}) if key == "profiles" else base
    assert compare(old, old.model_copy(update={key: other[key]}), rules=rules) != PolicyChanges()


@pytest.mark.parametrize("key", sorted(set(Target.model_fields) - {"name"}))
def test_no_key_of_a_target_changes_in_silence(
    load: Callable[[str], Policy], rules: Mapping[str, Rule], key: str
) -> None:
    base = load(BASE)
    plate, face = base.targets
    other: dict[str, object] = {
        "candidate": face.candidate,
        "reference": face.reference,
        "data": None,
        "task": None,
        "scheme": "auto",
        "derivation": "auto",
        "io": IoSpec(),
        "runtimes": ("onnxruntime", "another"),
        "deploy": "avx2",
        "profile": None,
        "thresholds": {},
        "slice_thresholds": {"country=DE": {"FEA202": {"max_l2": 0.5}}},
        "metric_thresholds": {"top1": {"FEA202": {"max_l2": 0.5}}},
        "require_baseline": None,
        "signature": SignatureSpec(bundle=face.candidate, key=face.candidate),
        "require_signature": True,
        "trust": "code",
        "cost": "full",
        "factory": FactorySpec(candidate="nets/plate.py:build"),
    }
    changed = plate.model_copy(update={key: other[key]})
    new = base.model_copy(update={"targets": (changed, face)})
    assert compare(base, new, rules=rules) != PolicyChanges()


@pytest.mark.parametrize("key", list(Limits.model_fields))
def test_no_limit_changes_in_silence(
    load: Callable[[str], Policy], rules: Mapping[str, Rule], key: str
) -> None:
    base = load(BASE)
    new = base.model_copy(update={"limits": base.limits.model_copy(update={key: 7})})
    assert compare(base, new, rules=rules).changed == (
        f"the limit `{key}` is 7, it was {getattr(base.limits, key)}",
    )


REREFERENCES = {
    "nothing": ("m.onnx", "m2.onnx", ()),
    "reference": (
        "f.onnx",
        "h.onnx",
        ("the reference is 'h.onnx' (sha256 aaaaaaaaaaaa), it was 'f.onnx' (sha256 aaa",),
    ),
    "digest": (
        SHA,
        SHB,
        ("the reference is 'f.onnx' (sha256 bbbbbbbbbbbb), it was 'f.onnx' (sha256 aaaaaaaaaaaa)",),
    ),
    "a pin removed": (f", sha256: {SHA}", "", ()),
    "inputs": ("d.npz", "e.npz", ("the data is 'e.npz', it was 'd.npz'",)),
    "labels": ("labels: y", "labels: z", ("the labels array is 'z', it was 'y'",)),
    "slices": (", slices: country", "", ("the slices array is not given, it was 'country'",)),
    "metric": ("{metric: top1}", "{metric: mae, output: o}", ("the task is mae of output 'o', it was top1",)),
    "all of data": (
        "    data: {inputs: d.npz, labels: y, slices: country}\n    task: {metric: top1}\n",
        "",
        (
            "the data is not given, it was 'd.npz'",
            "the labels array is not given, it was 'y'",
            "the slices array is not given, it was 'country'",
            "the task is not given, it was top1",
        ),
    ),
    "thresholds": ("max_l2: 0.01", "max_l2: 0.5", ()),
}


@pytest.mark.parametrize(("old", "new", "sentences"), REREFERENCES.values(), ids=list(REREFERENCES))
def test_re_reference_is_another_reference_data_labels_or_task(
    load: Callable[[str], Policy], old: str, new: str, sentences: tuple[str, ...]
) -> None:
    found = rereferenced(load(BASE).targets[0], load(BASE.replace(old, new)).targets[0])
    assert len(found) == len(sentences)
    assert all(said.startswith(sentence) for said, sentence in zip(found, sentences, strict=True))


@pytest.mark.parametrize(
    ("param", "old", "new", "looser"),
    [
        (Param("min_x", "d", 1, 1, 1), 2, 1, True),
        (Param("min_x", "d", 1, 1, 1), 1, 2, False),
        (Param("max_x", "d", 1, 1, 1), 1, 2, True),
        (Param("max_x", "d", 1, 1, 1), 2, 1, False),
        (Param("allowance", "d", 1, 2, 3), 1, 2, True),
        (Param("coverage", "d", 3, 2, 1), 1, 2, False),
        (Param("size", "d", 1, 1, 1, by_scheme={"int4": (1, 2, 3)}), 1, 2, True),
        (Param("size", "d", 3, 2, 1, by_scheme={"int4": (1, 2, 3)}), 1, 2, None),
        (Param("bins", "d", 1, 1, 1), 1, 2, None),
        (Param("word", "d", "a", "b", "c"), "a", "b", None),
        (Param("power", "d", "yes", "no", "no", choices=("yes", "no")), "yes", "no", True),
        (Param("power", "d", "yes", "no", "no", choices=("no", "yes")), "no", "yes", False),
        (Param("power", "d", "no", "no", "no", choices=("no", "yes")), "no", "yes", None),
        (
            Param("severity_x", "d", *["note"] * 3, choices=("note", "error", "warning")),
            "error",
            "note",
            True,
        ),
        (severity_param("error", "error", "error"), "warning", "note", True),
        (severity_param("error", "error", "error"), "note", "error", False),
        (Param("flag", "d", True, False, False), True, False, True),
    ],
)
def test_the_direction_of_a_threshold(
    param: Param, old: float | str, new: float | str, looser: bool | None
) -> None:
    assert is_looser(param, old, new) is looser
