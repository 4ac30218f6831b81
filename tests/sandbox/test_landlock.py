"""What is asked of each version of Landlock; the kernel's own version is asked for real in ``test_confined.py``."""

import struct

import pytest

from qgate.sandbox import landlock

# Bits of include/uapi/linux/landlock.h, by the version that brought them.
FILES = {1: range(13), 2: [13], 3: [14], 5: [15]}
BY_VERSION = {
    abi: sum(1 << bit for since, bits in FILES.items() if since <= abi for bit in bits)
    for abi in range(1, 12)
}


@pytest.mark.parametrize("abi", BY_VERSION)
def test_all_that_a_version_can_refuse_is_refused(abi):
    files, network, scopes = landlock.handled(abi)
    assert files == BY_VERSION[abi]
    assert network == (3 if abi >= 4 else 0)
    assert scopes == (3 if abi >= 6 else 0)


@pytest.mark.parametrize(
    ("abi", "size"), [(1, 8), (2, 8), (3, 8), (4, 16), (5, 16), (6, 24), (7, 24), (9, 24)]
)
def test_attributes_are_as_long_as_the_version_knows(abi, size):
    raw = landlock.attributes(abi)
    assert len(raw) == size
    words = struct.unpack(f"={size // 8}Q", raw)
    assert words == landlock.handled(abi)[: len(words)]
    assert all(words), "what a version cannot refuse is not asked of it"


def test_only_reading_is_ever_granted():
    assert landlock.READ_FILE | landlock.READ_DIR == 0b1100
    assert (landlock.READ_FILE | landlock.READ_DIR) & landlock.handled(1)[0] == 0b1100


def test_this_kernel_has_it():
    """These tests prove nothing on a machine without Landlock, so such a machine fails them."""
    assert landlock.version() >= 1
