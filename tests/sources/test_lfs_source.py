from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import SourceError
from qgate.sources.acquire import acquire
from qgate.sources.locator import GitLocator, PathLocator
from qgate.sources.pointer import POINTER_MAX, Pointer, read_pointer

TOKEN = "ghs_canary0123456789"
BATCH = "/owner/name.git/info/lfs/objects/batch"
COMMAND = 'git lfs pull --include "models/plate.onnx"'


def pointer_text(oid: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


@pytest.fixture
def store(server, tools):
    """An LFS server: batch with basic auth, objects behind a signed address with a header of their own."""
    objects = {}
    wanted = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()

    def batch(exchange) -> None:
        request = json.loads(exchange.seen.body)
        if exchange.seen.headers.get("Authorization") != f"Basic {wanted}":
            exchange.json(401, {"message": "Credentials needed"})
            return
        answers = []
        for one in request["objects"]:
            answer = {"oid": one["oid"], "size": one["size"], "authenticated": True}
            if one["oid"] in objects:
                action = {
                    "href": f"{server.base}/objects/{one['oid']}?sig=hush",
                    "header": {"X-Object": "key"},
                }
                answer["actions"] = {"download": action}
            else:
                answer["error"] = {"code": 404, "message": "Object does not exist"}
            answers.append(answer)
        exchange.json(200, {"transfer": "basic", "objects": answers})

    server.on(BATCH, batch, "POST")

    def add(data: bytes, *, oid: str | None = None) -> bytes:
        oid = oid or tools.digest(data)
        objects[oid] = data
        server.on(f"/objects/{oid}", data)
        return pointer_text(oid, len(data))

    return add


@pytest.fixture
def lfs(context, server):
    return replace(context, token=TOKEN, repository="owner/name", server_url=server.base)


@pytest.fixture
def pointer(context, store, tools):
    (context.repo / "models").mkdir()
    path = context.repo / "models" / "plate.onnx"
    path.write_bytes(store(tools.model))
    return path


def test_a_pointer_in_the_work_tree_is_resolved(lfs, pointer, server, tmp_path, tools) -> None:
    got = acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", lfs)
    assert got.main.read_bytes() == tools.model
    assert got.files == {"plate.onnx": tools.digest(tools.model)}
    request = server.seen[0]
    assert (request.method, request.path) == ("POST", BATCH)
    assert request.headers["Accept"] == "application/vnd.git-lfs+json"
    assert json.loads(request.body) == {
        "operation": "download",
        "transfers": ["basic"],
        "objects": [{"oid": tools.digest(tools.model), "size": len(tools.model)}],
        "hash_algo": "sha256",
    }
    download = server.seen[1]
    assert download.headers["X-Object"] == "key"
    assert "Authorization" not in download.headers


def test_a_pointer_in_another_revision_and_as_a_side_file(lfs, pointer, store, tmp_path, tools) -> None:
    (lfs.repo / "models" / "w.bin").write_bytes(store(b"weights"))
    tools.commit(lfs.repo)
    pointer.unlink()
    locator = GitLocator(git="HEAD", path="models/plate.onnx")
    got = acquire(locator, tmp_path / "c", lfs, side_files=lambda _: ["w.bin"])
    assert got.main.read_bytes() == tools.model
    assert got.files["w.bin"] == tools.digest(b"weights")


def test_the_clone_s_own_store_is_used_without_network(context, pointer, server, tmp_path, tools) -> None:
    tools.commit(context.repo)
    oid = tools.digest(tools.model)
    kept = context.repo / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    kept.parent.mkdir(parents=True)
    kept.write_bytes(tools.model)
    for number, locator in enumerate(
        (PathLocator(path="models/plate.onnx"), GitLocator(git="HEAD", path="models/plate.onnx"))
    ):
        got = acquire(locator, tmp_path / str(number), context)
        assert got.main.read_bytes() == tools.model
    assert server.seen == []
    kept.write_bytes(b"poison")
    with pytest.raises(SourceError, match="unresolved Git LFS pointer"):
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "d", context)


