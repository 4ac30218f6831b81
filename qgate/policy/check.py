"""What the keys of a policy must mean together: names that exist, thresholds that a rule has."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import partial

from qgate.policy.document import Path, quoted, type_name
from qgate.policy.pieces import check_pieces
from qgate.policy.problems import Problem
from qgate.policy.schema import BOXES, OPTIONS, UNLABELLED, ImagesSpec, Policy, Target, TaskSpec
from qgate.policy.values import Thresholds
from qgate.records import Value
from qgate.rules.base import PROFILES, Param, Rule
from qgate.rules.nearest import did_you_mean, nearest

UNWAIVABLE = "TRC104"
"""The rule that reports expired waivers."""

MAX_CHAIN = 16
"""How many profiles may rest on one another."""

_WITH_UNIT = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*(\D.{0,20}?)?\s*")


def check_policy(policy: Policy, rules: Mapping[str, Rule]) -> Iterator[Problem]:
    """Everything that is wrong with a well-formed policy.

    Args:
        policy: The policy.
        rules: The catalogue of rules by id.
    """
    yield from _profiles(policy, rules)
    yield from _profile_name(policy, policy.profile, ("profile",))
    seen: dict[str, int] = {}
    for position, target in enumerate(policy.targets):
        path: Path = ("targets", position)
        other = seen.setdefault(target.name.casefold(), position)
        if other != position:
            first = policy.targets[other].name
            how = "is given twice" if first == target.name else f"differs from `{first}` in case alone"
            yield Problem(
                (*path, "name"), f"the target name `{target.name}` {how}", "Give each target its own name"
            )
        yield from _target(policy, target, path, rules)
    yield from check_pieces(policy, rules, check_thresholds)
    yield from _waivers(policy, rules)


def _profiles(policy: Policy, rules: Mapping[str, Rule]) -> Iterator[Problem]:
    for name, profile in policy.profiles.items():
        path: Path = ("profiles", name)
        if name in PROFILES:
            yield Problem(
                path, f"the profile `{name}` is built in", f"Use another name and `extends: {name}`"
            )
            continue
        yield from _profile_name(policy, profile.extends, (*path, "extends"))
        yield from _chain(policy, name, (*path, "extends"))
        yield from check_thresholds(profile.thresholds, (*path, "thresholds"), rules)


def _chain(policy: Policy, name: str, path: Path) -> Iterator[Problem]:
    chain = [name]
    while (spec := policy.profiles.get(chain[-1])) is not None and chain[-1] not in PROFILES:
        circle = spec.extends in chain
        chain.append(spec.extends)
        if circle:
            remedy = f"Let one of them extend {', '.join(PROFILES[:-1])} or {PROFILES[-1]}"
            yield Problem(path, f"profiles extend each other in a circle: {' -> '.join(chain)}", remedy)
            return
        if len(chain) > MAX_CHAIN:
            remedy = "Extend a profile that is nearer to a built-in one"
            yield Problem(path, f"more than {MAX_CHAIN} profiles extend one another", remedy)
            return


def _profile_name(policy: Policy, name: str, path: Path) -> Iterator[Problem]:
    if name not in PROFILES and name not in policy.profiles:
        known = (*PROFILES, *policy.profiles)
        yield Problem(path, f"there is no profile {quoted(name)}", partial(did_you_mean, name, known))


def _target(policy: Policy, target: Target, path: Path, rules: Mapping[str, Rule]) -> Iterator[Problem]:
    if target.profile is not None:
        yield from _profile_name(policy, target.profile, (*path, "profile"))
    yield from check_thresholds(target.thresholds, (*path, "thresholds"), rules)
    if target.reference == target.candidate:
        yield Problem(
            (*path, "reference"),
            "candidate and reference are the same file, which proves nothing",
            "Point `reference` at the full-precision model",
        )
    yield from _signature(target, path)
    if target.data is not None and target.data.images is not None:
        yield from check_images(target.data.images, (*path, "data", "images"))
    labels = target.data.labels if target.data is not None else None
    if target.task is not None:
        yield from _task_options(target.task, (*path, "task"))
    if target.task is not None and target.task.metric not in UNLABELLED and labels is None:
        yield Problem(
            (*path, "task", "metric"),
            f"the metric {target.task.metric} needs labels, and the target has none",
            "Name the array of labels in `data: {inputs: ..., labels: ...}`",
        )


def _task_options(task: TaskSpec, path: Path) -> Iterator[Problem]:
    for name in task.options():
        if task.metric not in OPTIONS[name]:
            yield Problem(
                (*path, name),
                f"`{name}` says nothing for the metric {task.metric}",
                f"It is for {', '.join(OPTIONS[name])}",
            )
    own = task.metric in ("python", "decoded")
    if own != (task.python is not None) and task.metric not in BOXES:
        what = "needs a function" if own else "has no use for a function"
        yield Problem(
            (*path, "python"),
            f"the metric {task.metric} {what}",
            "Name one as `python: path/to/file.py:function`"
            if own
            else "Remove `python`, or say `metric: python`",
        )
    if task.python is not None and task.output is not None:
        yield Problem((*path, "output"), "an own function is given all outputs", "Remove `output`")
    yield from check_readings(task, path)


def check_readings(task: TaskSpec, path: Path) -> Iterator[Problem]:
    """How outputs are read as boxes or text, where only a part of that is said."""
    yield from _boxes(task, path)
    if task.blank is not None and task.text != "ctc":
        yield Problem(
            (*path, "blank"), "a blank belongs to `text: ctc`", "Remove `blank`, or say `text: ctc`"
        )


def _boxes(task: TaskSpec, path: Path) -> Iterator[Problem]:
    """Boxes come from one output, from three, or from a function."""
    three = [name for name in ("boxes", "scores", "classes") if getattr(task, name) is not None]
    if three and (task.output is not None or task.python is not None):
        told = "`output`" if task.output is not None else "a function"
        yield Problem((*path, three[0]), f"boxes come from {told} already", f"Remove `{three[0]}`")
    elif len(three) in (1, 2):
        yield Problem(
            (*path, three[0]), "boxes, scores and classes belong together", "Name all three outputs, or none"
        )


def check_images(spec: ImagesSpec, path: Path) -> Iterator[Problem]:
    """Steps that contradict each other."""
    channels = 1 if spec.mode == "L" else 3
    for name in ("mean", "std"):
        given = len(getattr(spec, name))
        if given not in (0, 1, channels):
            yield Problem(
                (*path, name),
                f"`{name}` has {given} numbers, and `mode: {spec.mode}` {channels}",
                "Give one for each channel, or one for all",
            )
        if given and spec.dtype == "uint8":
            yield Problem(
                (*path, name), f"`{name}` makes no whole numbers", "Remove it, or say `dtype: float32`"
            )
    if spec.scale is not None and spec.dtype == "uint8":
        yield Problem(
            (*path, "scale"), "`scale` makes no whole numbers", "Remove it, or say `dtype: float32`"
        )
    if spec.shorter is not None and spec.shorter < min(spec.size):
        yield Problem(
            (*path, "shorter"),
            f"{spec.shorter} pixels are fewer than are cut from them",
            f"Give {min(spec.size)} or more",
        )
    if len(set(spec.classes)) != len(spec.classes):
        yield Problem((*path, "classes"), "a folder is named twice", "Name each once")


def _signature(target: Target, path: Path) -> Iterator[Problem]:
    spec = target.signature
    if spec is None:
        if target.require_signature:
            yield Problem(
                (*path, "require_signature"),
                "a signature is required, and nobody is named who could have signed",
                "Add `signature: {bundle: ..., key: ...}`",
            )
        return
    place = (*path, "signature")
    given = [name for name in ("key", "certificate", "identity") if getattr(spec, name) is not None]
    if len(given) != 1:
        told = " and ".join(f"`{name}`" for name in given) or "none of them"
        yield Problem(
            place,
            f"a signer is one of `key`, `certificate`, or `identity` with `issuer`, not {told}",
            "Name whoever must have signed in one way",
        )
    if (spec.identity is None) != (spec.issuer is None):
        yield Problem(
            place,
            "`identity` and `issuer` belong together: anybody can have a name at some issuer",
            "Give both, or neither",
        )
    if spec.trusted_root is not None and spec.identity is None:
        yield Problem(
            (*place, "trusted_root"),
            "a trusted root is for Sigstore identities alone",
            "Remove `trusted_root`",
        )
    if spec.bundle == target.candidate:
        yield Problem((*place, "bundle"), "the bundle is the candidate itself", "Point it at the .sig file")


def _waivers(policy: Policy, rules: Mapping[str, Rule]) -> Iterator[Problem]:
    seen = set()
    for position, waiver in enumerate(policy.waivers):
        path: Path = ("waivers", position)
        if policy.target(waiver.target) is None:
            names = [target.name for target in policy.targets]
            yield Problem(
                (*path, "target"),
                f"there is no target {quoted(waiver.target)}",
                partial(did_you_mean, waiver.target, names),
            )
        if waiver.rule == UNWAIVABLE:
            yield Problem(
                (*path, "rule"),
                f"{UNWAIVABLE} reports expired waivers and cannot be waived itself",
                "Renew or remove the expired waiver",
            )
        elif waiver.rule not in rules:
            yield _unknown_rule(waiver.rule, (*path, "rule"), rules)
        key = (waiver.target, waiver.rule, waiver.at)
        if key in seen:
            yield Problem(path, "the same target, rule and place are waived twice", "Keep one waiver")
        seen.add(key)


def check_thresholds(thresholds: Thresholds, path: Path, rules: Mapping[str, Rule]) -> Iterator[Problem]:
    """Rules and parameters that do not exist, and values that a parameter cannot have."""
    for rule_id, values in thresholds.items():
        rule = rules.get(rule_id)
        if rule is None:
            yield _unknown_rule(rule_id, (*path, rule_id), rules)
            continue
        for name, value in values.items():
            place = (*path, rule_id, name)
            param = rule.param(name)
            if param is None:
                known = [p.name for p in rule.params]
                yield Problem(
                    place, f"{rule_id} has no parameter {quoted(name)}", partial(did_you_mean, name, known)
                )
            elif problem := _value(param, value, place):
                yield problem


def _unknown_rule(rule_id: str, path: Path, rules: Mapping[str, Rule]) -> Problem:
    def remedy() -> str:
        near = nearest(rule_id, rules)
        return f"Did you mean {near} ({rules[near].title})?" if near else "`qgate explain` lists all rules"

    return Problem(path, f"there is no rule {quoted(rule_id)}", remedy)


def _value(param: Param, value: Value, path: Path) -> Problem | None:
    given = f"the {type_name(value)}"
    if param.choices:
        if isinstance(value, str) and value in param.choices:
            return None
        remedy = partial(did_you_mean, value, param.choices) if isinstance(value, str) else ""
        return Problem(path, f"must be one of {', '.join(param.choices)}, not {given}", remedy)
    for kind, words in ((bool, "true or false"), (str, "a word")):
        if isinstance(param.balanced, kind):
            return None if isinstance(value, kind) else Problem(path, f"must be {words}, not {given}")
    unit = f" ({param.unit})" if param.unit else ""
    if isinstance(value, bool | str):
        return Problem(path, f"must be a number{unit}, not {given}", _plain_number(param, value))
    if not math.isfinite(value) and value not in (param.strict, param.balanced, param.permissive):
        return Problem(
            path,
            f"must be a finite number{unit}, not {given}: it would switch the rule off",
            "Write a number; to let the rule only inform, set its `severity` to warning or note",
        )
    return None


def _plain_number(param: Param, value: bool | str) -> str:
    """How the number that was probably meant is written."""
    short = isinstance(value, str) and len(value) <= 40  # the pattern backtracks over long spaces
    match = _WITH_UNIT.fullmatch(str(value)) if short else None
    if match is None:
        return f"For example {param.balanced}, its value in the profile balanced"
    number, unit = match[1], match[2] or ""
    if not unit:
        return "Remove the quotes"
    if unit.lower() == param.unit.lower():
        return f"Write {number}: the unit is {param.unit} already"
    if unit == "%" and param.unit in ("", "ratio"):
        return f"Write {float(number) / 100:g}: the unit is a ratio, not percent"
    return f"The unit is {param.unit or 'a plain number'}: write the number alone"
