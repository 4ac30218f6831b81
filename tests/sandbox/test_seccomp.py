"""The filter as a program, run here for both machines; the kernel runs it in ``test_confined.py``."""

import ctypes
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.sandbox import seccomp, syscalls
from qgate.sandbox.syscalls import AARCH64, X86_64

PID = 4711
ARCHITECTURES = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}
COLUMN = {X86_64: 0, AARCH64: 1}
CALLS = {**syscalls.ALLOWED, **syscalls.CONDITIONAL, **syscalls.FATAL, **syscalls.ABSENT}


def evaluate(program, architecture, number, arguments):
    """What the kernel answers: classic BPF as seccomp(2) has it, each instruction at most once."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *arguments)
    accumulator, position = 0, 0
    while True:
        operation, if_so, if_not, operand = program[position]
        position += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x06:
            return operand
        else:
            holds = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x35: accumulator >= operand,
            }[operation]
            position += if_so if holds else if_not


def answer(machine, number, *arguments):
    program = seccomp.program(machine, PID)
    return evaluate(program, ARCHITECTURES[machine], number, (*arguments, *(0,) * (6 - len(arguments))))


def expected(machine, number):
    """What is decided by the number alone, said again without a program."""
    by_number = {numbers[COLUMN[machine]]: name for name, numbers in CALLS.items()}
    name = by_number.get(number)
    if number >= 0x40000000 or name in syscalls.FATAL:
        return seccomp.KILL
    if name in syscalls.ALLOWED:
        return seccomp.ALLOW
    if name in syscalls.CONDITIONAL:
        return None
    return seccomp.UNKNOWN if name in syscalls.ABSENT or number > syscalls.HIGHEST else seccomp.REFUSE


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_number_is_answered_as_listed(machine):
    for number in (*range(1000), 0x3FFFFFFF, 0x40000000, 0x40000027, 0x7FFFFFFF, 0xFFFFFFFF):
        wanted = expected(machine, number)
        if wanted is not None:
            assert answer(machine, number) == wanted, number


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("architecture", [0x40000003, 0x40000028, 0, 0xFFFFFFFF, 0xC000003E, 0xC00000B7])
def test_calls_of_another_machine_end_the_process(machine, architecture):
    program = seccomp.program(machine, PID)
    for number in (0, 1, 56, 63, 220):  # none of these is fatal on its own machine
        found = evaluate(program, architecture, number, (0,) * 6)
        assert (found == seccomp.KILL) == (architecture != ARCHITECTURES[machine])


THREAD = 0x3D0F00  # what glibc asks for
CONDITIONS = [
    ("openat", (0, 0, os.O_RDONLY), True),
    ("openat", (0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NONBLOCK | os.O_NOFOLLOW), True),
    ("openat", (0, 0, 0o100000), True),  # O_LARGEFILE
    *(("openat", (0, 0, flag), False) for flag in (os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_CREAT)),
    *(("openat", (0, 0, flag), False) for flag in (os.O_APPEND, os.O_TMPFILE, os.O_PATH, os.O_ASYNC, 3)),
    ("openat", (0, 0, os.O_RDONLY | 1 << 32), True),  # the kernel looks at 32 bits, as the filter does
    ("open", (0, os.O_RDONLY), True),
    ("open", (0, os.O_RDWR), False),
    ("clone", (THREAD,), True),
    ("clone", (THREAD & ~0x10000,), False),
    ("clone", (THREAD & ~0x100,), False),
    ("clone", (17,), False),
    *(("clone", (THREAD | flag,), False) for flag in (0x2000, 0x4000, 0x1000, 0x800000)),
    *(("clone", (THREAD | 1 << bit,), False) for bit in (17, 25, 26, 27, 28, 29, 30)),
    ("ioctl", (0, 0x5401), True),
    ("ioctl", (0, 0x5412), False),
    ("ioctl", (0, 0x8901), False),
    ("ioctl", (0, 0x5401 | 1 << 32), True),
    ("fcntl", (0, 1), True),
    ("fcntl", (0, 1030), True),
    *(("fcntl", (0, command), False) for command in (8, 10, 15, 1024, 1031, 1033)),
    ("prctl", (15,), True),
    ("prctl", (0x53564D41,), True),
    *(("prctl", (option,), False) for option in (1, 4, 22, 24, 35, 36, 38, 0x59616D61)),
    ("arch_prctl", (0x1023,), True),
    ("arch_prctl", (0x1002,), False),
    ("tgkill", (PID, 1, 6), True),
    ("tgkill", (PID - 1, 1, 6), False),
    ("tgkill", (1, 1, 6), False),
    ("prlimit64", (0, 7, 0, 1), True),
    ("prlimit64", (PID, 7, 0, 1), True),
    ("prlimit64", (1, 7, 0, 1), False),
    ("prlimit64", (0, 7, 1, 1), False),
    ("prlimit64", (0, 7, 1 << 32, 1), False),
]


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize(("name", "arguments", "allowed"), CONDITIONS)
def test_arguments_decide(machine, name, arguments, allowed):
    number = syscalls.CONDITIONAL[name][COLUMN[machine]]
    if number < 0:
        assert (machine, name) in {(AARCH64, "open"), (AARCH64, "arch_prctl")}
        return
    assert answer(machine, number, *arguments) == (seccomp.ALLOW if allowed else seccomp.REFUSE)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ARCHITECTURES)),
    st.sampled_from(sorted(syscalls.CONDITIONAL)),
    st.tuples(*[st.integers(0, 2**64 - 1) | st.integers(0, 5000)] * 6),
)
def test_arguments_decide_as_the_conditions_say(machine, name, arguments):
    number = syscalls.CONDITIONAL[name][COLUMN[machine]]
    if number < 0:
        return
    held = True
    for condition in syscalls.conditions(PID)[name]:
        value = arguments[condition.argument]
        if isinstance(condition, syscalls.OneOf):
            held &= value & 0xFFFFFFFF in condition.values
        elif isinstance(condition, syscalls.Masked):
            held &= value & condition.mask == condition.wanted
        else:
            held &= value == 0
    assert answer(machine, number, *arguments) == (seccomp.ALLOW if held else seccomp.REFUSE)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_kernel_would_take_the_program(machine):
    program = seccomp.program(machine, PID)
    assert len(program) <= 4096  # BPF_MAXINSNS
    for position, (operation, if_so, if_not, operand) in enumerate(program):
        assert operation in (0x20, 0x54, 0x06, 0x15, 0x25, 0x35)
        assert 0 <= operand < 2**32
        assert max(if_so, if_not) < 256
        if operation != 0x06:
            assert position + 1 + max(if_so, if_not) < len(program)
        if operation == 0x20:
            assert operand % 4 == 0
            assert operand < 64


def test_no_call_stands_in_two_lists():
    lists = (syscalls.ALLOWED, syscalls.CONDITIONAL, syscalls.FATAL, syscalls.ABSENT)
    assert sum(map(len, lists)) == len(CALLS)
    for column in COLUMN.values():
        numbers = [each[column] for each in CALLS.values() if each[column] >= 0]
        assert len(numbers) == len(set(numbers))
        assert max(numbers) <= syscalls.HIGHEST


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_are_those_of_libseccomp(machine):
    """Judged by the tables of an independent library, where this machine has it."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    resolve = library.seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    for name, numbers in CALLS.items():
        found = resolve(ARCHITECTURES[machine], name.encode())
        assert max(found, -1) == numbers[COLUMN[machine]], name


def test_a_machine_without_a_list_is_refused(monkeypatch):
    names = os.uname()
    for name in ("riscv64", "i686", "armv7l", "s390x"):
        other = os.uname_result((*names[:4], name))
        monkeypatch.setattr(os, "uname", lambda other=other: other)
        with pytest.raises(OSError, match="no list of system calls"):
            seccomp.machine()
