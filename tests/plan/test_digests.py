"""Which bytes are whose: digests of files and pointers, and what belongs to a model without being it."""

from __future__ import annotations

import hashlib

from qgate.git.repository import open_repository
from qgate.plan.digests import describes, file_digest, related_paths
from qgate.policy.schema import Target
from qgate.report.schema import Artifact
from tests.git.scratch import ScratchRepository


def test_digest_of_a_file_and_of_what_a_pointer_stands_for(scratch: ScratchRepository) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12\n"
    big = b"x" * (3 * 2**20 + 7)
    sha = scratch.commit({"big": big, "pointer": pointer, "empty": b""})
    repo = open_repository(scratch.root)
    for revision in (sha, None):
        assert file_digest(repo, revision, "big") == hashlib.sha256(big).hexdigest()
        assert file_digest(repo, revision, "pointer") == "a" * 64
        assert file_digest(repo, revision, "empty") is None
        assert file_digest(repo, revision, "nowhere") is None


def test_an_artifact_is_known_again_by_every_byte(scratch: ScratchRepository) -> None:
    sha = scratch.commit({"m/a.onnx": "model", "m/w.bin": "weights"})
    repo = open_repository(scratch.root)
    digests = {name: str(file_digest(repo, sha, f"m/{name}")) for name in ("a.onnx", "w.bin")}
    artifact = Artifact(locator="m/a.onnx", sha256=digests["a.onnx"], files=digests)
    locator = Target.model_validate({"name": "t", "candidate": "m/a.onnx"}).candidate
    assert describes(artifact, repo, sha, locator)
    later = scratch.commit({"m/w.bin": "other"})
    assert not describes(artifact, repo, later, locator)
    assert not describes(artifact.model_copy(update={"sha256": None}), repo, sha, locator)
    pinned = {"url": "https://example.org/a.onnx", "sha256": digests["a.onnx"]}
    remote = Target.model_validate({"name": "t", "candidate": pinned}).candidate
    assert not describes(artifact, repo, sha, remote)  # the side file is pinned nowhere
    alone = Artifact(locator="x", sha256=digests["a.onnx"], files={"a.onnx": digests["a.onnx"]})
    assert describes(alone, repo, sha, remote)
    at = Target.model_validate({"name": "t", "candidate": {"git": sha, "path": "m/a.onnx"}}).candidate
    assert describes(artifact, repo, later, at)


def test_a_name_across_two_pieces_is_found(scratch: ScratchRepository) -> None:
    edge = b"x" * (2**20 - 3) + b"weights.bin" + b"x" * 100
    sha = scratch.commit({"m/a.onnx": edge, "m/weights.bin": "1", "m/other.bin": "1"})
    repo = open_repository(scratch.root)
    locator = Target.model_validate({"name": "t", "candidate": "m/a.onnx"}).candidate
    changed = {"m/weights.bin", "m/other.bin", "weights.bin", "m/README.md"}
    assert related_paths(repo, [sha, None], [locator, None], changed) == {"m/weights.bin"}
