"""Reports written by hand: what every renderer must show well."""

from __future__ import annotations

from hashlib import sha256

from qgate.records import DataUsed, Finding, Limit, Measurement, Place, Severity, Verdict
from qgate.report.schema import (
    Artifact,
    BaselineUsed,
    Delta,
    PolicyUsed,
    Provenance,
    Report,
    Skipped,
    Summary,
    TargetReport,
)

MARKER = "<!-- qgate:comment:v1:verdict -->"
RUN = "https://github.com/acme/plates/actions/runs/42"
HEAD = "8f3c1d2ab4e5f60718293a4b5c6d7e8f90a1b2c3"
BASE = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d"


def provenance() -> Provenance:
    return Provenance(
        tool="qgate 0.1.0",
        versions={"onnxruntime": "1.23.2", "onnx": "1.19.0", "numpy": "2.3.4", "python": "3.11.9"},
        cpu="AMD EPYC 7763 64-Core Processor",
        cpu_flags=("avx", "avx2", "f16c", "fma"),
        isa="x86-64-v3",
        seed=20,
        repository="acme/plates",
        event="pull_request",
        pull_request=12,
        base_sha=BASE,
        head_sha=HEAD,
        run_url=RUN,
        generated_at="2026-11-20T10:00:00Z",
    )


def policy() -> PolicyUsed:
    return PolicyUsed(path="qgate.yml", revision=BASE, sha256="5a" * 32)


def measurements(
    sqnr: float = 28.34, agreement: float = 0.9821, drop: float = 0.003
) -> tuple[Measurement, ...]:
    scores = Place(output="scores")
    return (
        Measurement(name="quant.parameter_share", value=0.9912, unit="ratio"),
        Measurement(name="weight.sqnr_db", at=Place(tensor="conv1.weight"), value=38.21, unit="dB"),
        Measurement(name="weight.sqnr_db", at=Place(tensor="fc.weight"), value=41.7, unit="dB"),
        Measurement(name="output.sqnr_db", at=scores, value=sqnr, unit="dB", n=1797,
                    low=sqnr - 0.3, high=sqnr + 0.3),
        Measurement(name="output.cosine", at=scores, value=0.99931, n=1797),
        Measurement(name="output.relative_l2", at=scores, value=0.0383, n=1797),
        Measurement(name="output.top1_agreement", at=scores, value=agreement, unit="ratio", n=1797,
                    low=agreement - 0.007, high=min(1.0, agreement + 0.006)),
        Measurement(name="output.nonfinite_candidate", at=scores, value=0, n=1797),
        Measurement(name="task.metric_drop", value=drop, unit="ratio", n=1797,
                    low=drop - 0.004, high=drop + 0.005, detail={"metric": "top1"}),
        Measurement(name="task.slice_drop", at=Place(slice="country=de"),
                    not_measured="3 samples are too few"),
    )  # fmt: skip


def artifact(path: str, size: int) -> Artifact:
    digest = sha256(path.encode()).hexdigest()
    return Artifact(locator=path, format="onnx", sha256=digest, bytes=size, files={path: digest})


def target(
    name: str = "digits",
    verdict: Verdict = Verdict.PASS,
    reason: str = "everything that was asked holds",
    findings: tuple[Finding, ...] = (),
    measured: tuple[Measurement, ...] | None = None,
    deltas: tuple[Delta, ...] | None = None,
) -> TargetReport:
    same = Delta(name="output.sqnr_db", at="output scores", baseline=28.1, current=28.34, unit="dB")
    return TargetReport(
        name=name,
        verdict=verdict,
        reason=reason,
        profile="balanced",
        scheme="int8",
        candidate=artifact(f"models/{name}_int8.onnx", 274_321),
        reference=artifact(f"models/{name}_fp32.onnx", 1_012_004),
        data=DataUsed(origin="given", locator="data/digits.npz", sha256="c0ffee" * 10 + "c0de",
                      samples=1797, labels="y"),
        measurements=measurements() if measured is None else measured,
        findings=findings,
        thresholds={"FEA201": {"min_db": Limit(value=20.0, unit="dB", origin="built-in profile balanced")}},
        baseline=BaselineUsed(state="stored", path=f".qgate/baseline/{name}.json", deltas=deltas or (same,)),
        timings={"measure": 3.2},
    )  # fmt: skip


def report(*targets: TargetReport, headline: str, verdict: Verdict, **more: object) -> Report:
    count = {v: sum(t.verdict is v for t in targets) for v in Verdict}
    summary = Summary(
        headline=headline,
        targets=len(targets),
        passed=count[Verdict.PASS],
        failed=count[Verdict.FAIL],
        inconclusive=count[Verdict.INCONCLUSIVE],
        errors=count[Verdict.ERROR],
    )
    fields: dict[str, object] = {"policy": policy(), "provenance": provenance(), **more}
    return Report.model_validate(
        {"schema": "qgate-report/v1", "verdict": verdict, "summary": summary, "targets": targets, **fields}
    )


