"""CST: is it worth it?"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Place
from qgate.rules.base import Param, RuleContext, rule


def _size(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("scheme") == "none":
        return
    for found in context.all("artifact.size_ratio"):
        if not found.number <= context.limit("max_ratio"):
            yield context.finding(
                f"the file has {found.number:.0%} of the reference's size",
                at=Place(file="model"),
                evidence=found.detail,
            )


def _times(context: RuleContext) -> Iterator[Finding]:
    for name, what in (("cost.latency_ratio", "one sample"), ("cost.batch_time_ratio", "a batch")):
        for found in context.all(name):
            low = found.low if found.low is not None else found.number
            if found.value is None or low <= context.limit("max_ratio"):
                continue
            yield context.finding(
                f"{what} takes {found.number:.2f} times as long as in the reference "
                f"[{low:.2f}, {found.high or found.number:.2f}] in {found.n} turns",
                at=Place(file="model"),
                evidence={"ratio": found.number, "low": low, "high": found.high, **found.detail},
            )


def _worth(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("scheme") == "none":
        return
    sizes = [m for m in context.all("artifact.size_ratio") if m.value is not None]
    times = [m for m in context.all("cost.latency_ratio") if m.value is not None]
    times += [m for m in context.all("cost.batch_time_ratio") if m.value is not None]
    if not sizes or not times:
        return
    needed = 1 - context.limit("min_saving")
    size = min(m.number for m in sizes)
    high = min(m.high if m.high is not None else m.number for m in times)
    if size <= needed or high <= needed:
        return
    yield context.finding(
        f"it is neither smaller ({size:.0%} of the size) nor faster (at best {high:.2f} of the time)",
        at=Place(file="model"),
        evidence={"size_ratio": size, "time_ratio_high": high},
    )


def _memory(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("cost.memory_ratio"):
        if found.value is not None and not found.number <= context.limit("max_ratio"):
            yield context.finding(
                f"it takes {found.number:.2f} times the reference's memory",
                at=Place(file="model"),
                evidence=found.detail,
            )


def _load(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("cost.load_ratio"):
        longer = float(found.detail.get("candidate_s", 0.0)) - float(found.detail.get("reference_s", 0.0))
        if (
            found.value is None
            or found.number <= context.limit("max_ratio")
            or longer < context.limit("seconds")
        ):
            continue
        yield context.finding(
            f"it takes {found.number:.1f} times as long to load, {longer:.2g} s more",
            at=Place(file="model"),
            evidence=found.detail,
        )


RULES = (
    rule(
        "CST101",
        "The file is smaller than the reference",
        why="A quantized model that saves nothing costs accuracy for nothing.",
        how="Bytes of the model with its side files, against the reference's.",
        remedy="Remove full-precision copies; small models gain little from quantization",
        params=(Param("max_ratio", "Largest ratio of sizes.", 0.9, 1.0, 1.5, unit="ratio"),),
        severity=("warning", "warning", "note"),
        check=_size,
    ),
    rule(
        "CST102",
        "The model is not slower than the reference",
        why="Integer kernels that a processor lacks, and conversions between layers, make a quantized model slower.",
        how="Both models take turns on the same sample, and on the same batch, in one process; the median of the ratios of the "
        "turns with its 95 % interval from their order. Measured where `cost: full` is asked for; one machine's word.",
        remedy="Quantize the layers between quantized ones too, or choose a scheme that the processor has kernels for",
        params=(
            Param(
                "max_ratio",
                "Largest lower end of the interval of the ratio of times.",
                1.0,
                1.05,
                1.5,
                unit="ratio",
            ),
        ),
        severity=("warning", "warning", "note"),
        check=_times,
    ),
    rule(
        "CST103",
        "The model is smaller or faster than the reference",
        why="What is neither costs accuracy for nothing.",
        how="The ratio of sizes (CST101) and the upper end of the better ratio of times (CST102).",
        remedy="Ship the reference, or quantize more of it",
        params=(
            Param(
                "min_saving", "Smallest saving of size or time that counts.", 0.1, 0.05, 0.02, unit="ratio"
            ),
        ),
        severity=("warning", "warning", "note"),
        check=_worth,
    ),
    rule(
        "CST104",
        "The model takes no more memory than the reference",
        why="Weights that are dequantized when a session is made take the float's room again, beside their own.",
        how="Growth of the largest resident set of a fresh process that loads the model and runs one sample.",
        remedy="Look for weights that are dequantized at load time (weight-only schemes without a kernel)",
        params=(Param("max_ratio", "Largest ratio of memory.", 1.0, 1.25, 2.0, unit="ratio"),),
        severity=("warning", "warning", "note"),
        check=_memory,
    ),
    rule(
        "CST105",
        "The model loads about as fast as the reference",
        why="A server that starts on demand pays it with every start.",
        how="Seconds until a fresh process has loaded the model, once for each.",
        remedy="Store the model as the runtime optimises it, or quantize fewer small layers",
        params=(
            Param("max_ratio", "Largest ratio of load times.", 2.0, 3.0, 6.0, unit="ratio"),
            Param("seconds", "Longer by less than this is no matter.", 0.2, 0.5, 1.0, unit="s"),
        ),
        severity=("warning", "warning", "note"),
        check=_load,
    ),
)
