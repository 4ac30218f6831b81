"""``qgate explain``: a rule in words, or the thresholds that are in force for a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.policy.schema import Policy, Target


def explain_rule(rule: str | None) -> int:
    """Prints one rule, or a line for each."""
    from qgate.rules.catalogue import catalogue, find_rule
    from qgate.rules.document import describe, list_rules

    click.echo(describe(find_rule(rule)) if rule else list_rules(catalogue().values()))
    return 0


def explain_target(
    name: str, rule: str | None, config: str | None, base: str | None, *, everything: bool = False
) -> int:
    """Prints the thresholds of a target, each with where it came from.

    Of one rule all are printed, of all rules those that the policy set: ``everything`` adds the profile's own.

    Raises:
        QgateError: There is no such policy, target, revision or rule.
    """
    policy, where = _policy(config, base)
    target = policy.target(name)
    if target is None:
        from qgate.rules.nearest import did_you_mean

        known = [each.name for each in policy.targets]
        raise UsageError(f"there is no target {name!r}", where=where, remedy=did_you_mean(name, known))
    click.echo("\n".join(_lines(policy, target, rule, where, everything=everything or rule is not None)))
    return 0


def _policy(config: str | None, base: str | None) -> tuple[Policy, str]:
    from qgate.git.repository import open_repository
    from qgate.policy.load import load_policy
    from qgate.policy.yaml_reader import MAX_BYTES
    from qgate.settings import read_settings, repository_path

    settings = read_settings()
    if config:
        settings = replace(settings, config=repository_path(config, "--config"))
    repository = open_repository(settings.workspace)
    revision = repository.resolve(base) if base is not None else None
    if base is not None and revision is None:
        raise UsageError(
            f"there is no revision {base!r}", where="--base", remedy="Fetch it, or name another one"
        )
    where = f"{settings.config} at {revision[:12]}" if revision else settings.config
    content = repository.read(revision, settings.config, MAX_BYTES)
    if content is None:
        raise UsageError("there is no policy", where=where, remedy="Write one, or name it: --config")
    return load_policy(content, where), where


def _lines(
    policy: Policy, target: Target, rule: str | None, where: str, *, everything: bool
) -> Iterator[str]:
    from qgate.policy.thresholds import profile_name, resolve
    from qgate.report import figures
    from qgate.report.escape import visible
    from qgate.rules.base import BUILT_IN
    from qgate.rules.catalogue import catalogue, find_rule

    chosen = {find_rule(rule).id: find_rule(rule)} if rule else catalogue()
    limits = resolve(policy, target, None, None, where=where)
    yield f"target {target.name}, profile {profile_name(policy, target)}, scheme {target.scheme}"
    if target.scheme == "auto":
        yield "(thresholds are shown for a scheme that is not known yet; declare `scheme` to see those of yours)"
    as_built = 0
    for each in chosen.values():
        shown = {
            key: limit
            for key, limit in limits[each.id].items()
            if everything or not limit.origin.startswith(BUILT_IN)
        }
        as_built += len(limits[each.id]) - len(shown)
        if not shown:
            continue
        yield ""
        yield f"{each.id}  {each.title}"
        for key, limit in shown.items():
            yield f"  {visible(key):<24}{figures.value(limit.value, limit.unit):>14}  {limit.origin}"
    if as_built:
        yield ""
        yield f"{as_built} thresholds are the profile's own: --all shows them, and RULE those of one rule"
    for waiver in policy.waivers:
        if waiver.target == target.name and waiver.rule in chosen:
            yield ""
            place = f" at {waiver.at}" if waiver.at else ""
            yield visible(f"waived until {waiver.until}: {waiver.rule}{place}: {waiver.reason}")
