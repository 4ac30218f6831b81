"""DEP: will it run where it is deployed, and compute the same there? (可部署性)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qgate.records import EXPLAINED_BY, Finding, Measurement, Place, Severity, Verdict
from qgate.rules.base import Param, RuleContext, rule

AVX2 = "avx2"
"""The runtime that saturates; what it gives is judged by DEP302 alone."""


_SEVEN_BITS = (
    "Quantize weights to 7 bits with `reduce_range=True`, or let the gate run on a processor with VNNI"
)
"""What helps where saturation is the cause."""


def lint_rule(runtime: str, kind: str) -> Callable[[RuleContext], Iterator[Finding]]:
    """The check of a rule on one kind of fact; what a runtime is known to refuse is an error whatever the rule's weight."""

    def check(context: RuleContext) -> Iterator[Finding]:
        for found in context.all(f"deploy.{runtime}.{kind}"):
            count = found.number
            more = f" (and {count - 1:.0f} more nodes)" if count > 1 else ""
            yield context.finding(
                f"{found.detail.get('message', kind)}{more}",
                at=found.at,
                evidence={"nodes": found.detail.get("nodes", []), "count": count},
                severity=Severity.ERROR if found.detail.get("refused") is True else None,
            )

    return check


def _unread(context: RuleContext) -> Iterator[Finding]:
    for runtime in ("tensorrt", "openvino", "torch"):
        for found in context.all(f"deploy.{runtime}"):
            if found.value is None:
                yield context.finding(
                    f"nothing can be said about {runtime}: {found.not_measured}",
                    evidence={"runtime": runtime, "reason": found.not_measured},
                    remedy="Take torch from `runtimes` (--runtime), or give the PyTorch file"
                    if runtime == "torch"
                    else None,
                )


