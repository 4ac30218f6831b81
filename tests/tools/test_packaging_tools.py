"""The scripts that build, pin and slim: what they write must be what the repository says."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
DIGEST = "sha256:" + "a1" * 32


def pins(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        for line in (ROOT / "requirements" / name).read_text("utf-8").splitlines():
            if not line.startswith("#"):
                key, _, version = line.partition("==")
                found[canonicalize_name(key)] = version
    return found


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / script, *arguments]
    return subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("declared", "files"),
    [
        (PROJECT["project"]["dependencies"] + EXTRAS["hub"], ["image.txt"]),
        (EXTRAS["test"] + EXTRAS["e2e"] + EXTRAS["lint"], ["image.txt", "dev.txt"]),
        (PROJECT["build-system"]["requires"], ["build.txt"]),
    ],
    ids=["image", "dev", "build"],
)
def test_every_dependency_is_pinned_within_what_is_declared(declared: list[str], files: list[str]) -> None:
    pinned = pins(*files)

    for requirement in map(Requirement, declared):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {files}: make lock"
        assert requirement.specifier.contains(version), f"{requirement} against {version}: make lock"


def test_every_dependency_is_explained() -> None:
    table = (ROOT / "docs" / "dependencies.md").read_text("utf-8").lower()
    names = [Requirement(line).name for extra in EXTRAS.values() for line in extra]
    names += [Requirement(line).name for line in PROJECT["project"]["dependencies"]]

    assert [name for name in names if f"| `{name.lower()}`" not in table] == []


BROUGHT = {"cryptography": "model-signing", "markupsafe": "jinja2", "ml_dtypes": "onnx", "pydantic_core": "pydantic",
           "sigstore": "model-signing", "urllib3": "requests"}  # fmt: skip
"""Modules of what a dependency itself cannot be without."""
SPELLED = {"OpenSSL": "pyopenssl", "PIL": "pillow", "github": "pygithub", "ruamel": "ruamel.yaml",
           "tensorrt_rtx": "tensorrt-rtx", "ai_edge_litert": "ai-edge-litert"}  # fmt: skip
OF_A_DEVICE = {"tensorrt"}
"""Comes with the machine."""


def test_whatever_is_imported_is_declared_for_users_and_not_for_tests_alone() -> None:
    users = [name for name in EXTRAS if name not in ("test", "e2e", "fuzz", "lint", "bench", "docs")]
    declared = [*PROJECT["project"]["dependencies"], *(line for name in users for line in EXTRAS[name])]
    names = {canonicalize_name(Requirement(line).name) for line in declared}
    missing = {}
    for path in sorted((ROOT / "qgate").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found = [node.module]
            for module in {name.partition(".")[0] for name in found} - {"qgate", *sys.stdlib_module_names}:
                wanted = BROUGHT.get(module) or SPELLED.get(module) or module
                if canonicalize_name(wanted) not in names and module not in OF_A_DEVICE:
                    missing.setdefault(module, str(path.relative_to(ROOT)))
    assert missing == {}


def test_torch_is_the_version_that_the_extra_accepts() -> None:
    script = (ROOT / "tools" / "install_torch.py").read_text("utf-8")
    (default,) = [line for line in script.splitlines() if line.startswith("REQUIREMENT = ")]
    chosen = Requirement(default.split('"')[1])
    (extra,) = map(Requirement, EXTRAS["torch"])

    assert extra.specifier.contains(str(chosen.specifier).removeprefix("=="))


def test_a_release_names_its_image_by_digest(tmp_path: Path) -> None:
    copy = tmp_path / "action.yml"
    copy.write_bytes((ROOT / "action.yml").read_bytes())

    ended = run("pin_image.py", copy, f"docker://example.com/acme/qgate@{DIGEST}")

    assert ended.returncode == 0, ended.stderr
    before, after = (ROOT / "action.yml").read_text("utf-8"), copy.read_text("utf-8")
    changed = [
        (old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new
    ]
    assert changed == [("  image: Dockerfile", f"  image: docker://example.com/acme/qgate@{DIGEST}")]


@pytest.mark.parametrize(
    "image", ["docker://example.com/acme/qgate:v1", "docker://x@sha256:12", "Dockerfile"]
)
def test_a_release_by_tag_is_refused_and_changes_nothing(tmp_path: Path, image: str) -> None:
    copy = tmp_path / "action.yml"
    copy.write_bytes((ROOT / "action.yml").read_bytes())

    ended = run("pin_image.py", copy, image)

    assert ended.returncode == 1
    assert "does not name an image by digest" in ended.stderr
    assert copy.read_bytes() == (ROOT / "action.yml").read_bytes()


def test_slimming_removes_tests_and_headers_and_nothing_else(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    kept = [
        "torch/lib/libtorch_cpu.so",
        "numpy/testing/__init__.py",
        "torch/bin/torch_shm_manager",
    ]
    gone = ["torch/include/a.h", "numpy/linalg/tests/test_a.py", "torch/bin/test_api", "onnx/onnx.pyi"]
    for name in kept + gone:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("x")

    ended = run("slim.py", tmp_path)

    assert ended.returncode == 0, ended.stderr
    left = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert left == set(kept)


def test_slimming_what_is_no_environment_is_refused(tmp_path: Path) -> None:
    ended = run("slim.py", tmp_path)

    assert ended.returncode == 1
    assert "expected one site-packages, found 0" in ended.stderr


@pytest.mark.parametrize("line", ["FROM scratch\n", "USER nobody\n", "WORKDIR /x\n"])
def test_the_dockerfile_keeps_the_contract_of_container_actions(line: str) -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")

    assert line not in text
    assert 'ENTRYPOINT ["/opt/qgate/venv/bin/python", "-I", "/opt/qgate/entrypoint.py"]' in text


def test_corrupting_changes_one_bit_of_one_weight(tmp_path: Path) -> None:
    import onnx

    source = ROOT / "examples" / "digits" / "digits_int8_pc.onnx"
    command = [sys.executable, ROOT / "examples" / "corrupt.py", source, tmp_path / "bad.onnx"]

    subprocess.run(command, check=True, capture_output=True, timeout=60)

    pairs = zip(
        onnx.load(source).graph.initializer, onnx.load(tmp_path / "bad.onnx").graph.initializer, strict=True
    )
    differing = [(old.raw_data, new.raw_data) for old, new in pairs if old != new]
    ((old, new),) = differing
    assert sum((a ^ b).bit_count() for a, b in zip(old, new, strict=True)) == 1


@pytest.fixture(scope="module")
def loaded() -> Callable[[str], ModuleType]:
    """A file of ``tools/`` as a module."""

    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        # A dataclass looks its module up.
        sys.modules[specification.name] = module
        specification.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def install_torch(loaded: Callable[[str], ModuleType]) -> ModuleType:
    return loaded("install_torch")


def test_an_index_counts_only_if_it_lists_torch(install_torch: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "right" / "torch").mkdir(parents=True)
    (tmp_path / "right" / "torch" / "index.html").write_text(
        "<a href='torch-2.13.0.whl'>torch-2.13.0.whl</a>"
    )
    (tmp_path / "login" / "torch").mkdir(parents=True)
    (tmp_path / "login" / "torch" / "index.html").write_text("<h1>Please log in</h1>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            found = {name: install_torch.answers(f"{url}/{name}") for name in ("right", "login", "missing")}
        finally:
            server.shutdown()
            thread.join()

    assert found == {"right": True, "login": False, "missing": False}
    assert install_torch.answers(url) is False  # nobody listens any more


def test_the_setting_decides_the_index(install_torch: ModuleType) -> None:
    assert install_torch.chosen_index("pip") is None
    assert install_torch.chosen_index("https://mirror.example.com/cpu") == "https://mirror.example.com/cpu"


def test_ci_takes_no_test_that_was_skipped_for_want_of_a_package(loaded: Callable[[str], ModuleType]) -> None:
    reasons = (
        "qgate[litert] is not installed",
        "of the extra `torch`",
        "could not import 'torch': No module",
        "root may write to every folder",
    )
    cases = "".join(f'<testcase><skipped message="{reason}"/></testcase>' for reason in reasons)
    written = ElementTree.ElementTree(ElementTree.fromstring(f"<testsuite>{cases}<testcase/></testsuite>"))
    assert loaded("test").without_package(written) == sorted(reasons[:3])
