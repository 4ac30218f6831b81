import os
from pathlib import Path

import pytest

from qgate.errors import MeasureError
from qgate.sandbox.staging import staging_directory, unreadable_part

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs models as another user")


def test_a_staging_directory_is_readable_and_removed():
    with staging_directory() as folder:
        (folder / "model.onnx").write_bytes(b"x")
        (folder / "model.onnx").chmod(0o444)
        assert folder.stat().st_mode & 0o777 == 0o755
        assert unreadable_part(folder / "model.onnx") is None
    assert not folder.exists()


@root_only
def test_a_closed_parent_is_named(tmp_path):
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    tmp_path.chmod(0o755)
    closed.chmod(0o700)
    with staging_directory() as folder:
        link = folder / "link"
        link.symlink_to(closed)
        (closed / "file").write_bytes(b"x")
        (closed / "file").chmod(0o644)
        assert unreadable_part(link / "file") in {closed.resolve(), *closed.resolve().parents}
    with pytest.raises(MeasureError, match="no temporary directory"), staging_directory(closed):
        raise AssertionError("must not be entered")


def test_a_file_without_read_permission_is_named(tmp_path):
    with staging_directory() as folder:
        secret = folder / "model.onnx"
        secret.write_bytes(b"x")
        secret.chmod(0o000)
        expected = None if os.geteuid() != 0 and os.access(secret, os.R_OK) else secret.resolve()
        assert unreadable_part(secret) == expected


def test_a_missing_parent_is_an_error():
    with pytest.raises(MeasureError), staging_directory(Path("/does/not/exist")):
        raise AssertionError("must not be entered")
