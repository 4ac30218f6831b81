"""Which machine measured, and which machines measure alike."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from qgate.report.provenance import build_provenance, isa_class, read_cpu

V3 = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "sse4_2"]
V4 = [*V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", [], "x86-64"),
        ("x86_64", ["sse4_2"], "x86-64-v2"),
        ("x86_64", V3, "x86-64-v3"),
        ("AMD64", [*V3, "avx_vnni"], "x86-64-v3-vnni"),
        ("x86_64", V4, "x86-64-v4"),
        ("x86_64", [*V4, "avx512_vnni"], "x86-64-v4-vnni"),
        ("x86_64", [*V4, "avx512_vnni", "amx_int8"], "x86-64-v4-amx"),
        ("aarch64", [], "arm64"),
        ("arm64", ["asimddp"], "arm64-dotprod"),
        ("aarch64", ["asimddp", "i8mm"], "arm64-i8mm"),
        ("riscv64", ["v"], "riscv64"),
    ],
)
def test_isa_class(machine: str, flags: list[str], expected: str) -> None:
    assert isa_class(flags, machine) == expected


def test_cpuinfo_of_x86_and_arm(tmp_path: Path) -> None:
    x86 = tmp_path / "x86"
    x86.write_text("processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu avx2 avx\n\nprocessor\t: 1\n")
    assert read_cpu(x86) == ("Fast One", ("avx", "avx2"))
    arm = tmp_path / "arm"
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n")
    assert read_cpu(arm)[1] == ("asimd", "asimddp")


def test_no_cpuinfo(tmp_path: Path) -> None:
    assert read_cpu(tmp_path / "nowhere")[1] == ()
    (tmp_path / "empty").write_bytes(b"\xff\n")
    assert read_cpu(tmp_path / "empty")[1] == ()


def test_provenance_of_this_process() -> None:
    found = build_provenance(head_sha="a" * 40, now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert found.generated_at == "2026-01-02T03:04:05Z"
    assert found.isa
    assert {"python", "qgate", "onnxruntime"} <= set(found.versions)
