"""A world around a confined process."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import made_world


@pytest.fixture(scope="session")
def world():
    with made_world() as made:
        yield made
