"""The tables of ``bench/verdicts.py``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby

from verdicts_cases import Outcome, severity

from qgate.rules.base import PROFILES
from qgate.stats.intervals import wilson

BLOCKS = {"FAIL", "ERROR"}
STEPS = ((1, 1.5), (1.5, 2.5), (2.5, 5), (5, float("inf")))
"""Damage by how many times it is what the profile allows."""

NAMED = 40


def tables(outcomes: list[Outcome]) -> Iterator[str]:
    """All of them, as Markdown."""
    made = [each for each in outcomes if each.number >= 0 and each.runs]
    failed = [each for each in outcomes if each.problem]
    examples = [each for each in outcomes if each.number < 0]
    if made:
        yield from _generated(made)
        if failed:
            yield f"\nNot counted, because the tool did not take the model: {len(failed)}."
    if examples:
        yield ""
        yield from _examples(examples)
    yield ""
    yield from _flips([*made, *examples])


def _over(outcome: Outcome, profile: str) -> float:
    return severity(outcome.truth, profile, outcome.scheme)


def _share(count: int, of: int) -> str:
    return f"{count} of {of} (at most {wilson(count, of)[1]:.1%})" if of else "none"


def _generated(made: list[Outcome]) -> Iterator[str]:
    eight = [each for each in made if each.honest and each.scheme in ("int8", "fp16")]
    yield f"{len(made)} cases: {sum(each.honest for each in made)} honest ({len(eight)} int8 or fp16), "
    yield f"{sum(not each.honest for each in made)} with damage of graded strength. In brackets Wilson's 95 % upper bounds.\n"
    yield "| profile | false blocks, int8 and fp16 | false blocks, all | misses | untold: honest | untold: damaged |"
    yield "|:--|--:|--:|--:|--:|--:|"
    for profile in PROFILES:
        yield "| " + " | ".join([profile, *_row(made, profile, "verdict")]) + " |"
    for profile in PROFILES:
        yield (
            "| "
            + " | ".join([f"{profile}, rules on behaviour alone", *_row(made, profile, "behaviour")])
            + " |"
        )
    yield "\nMisses at `balanced` by how much worse the metric, class or slice is than allowed:\n"
    yield "| times what is allowed | damaged | missed | missed by the rules on behaviour alone |"
    yield "|:--|--:|--:|--:|"
    for low, high in STEPS:
        held = [each for each in made if low < _over(each, "balanced") <= high]
        told = [_share(sum(_said(each, "balanced", kind) == "PASS" for each in held), len(held))
                for kind in ("verdict", "behaviour")]  # fmt: skip
        yield f"| {low:g} to {high:g} | {len(held)} | {told[0]} | {told[1]} |"
    for title, key in (("tool", _by_tool), ("kind of model", _by_kind), ("damage", _by_damage)):
        yield from _by(made, title, key)
    yield from _named(made)


def _said(outcome: Outcome, profile: str, kind: str) -> str:
    return str(outcome.first[profile][kind])


def _row(made: list[Outcome], profile: str, kind: str) -> Iterator[str]:
    good = [each for each in made if each.honest and _over(each, profile) <= 1]
    bad = [each for each in made if _over(each, profile) > 1]
    for held in ([each for each in good if each.scheme in ("int8", "fp16")], good):
        yield _share(sum(_said(each, profile, kind) in BLOCKS for each in held), len(held))
    yield _share(sum(_said(each, profile, kind) == "PASS" for each in bad), len(bad))
    for held in (good, bad):
        yield str(sum(_said(each, profile, kind) == "INCONCLUSIVE" for each in held))


def _by_tool(outcome: Outcome) -> str:
    return outcome.tool if outcome.honest else ""


def _by_kind(outcome: Outcome) -> str:
    return outcome.kind


def _by_damage(outcome: Outcome) -> str:
    return outcome.damage


def _by(made: list[Outcome], title: str, key: Callable[[Outcome], str]) -> Iterator[str]:
    yield f"\nAt `balanced`, by {title}:\n"
    yield f"| {title} | honest | blocked | damaged | missed | weak damage | blocked |"
    yield "|:--|--:|--:|--:|--:|--:|--:|"
    held = sorted((each for each in made if key(each)), key=key)
    for name, group in groupby(held, key):
        count: Counter[str | tuple[str, str]] = Counter()
        for each in group:
            over, verdict = _over(each, "balanced") > 1, _said(each, "balanced", "verdict")
            what = "damaged" if over else "honest" if each.honest else "weak"
            count[what] += 1
            count[what, "yes"] += verdict == "PASS" if over else verdict in BLOCKS
        cells = [str(count[each]) for what in ("honest", "damaged", "weak") for each in (what, (what, "yes"))]
        yield "| " + " | ".join([name, *cells]) + " |"


def _named(made: list[Outcome]) -> Iterator[str]:
    """False blocks and misses at ``balanced``, by name."""
    wrong: dict[str, list[str]] = defaultdict(list)
    for each in made:
        over, told = _over(each, "balanced"), each.first["balanced"]
        if over > 1 and told["verdict"] == "PASS":
            wrong["missed"].append(f"- {each.number}: {each.name} ({over:.2f} times what is allowed)")
        elif over <= 1 and each.honest and told["verdict"] in BLOCKS:
            wrong["blocked falsely"].append(f"- {each.number}: {each.name}: {(told['blocking'] or ['?'])[0]}")
    for what, lines in wrong.items():
        yield f"\nAt `balanced`, {what}:\n"
        yield from lines[:NAMED]


def _examples(examples: list[Outcome]) -> Iterator[str]:
    yield "| examples, by profile | honest and harmless, blocked | faults, passed | as expected |"
    yield "|:--|--:|--:|--:|"
    sure = [each for each in examples if not each.truth["debatable"]]
    for profile in PROFILES:
        good = [each for each in sure if each.honest]
        bad = [each for each in sure if "PASS" not in each.truth["expected"]]
        right = sum(_said(each, profile, "verdict") in each.truth["expected"] for each in sure)
        cells = [_share(sum(_said(each, profile, "verdict") in BLOCKS for each in good), len(good)),
                 _share(sum(_said(each, profile, "verdict") == "PASS" for each in bad), len(bad)),
                 f"{right} of {len(sure)}"]  # fmt: skip
        yield "| " + " | ".join([profile, *cells]) + " |"
    off = [each for each in sure if _said(each, "balanced", "verdict") not in each.truth["expected"]]
    for each in off:
        yield f"\n{each.name}: {_said(each, 'balanced', 'verdict')} where {' or '.join(each.truth['expected'])} is expected."


def _flips(outcomes: list[Outcome]) -> Iterator[str]:
    yield "| the first run (2 threads) against | cases | verdicts that flip, in any profile | cases with a figure that moves |"
    yield "|:--|--:|--:|--:|"
    names = dict.fromkeys(name for each in outcomes for name in list(each.runs)[1:])
    for name in names:
        held = [each for each in outcomes if name in each.runs]
        flipped = [each for each in held if name in each.flips]
        moved = sum(bool(each.moved.get(name)) for each in held)
        yield f"| {name} | {len(held)} | {_share(len(flipped), len(held))} | {moved} |"
        for each in flipped:
            yield f"\n{each.number}: {each.name} flips with {name}."