def test_without_repository_token_or_object_the_command_is_named(
    lfs, pointer, server, store, tmp_path
) -> None:
    missing = pointer_text("0" * 64, 5)
    cases = [
        (replace(lfs, repository=None), None, "knows no GitHub repository"),
        (replace(lfs, token=None), None, "HTTP status 401 and this run has no token"),
        (replace(lfs, token="other"), None, "HTTP status 401"),
        (lfs, missing, "does not have the file (error 404)"),
        (replace(lfs, repository="no/such"), None, "HTTP status 404"),
        (replace(lfs, server_url="http://127.0.0.1:1"), None, "no connection"),
        (replace(lfs, server_url="https://nowhere.test"), None, "does not resolve"),
    ]
    for number, (context, text, why) in enumerate(cases):
        if text is not None:
            pointer.write_bytes(text)
        with pytest.raises(SourceError) as caught:
            acquire(PathLocator(path="models/plate.onnx"), tmp_path / str(number), context)
        error = caught.value
        assert error.where == "models/plate.onnx"
        assert "unresolved Git LFS pointer" in error.what
        assert why in error.what
        assert COMMAND in error.remedy
        assert not list((tmp_path / str(number)).iterdir())
        if text is not None:
            pointer.write_bytes(store(bytes(range(256)) * 400))


def test_a_revision_s_pointer_names_the_fetch(lfs, pointer, tmp_path, tools) -> None:
    commit = tools.commit(lfs.repo)
    with pytest.raises(SourceError) as caught:
        acquire(GitLocator(git="HEAD", path="models/plate.onnx"), tmp_path / "c", replace(lfs, token=None))
    assert f'git lfs fetch origin {commit} --include "models/plate.onnx"' in caught.value.remedy


def test_a_server_that_sends_other_bytes_is_refused(lfs, pointer, store, tmp_path, tools) -> None:
    store(b"something else", oid=tools.digest(tools.model))
    with pytest.raises(SourceError, match="another sha256"):
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", lfs)


def test_a_pointer_with_a_wrong_length_is_refused(lfs, pointer, tmp_path, tools) -> None:
    pointer.write_bytes(pointer_text(tools.digest(tools.model), 5))
    with pytest.raises(SourceError, match="promises 5 bytes"):
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", lfs)
    pointer.write_bytes(pointer_text(tools.digest(tools.model), 2**40))
    with pytest.raises(SourceError, match="larger than"):
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", lfs)


def test_a_declared_digest_is_the_resolved_file_s(lfs, pointer, tmp_path, tools) -> None:
    right = PathLocator(path="models/plate.onnx", sha256=tools.digest(tools.model))
    assert acquire(right, tmp_path / "a", lfs).bytes == len(tools.model)
    wrong = PathLocator(path="models/plate.onnx", sha256=tools.digest(pointer.read_bytes()))
    with pytest.raises(SourceError, match="another sha256"):
        acquire(wrong, tmp_path / "b", lfs)


def test_what_lfs_gave_once_comes_from_the_cache(lfs, pointer, server, tmp_path) -> None:
    cached = replace(lfs, cache=tmp_path / "cache")
    acquire(PathLocator(path="models/plate.onnx"), tmp_path / "a", cached)
    before = len(server.seen)
    acquire(PathLocator(path="models/plate.onnx"), tmp_path / "b", replace(cached, token=None))
    assert len(server.seen) == before
    assert TOKEN not in "".join(str(p) for p in (tmp_path / "cache").rglob("*"))


def test_the_token_stays_with_the_server(lfs, pointer, server, other_server, tmp_path, tools) -> None:
    """Neither a batch that redirects elsewhere nor an object on another host gets to see it."""
    elsewhere = replace(lfs, api_url=other_server.base)
    server.on(BATCH, lambda e: e.reply(307, Location=other_server.base + BATCH), "POST")
    with pytest.raises(SourceError, match="elsewhere") as caught:
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", elsewhere)
    assert other_server.seen == []
    assert TOKEN not in str(caught.value) + repr(caught.value)
    oid = tools.digest(tools.model)
    href = other_server.on(f"/{oid}", tools.model)
    action = {"oid": oid, "actions": {"download": {"href": href}}}
    server.on(BATCH, lambda e: e.json(200, {"objects": [action]}), "POST")
    acquire(PathLocator(path="models/plate.onnx"), tmp_path / "d", elsewhere)
    assert "Authorization" not in other_server.seen[0].headers