def passing() -> Report:
    warning = Finding(
        rule="RNG107",
        severity=Severity.WARNING,
        at=Place(tensor="fc.weight", node="/fc/MatMul"),
        message="The quantizer of fc.weight uses 61 % of its range, less than the 75 % asked for.",
        evidence={"used": 0.61, "limit": 0.75},
        remedy="Calibrate with symmetric ranges per channel.",
    )
    targets = (target("digits"), target("silero", findings=(warning,)))
    return report(
        *targets,
        headline="Both targets are what they claim to be.",
        verdict=Verdict.PASS,
        skipped=[Skipped(name="ppocr", reason="no file of it changed")],
    )


def untouched() -> Report:
    return report(
        headline="This change touches no target's model, data, policy or baseline.",
        verdict=Verdict.PASS,
        skipped=[Skipped(name=name, reason="no file of it changed") for name in ("digits", "silero")],
    )


def flip(position: int = 0) -> Finding:
    return Finding(
        rule="QNT203",
        severity=Severity.ERROR,
        effect=Verdict.FAIL,
        at=Place(tensor="conv1.weight_quantized", node="/conv1/Conv_quant", index=(3, 0, 1, position)),
        message="1 of 864 weights of conv1.weight_quantized cannot come from the reference: "
        "bit 7 of the stored int8 is flipped.",
        evidence={"stored": "0x81 (-127)", "expected": "0x01 (1)", "xor": "0x80", "scale": 0.0123456},
        remedy="Export the candidate again from the reference, or restore the file from its source: "
        "`git checkout origin/main -- models/digits_int8.onnx`.",
    )


def behaviour_failure() -> Finding:
    return Finding(
        rule="BEH301",
        severity=Severity.ERROR,
        effect=Verdict.FAIL,
        at=Place(output="scores"),
        message="top-1 falls by 8.1 pp (95 % interval 6.9 to 9.4 pp); at most 1 pp is allowed.",
        evidence={"drop": 0.081, "limit": 0.01, "samples": 1797},
        remedy="Repair the weights first; if they are right, calibrate with data like the task's.",
    )


def failing() -> Report:
    broken = target(
        "digits",
        Verdict.FAIL,
        "1 weight cannot come from the reference, and top-1 falls by 8.1 pp",
        (flip(), behaviour_failure(), *passing().targets[1].findings),
        measurements(sqnr=21.87, agreement=0.9032, drop=0.081),
        (
            Delta(
                name="output.sqnr_db", at="output scores", baseline=28.1, current=21.87, unit="dB", worse=True
            ),
            Delta(name="task.metric_drop", at="", baseline=0.003, current=0.081, unit="ratio", worse=True),
            Delta(name="task.class_recall_drop", at="slice label=3", baseline=0.01, current=None, gone=True),
        ),
    )
    return report(
        broken,
        target("silero"),
        headline="digits: one int8 weight of conv1.weight_quantized has a flipped bit, "
        "and top-1 falls by 8.1 pp.",
        verdict=Verdict.FAIL,
        skipped=[Skipped(name="ppocr", reason="no file of it changed")],
    )


def many_flips(count: int = 40) -> Report:
    broken = target("digits", Verdict.FAIL, f"{count} weights cannot come from the reference",
                    tuple(flip(i) for i in range(count)))  # fmt: skip
    return report(broken, headline=f"digits: {count} weights have a flipped bit.", verdict=Verdict.FAIL)


def inconclusive() -> Report:
    unapproved = Finding(
        rule="TRC106",
        severity=Severity.ERROR,
        effect=Verdict.INCONCLUSIVE,
        at=Place(file="models/digits_fp32.onnx"),
        message="The change replaces the reference of digits; the policy asks a maintainer to approve that.",
        remedy="Review the new reference, then set the label `qgate-approved`.",
    )
    return report(
        target("digits", Verdict.INCONCLUSIVE, "the new reference is not approved yet", (unapproved,)),
        headline="digits: the new reference is not approved yet.",
        verdict=Verdict.INCONCLUSIVE,
        notices=["The reference of digits changes: it was judged in full against the new one."],
        policy=PolicyUsed(
            path="qgate.yml",
            revision=BASE,
            sha256="5a" * 32,
            changes=("target digits: FEA201.min_db falls from 25 dB to 20 dB", "waiver of DEP104 added"),
        ),
    )


