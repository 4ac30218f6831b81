"""The container engine, by its own command line."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSIC = os.environ.get("DOCKER_BUILDKIT") == "0"
BASE_IMAGE = os.environ.get("QGATE_BASE_IMAGE", "python:3.11-slim-bookworm")
BUILD_FLAGS = shlex.split(os.environ.get("QGATE_DOCKER_BUILD_FLAGS", ""))
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr


def command(*arguments: str | Path, timeout: float = 600, **options: Any) -> Ended:
    """Runs a command to its end, whatever its exit code."""
    result = subprocess.run(
        [str(part) for part in arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )
    return Ended(result.returncode, result.stdout, result.stderr)


def docker(*arguments: str | Path, timeout: float = 600, **options: Any) -> Ended:
    return command("docker", *arguments, timeout=timeout, **options)


def docker_must(*arguments: str | Path, timeout: float = 600) -> str:
    """Like ``docker``, but fails the test with what the engine said."""
    ended = docker(*arguments, timeout=timeout)
    assert ended.code == 0, f"docker {arguments[0]} ended with {ended.code}\n{ended.said[-4000:]}"
    return ended.stdout


def copy_sources(destination: Path) -> Path:
    """Copies what git knows of this repository, committed or not, but nothing that it ignores."""
    listed = command(
        "git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"
    )
    assert listed.code == 0, listed.stderr
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, destination / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode & 0o777)
    return destination


def base_image() -> str:
    """The image that runs the workflow's jobs: pulled where the engine has none yet."""
    if docker("image", "inspect", BASE_IMAGE).code != 0:
        docker_must("pull", "--quiet", BASE_IMAGE)
    return BASE_IMAGE


def build(context: Path, tag: str) -> str:
    """Builds the Dockerfile of a folder and returns the image's id.

    act takes the context of ``uses: ./`` out of a container and gives its build no network. The classic
    builder tells files from a container apart from the same files in a folder (their mode has the bits of
    the type set), so here too they come out of a container: then act finds every costly layer made.
    """
    flags = ("build", *BUILD_FLAGS, "--build-arg", f"BASE={base_image()}")
    if not CLASSIC:
        docker_must(*flags, "-t", tag, context, timeout=1800)
        return str(inspect(tag)["Id"])
    container = docker_must("create", BASE_IMAGE).strip()
    try:
        docker_must("cp", f"{context}/.", f"{container}:/context")
        # a name for the earlier stages keeps them from being pruned
        for part in (("--target", "build", "-t", f"{tag}-stages"), ("-t", tag)):
            with subprocess.Popen(
                ["docker", "cp", f"{container}:/context/.", "-"], stdout=subprocess.PIPE
            ) as archive:
                ended = docker(*flags, *part, "-", timeout=1800, stdin=archive.stdout)
            assert ended.code == 0, ended.said[-4000:]
    finally:
        docker("rm", container)
    return str(inspect(tag)["Id"])


def inspect(image: str) -> dict[str, Any]:
    return dict(json.loads(docker_must("image", "inspect", image))[0])
