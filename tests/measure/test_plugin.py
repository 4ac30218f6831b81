"""Code of the trusted side: copied from a commit or a path, loaded and called behind the walls."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qgate.errors import MissingError, SourceError, UsageError
from qgate.measure.plugin import Plugin
from qgate.sandbox.launch import run_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory
from qgate.sources.code import MAX_FILES, acquire_code, acquire_code_of_user
from qgate.sources.context import SourceContext
from qgate.sources.python_code import python_spec

PROGRAM = (str(Path(__file__).parent / "plugin_program.py"),)


def git(repo: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repo), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "acme" / "models").mkdir(parents=True)
    (root / "acme" / "__init__.py").write_text("")
    (root / "acme" / "scale.py").write_text("FACTOR = 3\n")
    (root / "acme" / "models" / "__init__.py").write_text("from ..scale import FACTOR\n")
    (root / "acme" / "models" / "net.py").write_text(
        "import numpy as np\nfrom . import FACTOR\n\n\ndef build(x):\n    return float(np.sum(x)) * FACTOR\n"
    )
    (root / "tools").mkdir()
    (root / "tools" / "types.py").write_text(
        "import colorsys\n\n\ndef build(x):\n    return len(x)\n\n\ndef bad(x):\n    y = x\n    return y['a']\n\n\n"
        "def leave(x):\n    raise SystemExit('bye')\n\n\nbuilt = 5\n"
    )
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    return root


def called(
    *specs: str, repo: Path | None, revision: str | None = None, arguments: Any = ([1, 2],)
) -> list[Any]:
    with staging_directory() as staging:
        code = []
        for spec in specs:
            if repo is None:
                got = acquire_code_of_user(spec, staging / "code")
            else:
                got = acquire_code(spec, staging / "code", SourceContext(repo=repo, revision=revision))
            code.append(Plugin(got.root, got.module, got.function, got.packaged, got.label).to_data())
        request = json.dumps({"code": code, "arguments": arguments})
        payload = run_child(request, Limits(wall_seconds=60), program=PROGRAM).payload
    told: list[Any] = json.loads(payload)["told"]
    assert json.loads(payload)["pid"] != os.getpid()
    return told


@pytest.mark.parametrize("revision", [None, "HEAD"])
def test_a_package_s_module_runs_with_its_siblings_and_a_file_alone(repo: Path, revision: str | None) -> None:
    told = called("acme.models.net:build", "acme/models/net.py:build", "tools/types.py:build",
                  repo=repo, revision=revision)  # fmt: skip
    assert [each["value"] for each in told] == [9.0, 9.0, 2]


def test_the_commit_s_code_runs_whatever_the_work_tree_holds(repo: Path) -> None:
    (repo / "acme" / "scale.py").write_text("FACTOR = 1000\n")
    assert called("acme.models.net:build", repo=repo, revision="HEAD") == [{"value": 9.0}]
    assert called("acme.models.net:build", repo=repo) == [{"value": 3000.0}]


def test_every_file_is_hashed_and_nothing_else_is_copied(repo: Path, tmp_path: Path) -> None:
    (repo / "acme" / "secret.txt").write_text("no code")
    got = acquire_code("acme.models.net:build", tmp_path / "code", SourceContext(repo=repo))
    assert sorted(got.files) == [
        "acme/__init__.py", "acme/models/__init__.py", "acme/models/net.py", "acme/scale.py"
    ]  # fmt: skip
    assert all(len(digest) == 64 for digest in got.files.values())
    assert {p.name for p in got.root.rglob("*") if p.is_file()} == {"__init__.py", "net.py", "scale.py"}
    alone = acquire_code("tools/types.py:build", tmp_path / "code", SourceContext(repo=repo))
    assert list(alone.files) == ["tools/types.py"]


@pytest.mark.parametrize(
    ("spec", "what", "where"),
    [
        ("tools/types.py:missing", "missing is not there; it has build, bad, leave", "tools/types.py:missing"),
        ("tools/types.py:built", "built is no function", "tools/types.py:built"),
        ("tools/types.py:bad", "bad raised TypeError: list indices must be", "tools/types.py:bad, line 10"),
        ("tools/types.py:leave", "leave raised SystemExit: bye", "tools/types.py:leave, line 14"),
        ("broken.py:build", "it cannot be imported: SyntaxError", "broken.py:build, line 2"),
        ("needs.py:build", "it cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be'",
         "needs.py:build, line 1"),
        ("json:build", "its package is called json", "json:build"),
    ],
)  # fmt: skip
def test_an_error_tells_type_message_and_line(repo: Path, spec: str, what: str, where: str) -> None:
    (repo / "broken.py").write_text("x = 1\ndef build(:\n")
    (repo / "needs.py").write_text("import nowhere_to_be\n")
    (repo / "json").mkdir()
    (repo / "json" / "__init__.py").write_text("def build(x):\n    return 1\n")
    (told,) = called(spec, repo=repo)
    assert told["what"].startswith(what)
    assert told["where"] == where
    assert "site-packages" not in str(told) and "Traceback" not in str(told)


def test_it_runs_behind_the_walls(repo: Path) -> None:
    (repo / "spy.py").write_text(
        "import os, socket\n\n\ndef read(x):\n    return open('/etc/passwd').read()\n\n\n"
        "def connect(x):\n    return socket.socket()\n\n\n"
        "def write(x):\n    return open(__file__, 'w')\n"
    )
    told = called("spy.py:read", "spy.py:connect", "spy.py:write", repo=repo)
    assert [each["what"].split(":")[0] for each in told] == [
        "read raised PermissionError", "connect raised PermissionError", "write raised PermissionError"
    ]  # fmt: skip


def test_what_is_not_there_is_told_with_what_was_meant(repo: Path, tmp_path: Path) -> None:
    context = SourceContext(repo=repo, revision="HEAD")
    with pytest.raises(MissingError, match=r"no module tools/type\.py") as raised:
        acquire_code("tools/type.py:build", tmp_path / "a", context)
    assert "tools/types.py" in raised.value.remedy
    with pytest.raises(MissingError, match=r"no module acme/nothing\.py nor acme/nothing/__init__\.py"):
        acquire_code("acme.nothing:build", tmp_path / "b", context)


def test_links_and_huge_packages_are_refused(repo: Path, tmp_path: Path) -> None:
    (repo / "link.py").symlink_to("tools/types.py")
    with pytest.raises(SourceError, match="not a regular file"):
        acquire_code("link.py:build", tmp_path / "a", SourceContext(repo=repo))
    for number in range(MAX_FILES):
        (repo / "acme" / f"m{number}.py").write_text("")
    with pytest.raises(SourceError, match="more than 256"):
        acquire_code("acme.models.net:build", tmp_path / "b", SourceContext(repo=repo))
    (repo / "large.py").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(SourceError, match="larger than"):
        acquire_code("large.py:build", tmp_path / "c", SourceContext(repo=repo))


def test_a_command_line_names_any_file(repo: Path) -> None:
    assert called(f"{repo}/tools/types.py:build", f"{repo}/acme/models/net.py:build", repo=None) == [
        {"value": 2}, {"value": 9.0}
    ]  # fmt: skip
    with pytest.raises(UsageError, match="not the name of a function"):
        acquire_code_of_user("x.py:1", repo / "z")


@pytest.mark.parametrize(
    "spec", ["/etc/x.py:f", "../x.py:f", "a b:f", "x.py", "x.py:", "x.py:f g", "a..b:f", ":f", "é:f"]
)
def test_other_names_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        python_spec(spec)


def test_one_module_that_is_loaded_by_several_threads_is_whole_for_each(tmp_path: Path) -> None:
    """A slow import must not show half of itself to the other side's thread."""
    from concurrent.futures import ThreadPoolExecutor

    from qgate.measure.plugin import PluginError, load_function

    busy = "\n".join(f"def filler_{number}():\n    return sum(range(100))" for number in range(3000))
    (tmp_path / "slow.py").write_text(
        f"{busy}\nfor _ in range(200000):\n    pass\n\n\ndef build():\n    return 7\n"
    )
    (tmp_path / "bad.py").write_text("def build():\n    return 1\n\n\nraise ValueError('late')\n")
    plugin = Plugin(tmp_path, "slow", "build", packaged=False, label="slow.py:build")
    with ThreadPoolExecutor(8) as pool:
        assert [each() for each in pool.map(lambda _: load_function(plugin), range(8))] == [7] * 8
    broken = Plugin(tmp_path, "bad", "build", packaged=False, label="bad.py:build")
    for _ in range(2):
        with pytest.raises(PluginError, match="it cannot be imported: ValueError: late"):
            load_function(broken)
