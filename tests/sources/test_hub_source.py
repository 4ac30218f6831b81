from __future__ import annotations

import sys
import time
from dataclasses import replace

import pytest

from qgate.errors import SourceError
from qgate.sources.acquire import acquire
from qgate.sources.locator import HubLocator

TOKEN = "hf_canary0123456789"
COMMIT = "c" * 40
PATH = "/owner/name/resolve/v1.0/onnx/plate.onnx"


@pytest.fixture
def locator(tools):
    return HubLocator(hf="owner/name@v1.0/onnx/plate.onnx", sha256=tools.digest(tools.model))


@pytest.fixture
def hub(context, server):
    return replace(context, hub_endpoint=server.base, allow_hosts=())


def serve(server, path: str, data: bytes, **headers: str) -> None:
    facts = {"ETag": '"e1"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes", **headers}

    def head(exchange) -> None:
        exchange.begin(200, Content_Length=str(len(data)), **facts)

    server.on(path, head, "HEAD")
    server.on(path, lambda e: e.reply(200, data, **facts))


def test_a_pinned_file_and_its_side_file_come_from_the_hub(hub, locator, server, tmp_path, tools) -> None:
    serve(server, PATH, tools.model)
    serve(server, "/owner/name/resolve/v1.0/onnx/w.bin", b"weights")
    both = locator.model_copy(update={"files": {"w.bin": tools.digest(b"weights")}})
    got = acquire(both, tmp_path / "c", hub, side_files=lambda _: ["w.bin"])
    assert got.main.read_bytes() == tools.model
    assert got.files == {"plate.onnx": tools.digest(tools.model), "w.bin": tools.digest(b"weights")}
    assert got.locator == "hf://owner/name@v1.0/onnx/plate.onnx"
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["plate.onnx", "w.bin"]
    assert all("authorization" not in {k.lower() for k in one.headers} for one in server.seen)
    assert "huggingface_hub" not in sys.modules


def test_the_token_goes_to_the_hub_alone(hub, locator, server, other_server, tmp_path, tools) -> None:
    serve(server, PATH, tools.model)
    serve(other_server, "/store", tools.model)
    moved = {
        "ETag": '"e1"',
        "X-Repo-Commit": COMMIT,
        "X-Linked-Size": str(len(tools.model)),
        "X-Linked-Etag": '"e1"',
    }
    away = f"{other_server.base}/store".replace("127.0.0.1", "localhost")
    server.on(PATH, lambda e: e.begin(302, Location=away, Content_Length="0", **moved), "HEAD")
    server.on(PATH, lambda e: e.begin(302, Location=away, Content_Length="0", **moved))
    got = acquire(locator, tmp_path / "c", replace(hub, hub_token=TOKEN, allow_hosts=("localhost",)))
    assert got.main.read_bytes() == tools.model
    assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert other_server.seen
    assert TOKEN not in str([one.headers for one in other_server.seen])
    assert TOKEN not in repr(got)


def test_a_store_in_the_private_network_is_refused(
    hub, locator, server, other_server, tmp_path, tools
) -> None:
    moved = {
        "ETag": '"e1"',
        "X-Repo-Commit": COMMIT,
        "X-Linked-Size": str(len(tools.model)),
        "X-Linked-Etag": '"e1"',
    }
    away = f"{other_server.base}/store"
    for method in ("HEAD", "GET"):
        server.on(PATH, lambda e: e.begin(302, Location=away, Content_Length="0", **moved), method)
    serve(other_server, "/store", tools.model)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1, which is not one of the public") as caught:
        acquire(locator, tmp_path / "c", hub)
    assert "allow_hosts" in caught.value.remedy
    assert other_server.seen == []


def test_a_wrong_digest_is_refused(hub, locator, server, tmp_path, tools) -> None:
    serve(server, PATH, b"other bytes")
    with pytest.raises(SourceError) as caught:
        acquire(locator, tmp_path / "c", hub)
    assert locator.sha256 in caught.value.what
    assert tools.digest(b"other bytes") in caught.value.what
    assert not list((tmp_path / "c").iterdir())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("RepoNotFound", "no such repository"),
        ("RevisionNotFound", "no revision v1.0"),
        ("EntryNotFound", "no file onnx/plate.onnx"),
    ],
)
def test_what_the_hub_does_not_have_is_said(hub, locator, server, tmp_path, code, says) -> None:
    for method in ("HEAD", "GET"):
        server.on(PATH, lambda e: e.begin(404, X_Error_Code=code, Content_Length="0"), method)
    with pytest.raises(SourceError) as caught:
        acquire(locator, tmp_path / "c", replace(hub, hub_token=TOKEN))
    assert says in caught.value.what
    assert "HF_TOKEN" in caught.value.remedy
    assert TOKEN not in str(caught.value)


def test_a_file_larger_than_the_cap_is_refused_before_it_is_sent(
    hub, locator, server, tmp_path, tools
) -> None:
    serve(server, PATH, tools.model)
    with pytest.raises(SourceError, match="more than allowed") as caught:
        acquire(locator, tmp_path / "c", replace(hub, max_bytes=1000))
    assert "download_mb" in caught.value.remedy
    assert [one.method for one in server.seen] == ["HEAD"]


def test_a_hub_that_lies_about_the_length_is_bounded(hub, locator, server, tmp_path) -> None:
    def endless(exchange) -> None:
        exchange.begin(200, Transfer_Encoding="chunked", ETag='"e1"', X_Repo_Commit=COMMIT)
        while not exchange.stop.is_set():
            exchange.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")

    facts = {"ETag": '"e1"', "X-Repo-Commit": COMMIT}
    server.on(PATH, lambda e: e.begin(200, Content_Length="1000", **facts), "HEAD")
    server.on(PATH, endless)
    with pytest.raises(SourceError, match=r"more bytes than allowed"):
        acquire(locator, tmp_path / "c", hub)
    assert not list((tmp_path / "c").iterdir())


def test_a_silent_hub_is_bounded_by_the_total_time(hub, locator, server, tmp_path) -> None:
    server.on(PATH, lambda e: e.stop.wait(20), "HEAD")
    hasty = replace(hub, patience=replace(hub.patience, total_seconds=1.0))
    begun = time.monotonic()
    with pytest.raises(SourceError, match="longer than 1 seconds"):
        acquire(locator, tmp_path / "c", hasty)
    assert time.monotonic() - begun < 10
    assert not list((tmp_path / "c").iterdir())


def test_a_hub_without_network_is_said(hub, locator, tmp_path) -> None:
    with pytest.raises(SourceError, match="hub download failed") as caught:
        acquire(locator, tmp_path / "c", replace(hub, hub_endpoint="http://127.0.0.1:1"))
    assert "network" in caught.value.remedy


def test_a_hub_file_comes_from_the_cache(hub, locator, server, tmp_path, tools) -> None:
    serve(server, PATH, tools.model)
    cached = replace(hub, cache=tmp_path / "cache")
    acquire(locator, tmp_path / "a", cached)
    before = len(server.seen)
    acquire(locator, tmp_path / "b", cached)
    assert len(server.seen) == before


def test_the_hub_s_certificate_is_verified(hub, locator, tls_server, tmp_path, tools) -> None:
    serve(tls_server, PATH, tools.model)
    secure = replace(hub, hub_endpoint=f"https://127.0.0.1:{tls_server.port}")
    assert acquire(locator, tmp_path / "a", secure).bytes == len(tools.model)
    with pytest.raises(SourceError, match="hub download failed"):
        acquire(locator, tmp_path / "b", replace(secure, verify=None))
