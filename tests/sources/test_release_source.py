from __future__ import annotations

from dataclasses import replace

import pytest

from qgate.errors import SourceError
from qgate.sources.acquire import acquire
from qgate.sources.locator import ReleaseLocator

TOKEN = "ghs_canary0123456789"
TAG = "/api/v3/repos/owner/models/releases/tags/v1/int8"
ASSET = "/api/v3/repos/owner/models/releases/assets/42"


@pytest.fixture
def locator(tools):
    return ReleaseLocator(
        release="owner/models@v1/int8", asset="plate.onnx", sha256=tools.digest(tools.model)
    )


@pytest.fixture
def github(context, server):
    return replace(context, token=TOKEN, api_url=f"{server.base}/api/v3")


def listing(tools, **changes):
    asset = {"id": 42, "name": "plate.onnx", "size": len(tools.model), **changes}
    return {"tag_name": "v1/int8", "assets": [{"id": 7, "name": "notes.txt", "size": 3}, asset]}


def test_an_asset_comes_by_the_api_and_the_token_stays_there(
    github, locator, server, other_server, tmp_path, tools
) -> None:
    store = replace(github, allow_hosts=("127.0.0.1",))
    server.on(TAG, lambda e: e.json(200, listing(tools)))
    server.on(ASSET, lambda e: e.reply(302, Location=f"{other_server.base}/store?sig=1"))
    other_server.on("/store", tools.model)
    got = acquire(locator, tmp_path / "c", store)
    assert got.main.name == "plate.onnx"
    assert got.main.read_bytes() == tools.model
    by_tag, by_id = server.seen
    assert by_tag.headers["Authorization"] == by_id.headers["Authorization"] == f"Bearer {TOKEN}"
    assert by_tag.headers["Accept"] == "application/vnd.github+json"
    assert by_id.headers["Accept"] == "application/octet-stream"
    assert TOKEN not in str(other_server.seen)
    assert "Authorization" not in other_server.seen[0].headers


def test_a_secret_that_was_withheld_does_not_come_back(
    github, locator, server, other_server, tmp_path, tools
) -> None:
    """A store that redirects back to the API must not be able to spend the token there."""
    store = replace(github, allow_hosts=("127.0.0.1",))
    server.on(TAG, lambda e: e.json(200, listing(tools)))
    server.on(ASSET, lambda e: e.reply(302, Location=f"{other_server.base}/store"))
    other_server.on("/store", lambda e: e.reply(302, Location=f"{server.base}/api/v3/user"))
    server.on("/api/v3/user", tools.model)
    acquire(locator, tmp_path / "c", store)
    assert "Authorization" not in server.seen[-1].headers


def test_a_store_in_the_private_network_is_refused(
    github, locator, server, other_server, tmp_path, tools
) -> None:
    server.on(TAG, lambda e: e.json(200, listing(tools)))
    target = other_server.base.replace("http://", "https://")
    server.on(ASSET, lambda e: e.reply(302, Location=f"{target}/store"))
    with pytest.raises(SourceError, match="not one of the public internet"):
        acquire(locator, tmp_path / "c", github)
    assert other_server.seen == []


def test_without_token_a_public_release_is_asked_for_plainly(
    github, locator, server, tmp_path, tools
) -> None:
    server.on(TAG, lambda e: e.json(200, listing(tools)))
    server.on(ASSET, tools.model)
    acquire(locator, tmp_path / "c", replace(github, token=None))
    assert all("Authorization" not in one.headers for one in server.seen)


def test_side_files_are_assets_of_the_same_release(github, locator, server, tmp_path, tools) -> None:
    answer = listing(tools)
    answer["assets"].append({"id": 43, "name": "w.bin", "size": 7})
    server.on(TAG, lambda e: e.json(200, answer))
    server.on(ASSET, tools.model)
    server.on(ASSET.replace("42", "43"), b"weights")
    both = locator.model_copy(update={"files": {"w.bin": tools.digest(b"weights")}})
    got = acquire(both, tmp_path / "c", github, side_files=lambda _: ["w.bin"])
    assert got.files == {"plate.onnx": tools.digest(tools.model), "w.bin": tools.digest(b"weights")}


def test_what_is_not_there_is_said(github, locator, server, tmp_path, tools) -> None:
    with pytest.raises(SourceError, match="no such release") as caught:
        acquire(locator, tmp_path / "a", github)
    assert "tag" in caught.value.remedy
    with pytest.raises(SourceError, match="no such release") as caught:
        acquire(locator, tmp_path / "b", replace(github, token=None))
    assert "needs a token" in caught.value.remedy
    server.on(TAG, lambda e: e.json(200, listing(tools, name="Plate.onnx")))
    with pytest.raises(SourceError, match=r"no asset plate\.onnx") as caught:
        acquire(locator, tmp_path / "c", github)
    assert "Plate.onnx" in caught.value.remedy
    assert caught.value.where == "release owner/models@v1/int8 asset plate.onnx"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([], "no asset"),
        ({"assets": None}, "no asset"),
        ({"assets": [None, {"name": 7}]}, "no asset"),
        ({"assets": [{"name": "plate.onnx"}]}, "no asset id"),
        ({"assets": [{"name": "plate.onnx", "id": "../../user"}]}, "no asset id"),
        ({"assets": [{"name": "plate.onnx", "id": 42, "size": 2**40}]}, "larger than"),
    ],
)
def test_a_malformed_listing_is_an_error(github, locator, server, tmp_path, answer, says) -> None:
    server.on(TAG, lambda e: e.json(200, answer))
    with pytest.raises(SourceError, match=says):
        acquire(locator, tmp_path / "c", github)
    assert len(server.seen) == 1


def test_refusals_and_wrong_bytes_never_show_the_token(github, locator, server, tmp_path, tools) -> None:
    messages = []
    for number, status in enumerate((401, 403, 404, 500)):
        server.on(TAG, lambda e, status=status: e.json(status, {"message": TOKEN}))
        with pytest.raises(SourceError) as caught:
            acquire(locator, tmp_path / str(number), github)
        messages.append(str(caught.value) + repr(caught.value.__dict__))
    server.on(TAG, lambda e: e.json(200, listing(tools)))
    server.on(ASSET, b"other")
    with pytest.raises(SourceError, match="another sha256") as caught:
        acquire(locator, tmp_path / "x", github)
    assert TOKEN not in "".join([*messages, str(caught.value)])


def test_a_release_comes_from_the_cache(github, locator, server, tmp_path, tools) -> None:
    server.on(TAG, lambda e: e.json(200, listing(tools)))
    server.on(ASSET, tools.model)
    cached = replace(github, cache=tmp_path / "cache")
    acquire(locator, tmp_path / "a", cached)
    acquire(locator, tmp_path / "b", cached)
    assert len(server.seen) == 2
