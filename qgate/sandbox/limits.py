"""What the child process may use. Standard library only: both sides of the sandbox import it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from qgate.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What one sandboxed child is held to; each resource is enforced by the kernel or by the parent's clock.

    Args:
        memory_mb: Address space in MiB (``RLIMIT_AS``), shared libraries and thread stacks included.
        cpu_seconds: Processor time of all threads together (``RLIMIT_CPU``).
        wall_seconds: Time by the clock, after which the parent kills the child's process group.
        file_mb: Size in MiB of any file that the child writes (``RLIMIT_FSIZE``).
        open_files: Open descriptors (``RLIMIT_NOFILE``).
        reduced: A run goes on where the kernel has no Landlock or no seccomp, and says so.
        devices: A GPU must be reached, which Landlock, seccomp and a limit on address space all prevent: they are left
            out, and the run says so. Only with ``reduced``.
        emulated: The process runs on an emulated processor (``sandbox.emulation``), whose kernel calls know neither wall:
            they are left out, and so is the limit on address space. Only with ``reduced``.

    Raises:
        UsageError: A limit is not positive; the kernel would take a negative one for no limit.
    """

    memory_mb: int = 8192
    cpu_seconds: int = 1800
    wall_seconds: float = 1800.0
    file_mb: int = 64
    open_files: int = 256
    reduced: bool = False
    devices: bool = False
    emulated: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name not in ("reduced", "devices", "emulated") and not getattr(self, each.name) > 0:
                raise UsageError(f"limits.{each.name} is not positive", remedy="Give a positive number")
        if (self.devices or self.emulated) and not self.reduced:
            what = "a GPU cannot be reached" if self.devices else "a processor cannot be emulated"
            raise UsageError(
                f"{what} from within the sandbox",
                remedy="Accept less with `sandbox: reduced` in the base branch's policy (one pair: --sandbox reduced)",
            )