def _ran(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("runtime.ran"):
        if found.value is not True:
            refused = found.detail.get("cause") == "refused"
            extra = found.detail.get("extra", "")
            yield context.finding(
                f"it did not run in {found.at.runtime}: {found.not_measured or 'it says so itself'}",
                at=found.at,
                evidence=found.detail,
                effect=Verdict.FAIL if refused else Verdict.ERROR,
                remedy=f"Install it (pip install 'qgate[{extra}]'), or take it from `runtimes`"
                if found.detail.get("cause") == "absent"
                else None,
            )
    unread = {
        name for name in ("torch",) if any(m.value is None for m in context.all(f"deploy.{name}"))
    }  # DEP200
    told = unread | {
        found.at.runtime for found in (*context.all("runtime.ran"), *context.all("tensorrt.parsed"))
    }
    declared = context.declared.get("runtimes")
    for name in declared if isinstance(declared, list | tuple) and context.declared.get("ran") else ():
        if name not in ("onnxruntime", *told):
            yield context.finding(
                f"nothing was measured of {name}, where it must run",
                at=Place(runtime=str(name)),
                effect=Verdict.ERROR,
            )


def _agree(context: RuleContext) -> Iterator[Finding]:
    most, ratio = context.limit("max_steps"), context.limit("max_ratio")
    for found in context.all("runtime.lsb"):
        if AVX2 in str(found.at.runtime).split():  # DEP302
            continue
        if found.value is None:
            yield context.finding(f"{found.at.runtime} cannot be compared: {found.not_measured}", at=found.at)
            continue
        rms, own = number(found.detail.get("rms")), number(found.detail.get("own_rms"))
        if found.number <= most or rms <= ratio * own:
            continue
        place = parting(context, found.at.runtime)
        excuse, effect, cause = _excuse(context, found)
        against = f", {rms / own:.3g} times what quantization itself costs" if 0 < own < float("inf") else ""
        yield context.finding(
            f"{found.at.runtime} differ by {found.number:.4g} steps of the output (rms {rms:.3g}{against}){place}{excuse}",
            at=found.at,
            evidence={"steps": found.number, "limit": most, **found.detail, **cause},
            effect=effect,
            remedy=_SEVEN_BITS if cause else None,
        )


def parting(context: RuleContext, runtime: str | None) -> str:
    """Where two runtimes part, in words; empty where nobody looked."""
    for found in context.all("runtime.parting"):
        if found.at.runtime == runtime and found.value is not None:
            return f"; they part first at {found.at.node}, by {found.number:.4g} steps"
        if found.at.runtime == runtime:
            return f"; where they part cannot be said: {found.not_measured}"
    return ""


def _excuse(context: RuleContext, found: Measurement) -> tuple[str, Verdict, dict[str, str]]:
    """What a disagreement proves: nothing where this processor saturates and the target's need not.

    Returns:
        What the message says of it, the effect, and the cause as evidence.
    """
    layers = [each for each in context.all("deploy.avx2.saturating") if each.value is not None]
    if found.detail.get("saturates") is not True or not layers:
        return "", Verdict.FAIL, {}
    told, cause = (
        "; this processor has no VNNI and other runtimes saturate on it (DEP301)",
        {EXPLAINED_BY: "DEP301"},
    )
    if context.declared.get("deploy") == "avx2":
        return told, Verdict.FAIL, cause
    return f"{told}, so that it proves nothing of others", Verdict.INCONCLUSIVE, cause


def number(value: object) -> float:
    """A number of a measurement's detail, NaN where it is none."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _kept(context: RuleContext) -> Iterator[Finding]:
    drop, enough = context.limit("max_drop"), context.limit("min_db")
    for found in context.all("runtime.sqnr_db"):
        if found.at.runtime == AVX2:
            continue
        usual = number(found.detail.get("onnxruntime_db"))
        if found.value is None:
            yield context.finding(
                f"{found.at.runtime} cannot be compared with the reference: {found.not_measured}", at=found.at
            )
            continue
        excuse, effect, cause = _excuse(context, found)
        if not (found.number >= enough or usual - found.number <= drop or found.number >= usual):
            yield context.finding(
                f"in {found.at.runtime} the output keeps {found.number:.3g} dB of the reference, in ONNX Runtime {usual:.3g} dB"
                f"{parting(context, f'onnxruntime and {found.at.runtime}')}{excuse}",
                at=found.at,
                evidence={"value": found.number, "onnxruntime_db": usual, "limit": drop, **cause},
                effect=effect,
                remedy=_SEVEN_BITS if cause else None,
            )


RULES = (
    rule(
        "DEP200",
        "A declared runtime can read the candidate's format",
        why="What a runtime never saw must not pass for it.",
        how="The file's format, for each runtime in `runtimes`.",
        remedy="Export the candidate to ONNX, or take the runtime from `runtimes`",
        pair_remedy="Export the candidate to ONNX, or leave that --runtime out",
        check=_unread,
    ),
    rule(
        "DEP201",
        "The candidate runs in every declared runtime",
        why="A runtime that is declared and was not tried would pass for one that works.",
        how="Each runtime in `runtimes` gets a process of its own in the sandbox, and the inputs of ONNX Runtime (the "
        "first 32). FAIL where it refuses the candidate, ERROR where it is not installed or crashes.",
        remedy="Export for the runtime, or take it from `runtimes`",
        pair_remedy="Export for the runtime, or leave that --runtime out",
        check=_ran,
    ),
    rule(
        "DEP202",
        "Runtimes compute the same",
        why="A model that is right in one runtime can be garbage in another that loads it without a word.",
        how="Greatest difference of an output element between two runtimes, in steps: of the quantizer that stands before the "
        "output, otherwise of the reference's range over 255. Rounding falls differently in runtimes and deep models "
        "carry that on, so that more steps are allowed as long as the rms difference is no more than `max_ratio` times what "
        "quantization costs (the rms difference of ONNX Runtime's answers from the reference). The first tensor that differs "
        "by more than a step is named, from further runs on the first sample that hand one inner tensor back each. INCONCLUSIVE "
        "where weights can saturate and this processor has no VNNI: OpenVINO saturates there and nowhere else.",
        remedy="Look at the node where they part, and leave that layer in float or export it in another form",
        params=(
            Param("max_steps", "Steps that are always allowed.", 1.5, 2.0, 4.0, unit="steps"),
            Param(
                "max_ratio",
                "Largest rms difference, in multiples of what quantization costs.",
                1.0,
                1.5,
                3.0,
                unit="ratio",
            ),
        ),
        check=_agree,
    ),
    rule(
        "DEP203",
        "Each runtime stays as near to the reference",
        why="Two runtimes may differ because one of them is better; what counts is the reference.",
        how="SQNR of the candidate's outputs there, the reference in ONNX Runtime is the signal, beside the candidate's in ONNX "
        "Runtime.",
        remedy="Look at the node where they part, and leave that layer in float or export it in another form",
        params=(
            Param("max_drop", "Largest loss against ONNX Runtime.", 3.0, 6.0, 12.0, unit="dB"),
            Param("min_db", "What is always enough.", 50.0, 40.0, 30.0, unit="dB"),
        ),
        check=_kept,
    ),
    rule(
        "DEP211",
        "OpenVINO: no codes of 16 bits",
        why="int16 and uint16 QuantizeLinear give other numbers in OpenVINO with no message, or end the process.",
        how="Read from the graph, for targets that declare `openvino` in `runtimes`; seen with OpenVINO 2026.4 on a CPU.",
        remedy="Quantize activations to 8 bits for OpenVINO",
        check=lint_rule("openvino", "int16"),
    ),
    rule(
        "DEP212",
        "OpenVINO: no operator computes with codes",
        why="OpenVINO converts QGemm and QLinearConv with a scale for each channel not at all.",
        how="Read from the graph, for targets that declare `openvino` in `runtimes`; seen with OpenVINO 2026.4.",
        remedy="Export with QuantizeLinear and DequantizeLinear (`quant_format=QuantFormat.QDQ`)",
        severity=("warning", "warning", "note"),
        check=lint_rule("openvino", "operator"),
    ),
)
