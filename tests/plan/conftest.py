"""An empty git repository to plan in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.git.scratch import ScratchRepository


@pytest.fixture
def scratch(tmp_path: Path) -> ScratchRepository:
    return ScratchRepository(tmp_path / "repo")
