"""No reader of PyTorch's files or of safetensors takes more than 10 s or four times its file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from qgate.errors import FormatError
from qgate.formats.read import read_model
from tests.formats.bounds import FULL, measure_read

from .nasty import NASTY
from .parts import FOUR, checkpoint, pickled, tensor

SMALL = 2**16
# One of each way to be expensive; all others go through the full size in the long run.
SCALED = ["tuples_in_tuples", "dictionaries", "float8", "members"]


@pytest.mark.parametrize("name", sorted(NASTY))
def test_a_small_nasty_file_is_read_or_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(NASTY[name](SMALL))
    started = time.process_time()
    try:
        for constant in read_model(path).graph.all_constants():
            assert constant.load().shape == constant.shape
    except FormatError as error:
        assert error.rule in ("ART103", "ART104", "ART105", "ART114")
        assert error.remedy
    assert time.process_time() - started < 5


def _within(name: str, size: int, folder: Path) -> None:
    path, warm = folder / "m", folder / "warm"
    path.write_bytes(NASTY[name](size))
    warm.write_bytes(checkpoint(pickled(w=tensor()), {"0": FOUR}))
    found = measure_read(path, warm=warm)
    assert found.within(path.stat().st_size), found


@pytest.mark.parametrize("name", SCALED)
def test_a_nasty_file_stays_within_the_bounds(name: str, tmp_path: Path) -> None:
    _within(name, 2**22, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NASTY))
def test_64_megabytes_stay_within_the_bounds(name: str, tmp_path: Path) -> None:
    _within(name, FULL, tmp_path)
