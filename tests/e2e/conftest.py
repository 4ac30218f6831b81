"""Fixtures of the end-to-end tests. Without a container engine they fail; they never skip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gate_stage.engine import build, copy_sources, docker
from gate_stage.github import LocalGitHub, serving
from gate_stage.runner import Runner
from gate_stage.team import Team

TAG = "qgate-e2e:current"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is an end-to-end test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as a checkout would have it."""
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def image(sources: Path) -> Iterator[str]:
    """The image, built from the Dockerfile."""
    ended = docker("version")
    assert ended.code == 0, f"no Docker engine answers, so the container cannot be tested: {ended.stderr}"
    build(sources, TAG)
    yield TAG
    docker("image", "prune", "--force", "--filter", "label=org.opencontainers.image.title=qgate")


@pytest.fixture
def github(tmp_path: Path) -> Iterator[LocalGitHub]:
    """A GitHub of the test's own."""
    with serving(tmp_path) as local:
        yield local


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """A team whose main branch has an honest int8 model and a policy."""
    made = Team(tmp_path / "widgets")
    made.commit("An int8 model under the gate")
    return made


@pytest.fixture
def runner(image: str, github: LocalGitHub, tmp_path: Path) -> Runner:
    """A runner that has the image."""
    return Runner(image, tmp_path, github.url)
