from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from qgate.sources.locator import (
    GitLocator,
    HttpsLocator,
    HubLocator,
    Locator,
    PathLocator,
    ReleaseLocator,
    public_address,
    relative_path,
)

ADAPTER: TypeAdapter[Locator] = TypeAdapter(Locator)
A = "a" * 64


@pytest.mark.parametrize(
    ("written", "meant", "described", "in_repository"),
    [
        ("models/x.onnx", PathLocator(path="models/x.onnx"), "models/x.onnx", "models/x.onnx"),
        ("./models//x.onnx", PathLocator(path="models/x.onnx"), "models/x.onnx", "models/x.onnx"),
        (
            {"path": "x", "sha256": A.upper()},
            PathLocator(path="x", sha256=A),
            "x",
            "x",
        ),
        ({"git": "v1.0", "path": "x"}, GitLocator(git="v1.0", path="x"), "v1.0:x", None),
        (
            f"https://host/x.onnx#sha256={A}",
            HttpsLocator(url="https://host/x.onnx", sha256=A),
            "https://host/x.onnx",
            None,
        ),
        (
            {"url": "https://host/x?sig=secret", "sha256": A},
            HttpsLocator(url="https://host/x?sig=secret", sha256=A),
            "https://host/x",
            None,
        ),
        (
            {"release": "o/r@v1/2", "asset": "m.onnx", "sha256": A},
            ReleaseLocator(release="o/r@v1/2", asset="m.onnx", sha256=A),
            "release o/r@v1/2 asset m.onnx",
            None,
        ),
        (
            f"hf://o/n@v1/sub/x.onnx#sha256={A}",
            HubLocator(hf="o/n@v1/sub/x.onnx", sha256=A),
            "hf://o/n@v1/sub/x.onnx",
            None,
        ),
    ],
)
def test_every_way_of_writing_a_place(
    written: object, meant: Locator, described: str, in_repository: str | None
) -> None:
    locator = ADAPTER.validate_python(written)
    assert locator == meant
    assert locator.describe() == described
    assert locator.repository_path == in_repository
    assert ADAPTER.validate_json(locator.model_dump_json()) == locator


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("../x", "climbs"),
        ("a/../../x", "climbs"),
        ("/etc/passwd", "absolute"),
        ("", "1 to 1024"),
        ("x\0y", "control"),
        ("a\\b", "backslash"),
        ("models/", "folder"),
        ("./", "folder"),
        (".git/config", ".git folder"),
        ("sub/.GIT/config", ".git folder"),
        ("ftp://host/x", "no place"),
        ("file:///etc/passwd", "no place"),
        ("https://host/x", "sha256"),
        (f"https://user:pw@host/x#sha256={A}", "user name or password"),
        (f"https:///x#sha256={A}", "host name"),
        (f"https://host:99999/x#sha256={A}", "web address"),
        ("https://host/x#sha256=abc", "64 hexadecimal"),
        (f"hf://o/n/x#sha256={A}", "owner/name@revision/file"),
        (f"hf://o/n@main/x#sha256={A}", "branch"),
        (f"hf://o/n@v1/../x#sha256={A}", "climbs"),
        ("hf://o/n@v1/x", "sha256"),
        ({"git": "--upload-pack=x", "path": "x"}, "git revision"),
        ({"git": "a..b", "path": "x"}, "git revision"),
        ({"git": "x@{upstream}", "path": "x"}, "git revision"),
        ({"release": "o/r", "asset": "x", "sha256": A}, "owner/repo@tag"),
        ({"release": "o/r@../..", "asset": "x", "sha256": A}, "not a tag"),
        ({"release": "o/r@v1", "asset": "../x", "sha256": A}, "asset"),
        ({"path": "x", "sha": A}, "Extra inputs"),
        ({"where": "x"}, "not a place"),
        (7, "not a place"),
        (None, "not a place"),
    ],
)
def test_what_is_no_place_is_refused_with_words(written: object, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(written)
    text = " ".join([str(e["loc"]) + e["msg"] for e in caught.value.errors(include_input=False)])
    assert says in text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("ab./\\\0\n .git..")), max_size=30))
def test_no_accepted_path_leaves_its_folder(text: str) -> None:
    try:
        path = relative_path(text)
    except ValueError:
        return
    parts = path.split("/")
    assert not path.startswith("/")
    assert all(part not in ("", ".", "..") and part.lower() != ".git" for part in parts)
    assert relative_path(path) == path


def test_editors_accept_what_the_policy_accepts() -> None:
    schema = ADAPTER.json_schema()
    for good in ("models/x.onnx", {"path": "x"}, {"url": "https://h/x", "sha256": A}):
        jsonschema.validate(good, schema)
    for bad in (7, {"url": "https://h/x"}, {"path": "x", "sha": "y"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_the_public_part_of_an_address_has_no_secret() -> None:
    assert public_address("https://u:p@host:8/x?X-Amz-Signature=abc#f") == "https://host:8/x"
