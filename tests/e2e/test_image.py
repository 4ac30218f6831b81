"""The image itself: what starts, what is in it, what is not, and how large it is."""

from __future__ import annotations

from gate_stage.engine import docker, docker_must, inspect
from gate_stage.runner import action

LARGEST = 1_150_000_000
PYTHON = "/opt/qgate/venv/bin/python"


def test_starts_absolutely_isolated_and_as_root(image: str) -> None:
    config = inspect(image)["Config"]

    assert config["Entrypoint"] == [PYTHON, "-I", "/opt/qgate/entrypoint.py"]
    assert config.get("User") in ("", None)
    assert config.get("WorkingDir") in ("", None)
    assert not config.get("Cmd") or action()["runs"].get("args") is None


def test_stays_small(image: str) -> None:
    size = inspect(image)["Size"]

    print(f"image: {size / 1e6:.0f} MB")
    assert size < LARGEST


def test_has_git_and_no_build_tools(image: str) -> None:
    script = (
        "git --version; for tool in gcc g++ cc clang make cmake ld as strip; do command -v $tool; done; true"
    )

    found = docker_must("run", "--rm", "--entrypoint", "/bin/sh", image, "-c", script).split("\n")

    assert found[0].startswith("git version")
    assert found[1:] == [""]


def test_everything_imports_for_an_unprivileged_user_without_writing(image: str) -> None:
    modules = "torch, onnxruntime, onnx, huggingface_hub, github, model_signing.verifying, PIL.Image, qgate.action, qgate.cli"
    script = f"import {modules}; print(torch.ones(2, 2).sum().item(), torch.version.cuda)"

    run = ("run", "--rm", "--read-only", "--user", "65534", "--network", "none", "--entrypoint", PYTHON)
    said = docker_must(*run, image, "-I", "-c", script)

    assert said.split() == ["4.0", "None"]


def test_compiled_files_are_used_as_they_are(image: str) -> None:
    script = (
        "import importlib.util as util, pathlib, struct\n"
        "for name in ('qgate.errors', 'torch.nn.modules.conv', 'onnx.helper', 'github.Repository'):\n"
        "    cached = pathlib.Path(util.find_spec(name).cached)\n"
        "    print(struct.unpack('<I', cached.read_bytes()[4:8])[0])\n"
    )

    said = docker_must("run", "--rm", "--entrypoint", PYTHON, image, "-I", "-c", script)

    assert said.split() == ["1"] * 4  # by hash, and not compared with the source


def test_help_of_the_command_line(image: str) -> None:
    said = docker_must("run", "--rm", image, "verify", "--help")

    assert "--candidate" in said
    assert "--reference" in said


def test_a_broken_image_says_so_in_a_sentence(image: str, tmp_path: object) -> None:
    hidden = ("run", "--rm", "-v", f"{tmp_path}:/opt/qgate/lib:ro", "--network", "none")

    ended = docker(*hidden, image)

    assert ended.code == 2
    assert ended.stderr.startswith("::error title=qgate::ModuleNotFoundError")
    assert "Traceback" not in ended.said
