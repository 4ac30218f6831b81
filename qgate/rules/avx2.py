"""DEP: AVX2 without VNNI, where sums of two products of bytes saturate: from the file, and run there."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Severity, Verdict
from qgate.rules.base import Param, RuleContext, rule
from qgate.rules.deployability import AVX2, number, parting

_WITHOUT = "on AVX2 without VNNI, session.x64quantprecision not set, "


def _severity(context: RuleContext) -> Severity | None:
    """The rule's own where the target is served there, a note else."""
    return None if context.declared.get("deploy") == "avx2" else Severity.NOTE


def _saturation(context: RuleContext) -> Iterator[Finding]:
    unread = [found for found in context.all("deploy.avx2") if found.value is None]
    if unread and context.declared.get("deploy") == "avx2":
        yield context.finding(
            f"whether products saturate on AVX2, where it is served, was not checked: {unread[0].not_measured}",
            effect=Verdict.INCONCLUSIVE,
            remedy="Export the candidate to ONNX, or take `deploy: avx2` (--deploy) from the target",
        )
    for found in context.all("deploy.avx2.saturating"):
        detail = found.detail
        yield context.finding(
            f"products of {found.number:.0f} layers can saturate on processors with AVX2 and no VNNI (here {detail.get('pairs')} "
            f"of {detail.get('of')} pairs of weights)",
            at=found.at,
            evidence={"layers": found.number, **detail},
            severity=_severity(context),
        )


def _saturated(context: RuleContext) -> Iterator[Finding]:
    most, ratio = context.limit("max_steps"), context.limit("max_ratio")
    for found in context.all("runtime.lsb"):
        if AVX2 not in str(found.at.runtime).split():
            continue
        if found.value is None:
            yield context.finding(
                f"{_WITHOUT}the outputs cannot be compared: {found.not_measured}",
                at=found.at,
                severity=_severity(context),
            )
            continue
        rms, own = number(found.detail.get("rms")), number(found.detail.get("own_rms"))
        if found.number <= most or rms <= ratio * own:
            continue
        yield context.finding(
            f"{_WITHOUT}the output differs by {found.number:.4g} steps (rms {rms:.3g}){_kept(context, found.at.output)}"
            f"{parting(context, found.at.runtime)}",
            at=found.at,
            evidence={"steps": found.number, "limit": most, **found.detail},
            severity=_severity(context),
        )


def _kept(context: RuleContext, output: str | None) -> str:
    """What is left of the reference without exact products, and with them."""
    for found in context.all("runtime.sqnr_db"):
        if found.at.runtime == AVX2 and found.at.output == output and found.value is not None:
            usual = number(found.detail.get("onnxruntime_db"))
            return f" and keeps {found.number:.3g} dB of the reference instead of {usual:.3g} dB"
    return ""


RULES = (
    rule(
        "DEP301",
        "Integer products do not saturate on AVX2",
        why="The same int8 file gives other answers on processors with AVX2 and no VNNI: sums of two products saturate in 16 "
        "bits (40.6 dB became 24.9 dB in a measured case). qgate itself runs with `session.x64quantprecision=1`, which "
        "avoids it.",
        how="Pairs (a, b) of neighbouring int8 weights with 255 (max(a,0) + max(b,0)) > 32767, or the negative case; a layer "
        "counts where there is one. It blocks where the policy declares `deploy: avx2`, and is a note else. Only ONNX models are "
        "looked at: any other candidate of a target with `deploy: avx2` is INCONCLUSIVE. Source: "
        "[reduce_range](https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html), ONNX Runtime.",
        remedy="Quantize weights to 7 bits with `reduce_range=True`, or set `session.x64quantprecision` to 1 where it runs",
        check=_saturation,
    ),
    rule(
        "DEP302",
        "Run on AVX2 without exact products, the candidate answers the same",
        why="Whether weights that can saturate do so depends on the activations, and only a run tells.",
        how="Where `avx2` is in `runtimes`: ONNX Runtime without `session.x64quantprecision`, on this processor where it has "
        "AVX2 and no VNNI, else on one that QEMU emulates (`-cpu Haswell-noTSX`, with `sandbox: reduced`). The outputs are "
        "held against those with exact products, as for DEP202. It blocks where the policy declares `deploy: avx2`, and is a "
        "note else.",
        remedy="Quantize weights to 7 bits with `reduce_range=True`, or set `session.x64quantprecision` to 1 where it runs",
        params=(
            Param("max_steps", "Steps that are always allowed.", 1.5, 2.0, 4.0, unit="steps"),
            Param("max_ratio", "Largest rms difference, in multiples of what quantization costs.", 0.5, 1.0, 2.0, unit="ratio"),
        ),
        check=_saturated,
    ),
)  # fmt: skip