def error() -> Report:
    crashed = Finding(
        rule="ART104",
        severity=Severity.ERROR,
        effect=Verdict.ERROR,
        at=Place(file="models/digits_int8.onnx"),
        message="models/digits_int8.onnx is a Git LFS pointer, not a model.",
        evidence={"oid": "sha256:" + "ab" * 32, "size": 274321},
        remedy="Run `git lfs pull --include models/digits_int8.onnx`, or give the job's token read access.",
    )
    lost = target("digits", Verdict.ERROR, "the candidate could not be read", (crashed,), ())
    return report(
        lost.model_copy(update={"baseline": BaselineUsed(state="not-compared"), "scheme": None}),
        target("silero"),
        headline="digits could not be measured: its candidate is a Git LFS pointer.",
        verdict=Verdict.ERROR,
    )


def mixed(count: int = 300) -> Report:
    """Many targets of every verdict, 20 findings in each that fails."""

    def one(i: int) -> TargetReport:
        verdict = (Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR)[i % 5]
        if verdict is Verdict.PASS:
            return target(f"model-{i:03d}", findings=passing().targets[1].findings)
        found = tuple(flip(k).model_copy(update={"effect": verdict}) for k in range(20))
        return target(f"model-{i:03d}", verdict, f"20 findings in model-{i:03d}", found)

    return report(*map(one, range(count)), headline=f"{count * 3 // 5} of {count} targets do not pass.",
                  verdict=Verdict.ERROR)  # fmt: skip


HOSTILE = (
    "`evil` ```\n| a | b |\n<script>alert(1)</script> <!-- --> --> ![x](http://e.vil/a.png) "
    "[click](javascript:alert(1)) http://e.vil www.e.vil @octocat #12 acme/plates#12 GH-12 "
    f"{HEAD} 1234567 :tada: ::error::x\n::set-output name=a::b ##[error]x \x1b[31mred\x1b[0m "
    "\u202egnp.\u200bexe $a$ **bold** _it_ ~~s~~ \\` </details> [^1] <https://e.vil> a@e.vil &lt; 量化"
)


def hostile(text: str = HOSTILE) -> Report:
    """The same text wherever the record takes text."""
    found = tuple(
        Finding(
            rule=text if effect is Verdict.ERROR else "QNT203",
            severity=severity,
            effect=effect,
            at=Place(
                file=text, input=text, output=text, tensor=text, node=text, index=(1, 10**400), slice=text
            ),
            message=text,
            evidence={text: text, "stored": text, "expected": [text, {text: None}], "xor": 10**400},
            remedy=text,
            waived=waived,
        )
        for severity, effect, waived in (
            (Severity.ERROR, Verdict.ERROR, None),
            (Severity.ERROR, Verdict.FAIL, None),
            (Severity.ERROR, Verdict.FAIL, None),
            (Severity.WARNING, Verdict.PASS, None),
            (Severity.NOTE, Verdict.PASS, None),
            (Severity.ERROR, Verdict.FAIL, text),
        )
    )
    measured = (
        Measurement(
            name=text, at=Place(output=text), value=text, unit=text, n=10**30, detail={"metric": text}
        ),
        Measurement(
            name="task.metric_drop", value=0.1, unit=text, low=0.0, high=0.2, detail={"metric": text}
        ),
        Measurement(name="output.sqnr_db", at=Place(output=text), value=float("nan"), unit="dB"),
        Measurement(name="output.sqnr_db", at=Place(output=text), value=10**400, unit="dB"),
        Measurement(name=text, not_measured=text or "?"),
    )
    delta = Delta(name=text, at=text, baseline=text, current=10**400, unit=text, worse=True)
    victim = TargetReport(
        name=text,
        verdict=Verdict.ERROR,
        reason=text,
        profile=text,
        scheme=text,
        proposed=True,
        candidate=Artifact(locator=text, sha256=text, bytes=10**400, files={text: text}),
        reference=Artifact(locator=text, sha256=text, bytes=3),
        data=DataUsed(origin="given", locator=text, sha256=text, samples=10**400, seed=10**400, labels=text),
        measurements=measured,
        findings=found,
        thresholds={text: {text: Limit(value=text, unit=text, origin=text)}},
        baseline=BaselineUsed(state="stored", reason=text, path=text, sha256=text, deltas=(delta,)),
    )
    return report(
        victim,
        victim.model_copy(update={"verdict": Verdict.PASS}),
        headline=text,
        verdict=Verdict.ERROR,
        skipped=[Skipped(name=text, reason=text)],
        findings=found,
        notices=[text],
        policy=PolicyUsed(path=text, revision=text, sha256=text, changes=(text, text), approved_by=text),
        provenance=Provenance(
            tool=text, versions={text: text}, cpu=text, cpu_flags=(text,), isa=text, event=text,
            head_sha=text, base_sha=text, merge_sha=text, run_url=text, generated_at=text,
            pull_request=10**400,
        ),
    )  # fmt: skip
