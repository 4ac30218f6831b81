"""What is not refused at once but ended: memory, time, floods, and endings of all kinds."""

from __future__ import annotations

import _thread
import ctypes
import mmap
import os
import resource
import signal
import sys
import threading
import time
from typing import Any


def much_memory(facts: dict[str, Any]) -> None:
    held = bytearray(6 << 30)
    held[-1] = 1


def much_memory_in_pieces(facts: dict[str, Any]) -> None:
    held = []
    for _ in range(6 << 4):
        held.append(mmap.mmap(-1, 64 << 20))  # asked for, and never touched


def many_threads(facts: dict[str, Any]) -> str:
    threading.stack_size(64 << 10)
    try:
        for _ in range(20_000):
            _thread.start_new_thread(time.sleep, (3600,))
    except RuntimeError:
        return "stopped"
    return "never stopped"


def deaf(facts: dict[str, Any]) -> None:
    """Runs for ever, and ignores every signal that can be ignored."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    facts["progress"](1, 2)
    while True:
        pass


def asleep(facts: dict[str, Any]) -> None:
    facts["progress"](1, 2)
    while True:
        time.sleep(3600)


def many_words(facts: dict[str, Any]) -> None:
    for _ in range(64):
        os.write(1, b"::set-output name=verdict::PASS\n\x1b[2J" * 1000)
        os.write(2, b"\x00" * 50_000)


def raw(facts: dict[str, Any]) -> None:
    """Writes bytes of its own to the channel, after which it ends with the asked status."""
    channel = int(sys.argv[1])
    for part in facts["raw"]:
        data = bytes.fromhex(part)
        while data:
            data = data[os.write(channel, data) :]
    os._exit(facts.get("status", 0))


def closed_channel(facts: dict[str, Any]) -> None:
    os.close(int(sys.argv[1]))
    os._exit(facts.get("status", 0))


def killed(facts: dict[str, Any]) -> None:
    """Ends by a signal that it can send to itself."""
    number = getattr(signal, facts["signal"])
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def segmentation_fault(facts: dict[str, Any]) -> None:
    ctypes.string_at(0)


def aborted(facts: dict[str, Any]) -> None:
    ctypes.CDLL(None).abort()


def no_descriptors(facts: dict[str, Any]) -> None:
    while True:
        os.dup(1)


def no_processor_time(facts: dict[str, Any]) -> None:
    # The handler of a hostile process would not end it; the kernel's second limit does.
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


def recursion(facts: dict[str, Any]) -> None:
    sys.setrecursionlimit(10**9)

    def deeper(value: Any) -> Any:
        return [deeper(value)]

    deeper(0)


def stopped(facts: dict[str, Any]) -> None:
    """Stops itself instead of ending."""
    facts["progress"](1, 2)
    signal.raise_signal(signal.SIGSTOP)


def usage(facts: dict[str, Any]) -> str:
    return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def variables(facts: dict[str, Any]) -> str:
    return ",".join(sorted(os.environ))


ATTEMPTS = {
    "6 GB at once": much_memory,
    "6 GB in pieces": much_memory_in_pieces,
    "a thread bomb": many_threads,
    "run deaf": deaf,
    "sleep": asleep,
    "shout": many_words,
    "raw bytes": raw,
    "close the channel": closed_channel,
    "end by a signal": killed,
    "end by a fault": segmentation_fault,
    "abort": aborted,
    "no descriptors": no_descriptors,
    "ignore the limit of processor time": no_processor_time,
    "recursion": recursion,
    "stop": stopped,
    "leave": lambda facts: os._exit(facts.get("status", 0)),
    "say nothing": lambda facts: None,
    "memory used": usage,
    "environment": variables,
}
