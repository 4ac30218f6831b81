"""Who measured, with what, on which machine, for which commits."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import qgate
from qgate.report.schema import Provenance

_PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "torchao")
# What a quantized kernel is chosen by, on x86-64 and on arm64.
_FLAG_NAMES = (
    "sse4_1 sse4_2 ssse3 avx f16c fma avx2 bmi1 bmi2 movbe avx512f avx512bw avx512cd avx512dq avx512vl "
    "avx512_vnni avx512_bf16 avx512_fp16 avx_vnni avx_vnni_int8 amx_tile amx_int8 amx_bf16 "
    "asimd asimddp asimdhp i8mm bf16 sve sve2 sme"
)
_FLAGS = frozenset(_FLAG_NAMES.split())
_V3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma"))
_V4 = frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"))


def read_cpu(path: Path = Path("/proc/cpuinfo")) -> tuple[str, tuple[str, ...]]:
    """Name of the first processor and those of its flags that choose quantized kernels, sorted.

    Empty where the system does not tell.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor(), ()
    fields: dict[str, str] = {}
    for line in text.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    name = fields.get("model name") or platform.processor()
    return name[:200], tuple(sorted(flags & _FLAGS))


def isa_class(flags: Iterable[str], machine: str | None = None) -> str:
    """The class of processors within which integer kernels give comparable numbers.

    Args:
        flags: Processor flags as the kernel names them.
        machine: ``x86_64``, ``aarch64``, ...; this machine's if None.

    Returns:
        The micro-architecture level of the x86-64 psABI with the dot-product extension in use, for
        example ``x86-64-v4-vnni``, ``x86-64-v3``; ``arm64``, ``arm64-dotprod``, ``arm64-i8mm``; else the
        machine's own name.
    """
    have = set(flags)
    name = (machine or platform.machine()).lower()
    if name in ("x86_64", "amd64"):
        return _x86_class(have)
    if name in ("aarch64", "arm64"):
        # Apple's kernel names no flags here; every Apple processor that runs this has the dot product.
        return "arm64-i8mm" if "i8mm" in have else "arm64-dotprod" if "asimddp" in have else "arm64"
    return name or "unknown"


def _x86_class(have: set[str]) -> str:
    if "amx_int8" in have:
        return "x86-64-v4-amx"
    if have >= _V3 | _V4:
        return "x86-64-v4-vnni" if "avx512_vnni" in have else "x86-64-v4"
    if have >= _V3:
        return "x86-64-v3-vnni" if "avx_vnni" in have else "x86-64-v3"
    return "x86-64-v2" if "sse4_2" in have else "x86-64"


def package_versions() -> dict[str, str]:
    """Versions of Python and of what measures, from their metadata; nothing is imported."""
    found = {"python": ".".join(map(str, sys.version_info[:3])), "qgate": qgate.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def build_provenance(
    *,
    seed: int = 0,
    repository: str | None = None,
    event: str | None = None,
    pull_request: int | None = None,
    base_sha: str | None = None,
    head_sha: str | None = None,
    merge_sha: str | None = None,
    run_url: str | None = None,
    now: datetime | None = None,
) -> Provenance:
    """Provenance of this process on this machine for these commits."""
    cpu, flags = read_cpu()
    at = (now or datetime.now(UTC)).astimezone(UTC)
    return Provenance(
        tool=f"qgate {qgate.__version__}",
        versions=package_versions(),
        cpu=cpu,
        cpu_flags=flags,
        isa=isa_class(flags),
        seed=seed,
        repository=repository,
        event=event,
        pull_request=pull_request,
        base_sha=base_sha,
        head_sha=head_sha,
        merge_sha=merge_sha,
        run_url=run_url,
        generated_at=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