def test_a_download_address_in_the_private_network_is_refused(
    lfs, pointer, server, other_server, tmp_path, tools
):
    oid = tools.digest(tools.model)
    href = other_server.on(f"/{oid}", tools.model).replace("http://", "https://")
    action = {"oid": oid, "actions": {"download": {"href": href}}}
    server.on(BATCH, lambda e: e.json(200, {"objects": [action]}), "POST")
    with pytest.raises(SourceError, match=r"127\.0\.0\.1, which is not one of the public"):
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", lfs)
    assert other_server.seen == []


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"objects": 7},
        {"objects": [None]},
        {"objects": [{"oid": "OID"}]},
        {"objects": [{"oid": "OID", "actions": {"download": {"href": 7}}}]},
        {
            "objects": [
                {"oid": "OID", "actions": {"download": {"href": "https://x", "header": {"A": "b\r\nC: d"}}}}
            ]
        },
        {"objects": [{"oid": "OID", "actions": {"download": {"href": "file:///etc/passwd"}}}]},
        {"objects": [{"oid": "OID", "actions": {"download": {"href": "https://[::1"}}}]},
        {"objects": [{"oid": "OID", "error": "gone"}]},
    ],
)
def test_a_malformed_batch_answer_is_an_error(lfs, pointer, server, tmp_path, tools, answer) -> None:
    text = json.dumps(answer).replace("OID", tools.digest(tools.model))
    server.on(BATCH, lambda e: e.reply(200, text.encode()), "POST")
    with pytest.raises(SourceError, match="unresolved Git LFS pointer") as caught:
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", lfs)
    assert COMMAND in caught.value.remedy


def test_a_batch_answer_that_is_no_json_or_endless_is_an_error(lfs, pointer, server, tmp_path) -> None:
    for number, body in enumerate((b"<html>", b"[" * 100_000, b" " * (9 * 2**20))):
        server.on(BATCH, lambda e, body=body: e.reply(200, body), "POST")
        with pytest.raises(SourceError, match=r"not JSON|longer than"):
            acquire(PathLocator(path="models/plate.onnx"), tmp_path / str(number), lfs)


GOOD = pointer_text("ab" * 32, 12)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace(b"spec/v1", b"spec/v2"),
        GOOD.replace(b"sha256:", b"md5:"),
        GOOD.replace(b"ab" * 32, b"AB" * 32),
        GOOD.replace(b"size 12", b"size -1"),
        GOOD.replace(b"size 12", b"size 012"),
        GOOD.replace(b"size 12", b"size 1" + b"0" * 30),
        GOOD + b"extra line\n",
        GOOD.replace(b"oid", b"ext-0-x sha256:" + b"0" * 64 + b"\noid"),
        GOOD[:-1],
        GOOD.replace(b"\n", b"\r\n"),
        GOOD + b" " * 2000,
    ],
)
def test_a_broken_pointer_is_said_and_never_taken_for_a_model(context, tmp_path, text) -> None:
    (context.repo / "m.onnx").write_bytes(text)
    with pytest.raises(SourceError, match="not a valid one"):
        acquire(PathLocator(path="m.onnx"), tmp_path / "c", context)


def test_a_broken_pointer_in_git_is_said_too(context, tmp_path, tools) -> None:
    (context.repo / "m.onnx").write_bytes(GOOD + b" " * 2000)
    tools.commit(context.repo)
    with pytest.raises(SourceError, match="not a valid one"):
        acquire(GitLocator(git="HEAD", path="m.onnx"), tmp_path / "c", context)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_pointer_none_or_an_error(data: bytes, begun: bool) -> None:
    text = GOOD[:45] + data if begun else data
    try:
        found = read_pointer(text[:POINTER_MAX], len(text), where="x")
    except SourceError:
        assert text.startswith((b"version https://git-lfs", b"version https://hawser"))
        return
    assert found is None or found == Pointer(text[text.index(b"sha256:") + 7 :][:64].decode(), found.size)


def test_a_good_pointer_is_read() -> None:
    assert read_pointer(GOOD, len(GOOD), where="x") == Pointer("ab" * 32, 12)
    assert read_pointer(b"\x08\x07onnx", 6, where="x") is None
