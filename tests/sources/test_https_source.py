from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from qgate.errors import SourceError
from qgate.sources.acquire import acquire
from qgate.sources.locator import HttpsLocator

PATH = "/files/plate.onnx"


@pytest.fixture
def locator(tls_server, tools):
    return HttpsLocator(url=tls_server.base + PATH, sha256=tools.digest(tools.model))


def impatient(context, **changes):
    return replace(context, patience=replace(context.patience, **changes))


def test_a_pinned_file_is_fetched_over_tls_from_the_checked_address(
    context, locator, tls_server, name_server, tmp_path, tools
) -> None:
    tls_server.on(PATH, tools.model)
    got = acquire(locator, tmp_path / "c", context)
    assert got.main.name == "plate.onnx"
    assert got.main.read_bytes() == tools.model
    assert got.files == {"plate.onnx": tools.digest(tools.model)}
    assert got.locator == locator.url
    assert name_server.asked == ["models.test"]
    seen = tls_server.seen[0].headers
    assert seen["Host"] == f"models.test:{tls_server.port}"
    assert seen["Accept-Encoding"] == "identity"
    assert "Authorization" not in seen


def test_side_files_have_addresses_beside_the_model_and_digests_of_their_own(
    context, locator, tls_server, tmp_path, tools
) -> None:
    tls_server.on(PATH, tools.model)
    tls_server.on("/files/deep/w.bin", b"weights")
    with pytest.raises(SourceError, match="no sha256 is declared") as caught:
        acquire(locator, tmp_path / "a", context, side_files=lambda _: ["deep/w.bin"])
    assert "files: {deep/w.bin: SHA256}" in caught.value.remedy
    full = locator.model_copy(update={"files": {"deep/w.bin": tools.digest(b"weights")}})
    got = acquire(full, tmp_path / "b", context, side_files=lambda _: ["deep/w.bin"])
    assert got.files["deep/w.bin"] == tools.digest(b"weights")
    signed = full.model_copy(update={"url": f"{full.url}?sig=1"})
    with pytest.raises(SourceError, match="carries a query"):
        acquire(signed, tmp_path / "d", context, side_files=lambda _: ["deep/w.bin"])


def test_a_wrong_digest_is_refused_with_both_and_leaves_nothing(
    context, locator, tls_server, tmp_path, tools
) -> None:
    tls_server.on(PATH, b"another model")
    cached = replace(context, cache=tmp_path / "cache")
    with pytest.raises(SourceError) as caught:
        acquire(locator, tmp_path / "c", cached)
    assert locator.sha256 in caught.value.what
    assert tools.digest(b"another model") in caught.value.what
    assert not list((tmp_path / "c").iterdir())
    assert not list((tmp_path / "cache").rglob("*"))


def test_an_untrusted_certificate_or_another_host_s_is_refused(
    context, locator, tls_server, tmp_path, tools
) -> None:
    tls_server.on(PATH, tools.model)
    with pytest.raises(SourceError, match="TLS certificate is not valid"):
        acquire(locator, tmp_path / "a", replace(context, verify=None))
    other = locator.model_copy(update={"url": locator.url.replace("models.test", "other.test")})
    with pytest.raises(SourceError, match="TLS certificate is not valid"):
        acquire(other, tmp_path / "b", replace(context, allow_hosts=("other.test",)))
    assert tls_server.seen == []


def test_plain_http_needs_the_policy_s_leave(context, server, tmp_path, tools) -> None:
    locator = HttpsLocator(url=server.on("/m.onnx", tools.model), sha256=tools.digest(tools.model))
    with pytest.raises(SourceError, match="unencrypted") as caught:
        acquire(locator, tmp_path / "a", context)
    assert "allow_hosts" in caught.value.remedy
    assert server.seen == []
    got = acquire(locator, tmp_path / "b", replace(context, allow_hosts=(f"127.0.0.1:{server.port}",)))
    assert got.bytes == len(tools.model)


@pytest.mark.parametrize("host", ["127.0.0.1", "other.test", "169.254.169.254", "10.1.2.3", "[::1]"])
def test_a_private_address_is_refused_before_anything_is_sent(
    context, locator, tls_server, tmp_path, host, tools
) -> None:
    tls_server.on(PATH, tools.model)
    private = locator.model_copy(update={"url": f"https://{host}:{tls_server.port}{PATH}"})
    answers = {"other.test": ["127.0.0.1"], "::1": ["::1"]}
    resolver = tools.NameServer()
    resolver.answers = answers
    with pytest.raises(SourceError, match="not one of the public internet") as caught:
        acquire(private, tmp_path / "c", replace(context, resolver=resolver))
    assert "allow_hosts" in caught.value.remedy
    assert tls_server.seen == []


def test_one_private_answer_among_public_ones_is_refused(
    context, locator, tls_server, tmp_path, tools
) -> None:
    resolver = tools.NameServer(mixed_test=["8.8.8.8", "127.0.0.1"])
    mixed = locator.model_copy(update={"url": f"https://mixed.test:{tls_server.port}{PATH}"})
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        acquire(mixed, tmp_path / "c", replace(context, resolver=resolver))


def test_a_name_is_resolved_once_and_that_answer_is_connected_to(
    context, locator, tls_server, tmp_path, tools
) -> None:
    """DNS rebinding: whatever the second answer would be, nobody asks for it."""

    class Rebinding(tools.NameServer):
        def __call__(self, host, port):
            answers = super().__call__(host, port)
            self.answers = {"models.test": ["192.0.2.1"]}
            return answers

    resolver = Rebinding(models_test=["127.0.0.1"])
    tls_server.on(PATH, tools.model)
    acquire(locator, tmp_path / "c", replace(context, resolver=resolver))
    assert resolver.asked == ["models.test"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["https://127.0.0.1:{port}/secret", "https://other.test:{port}/secret"])
def test_a_redirect_into_the_private_network_is_refused(
    context, locator, tls_server, tmp_path, status, target
) -> None:
    location = target.format(port=tls_server.port)
    tls_server.on(PATH, lambda e: e.reply(status, Location=location))
    tls_server.on("/secret", b"secret")
    with pytest.raises(SourceError, match="not one of the public internet"):
        acquire(locator, tmp_path / "c", context)
    assert tls_server.paths() == [PATH]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("http://other.test/x", "unencrypted"),
        ("file:///etc/passwd", "no plain web address"),
        ("https://user:pw@models.test/x", "no plain web address"),
        ("https://[::1", "redirects to an address that is none"),
        (PATH, "more than 5 redirects"),
    ],
)
def test_a_redirect_elsewhere_is_refused(context, locator, tls_server, tmp_path, target, says) -> None:
    tls_server.on(PATH, lambda e: e.reply(302, Location=target))
    with pytest.raises(SourceError, match=says) as caught:
        acquire(locator, tmp_path / "c", context)
    assert "pw" not in str(caught.value)
    assert len(tls_server.seen) <= 6


def test_a_relative_redirect_is_followed(context, locator, tls_server, tmp_path, tools) -> None:
    tls_server.on(PATH, lambda e: e.reply(302, Location="../mirror/m.onnx"))
    tls_server.on("/mirror/m.onnx", tools.model)
    assert acquire(locator, tmp_path / "c", context).bytes == len(tools.model)


def test_a_redirect_s_endless_body_is_not_read(context, locator, tls_server, tmp_path, tools) -> None:
    def endless(exchange) -> None:
        exchange.begin(302, Location="/m.onnx", Transfer_Encoding="chunked")
        for _ in range(2000):
            exchange.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    tls_server.on(PATH, endless)
    tls_server.on("/m.onnx", tools.model)
    assert acquire(locator, tmp_path / "c", context).bytes == len(tools.model)


def breaking_off(tools, *, after: int, tag: str | None, ranges: bool = True):
    """A server that drops the first transfer in the middle."""
    calls = []

    def answer(exchange) -> None:
        asked = exchange.seen.headers.get("Range")
        calls.append((asked, exchange.seen.headers.get("If-Range")))
        headers = {"ETag": tag} if tag else {}
        begin = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and ranges else 0
        rest = tools.model[begin:]
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(tools.model) - 1}/{len(tools.model)}"
        exchange.begin(206 if begin else 200, Content_Length=str(len(rest)), **headers)
        if len(calls) == 1:
            exchange.write(rest[:after])
            exchange.drop()
        else:
            exchange.write(rest)

    return answer, calls


def test_a_transfer_that_breaks_off_is_taken_up_where_it_stopped(
    context, locator, tls_server, tmp_path, tools
) -> None:
    answer, calls = breaking_off(tools, after=70_000, tag='"v1"')
    tls_server.on(PATH, answer)
    assert acquire(locator, tmp_path / "c", context).main.read_bytes() == tools.model
    assert calls[0] == (None, None)
    begun = int(calls[1][0].removeprefix("bytes=").rstrip("-"))
    assert 0 < begun <= 70_000
    assert calls[1][1] == '"v1"'


@pytest.mark.parametrize(("tag", "ranges"), [(None, True), ('W/"v1"', True), ('"v1"', False)])
def test_without_a_strong_tag_or_ranges_it_starts_again(
    context, locator, tls_server, tmp_path, tools, tag, ranges
) -> None:
    answer, calls = breaking_off(tools, after=70_000, tag=tag, ranges=ranges)
    tls_server.on(PATH, answer)
    assert acquire(locator, tmp_path / "c", context).main.read_bytes() == tools.model
    assert (calls[1][0] is None) == (tag != '"v1"')


def test_a_wrong_range_is_not_appended(context, locator, tls_server, tmp_path, tools) -> None:
    calls = []

    def answer(exchange) -> None:
        calls.append(exchange.seen.headers.get("Range"))
        if len(calls) == 1:
            exchange.begin(200, Content_Length=str(len(tools.model)), ETag='"a"')
            exchange.write(tools.model[:70_000])
            exchange.drop()
        elif len(calls) == 2:
            exchange.reply(206, b"zzz", Content_Range="bytes 5-7/8", ETag='"a"')
        else:
            exchange.reply(200, tools.model)

    tls_server.on(PATH, answer)
    assert acquire(locator, tmp_path / "c", context).main.read_bytes() == tools.model
    assert calls[0] is None
    assert calls[1] is not None
    assert calls[2] is None


def test_a_range_that_nobody_asked_for_is_refused(context, locator, tls_server, tmp_path, tools) -> None:
    tls_server.on(PATH, lambda e: e.reply(206, tools.model, Content_Range="bytes 0-9/10"))
    with pytest.raises(SourceError, match="another range"):
        acquire(locator, tmp_path / "c", context)


def test_a_server_that_always_breaks_off_is_given_up(context, locator, tls_server, tmp_path, tools) -> None:
    def answer(exchange) -> None:
        exchange.begin(200, Content_Length=str(len(tools.model)))
        exchange.write(tools.model[:100])
        exchange.drop()

    tls_server.on(PATH, answer)
    with pytest.raises(SourceError, match="failed 3 times, last: the connection broke off"):
        acquire(locator, tmp_path / "c", context)
    assert len(tls_server.seen) == 3
    assert not list((tmp_path / "c").iterdir())


def test_a_busy_server_is_asked_again_after_the_time_it_names(
    context, locator, tls_server, tmp_path, tools
) -> None:
    pauses = []
    answers = iter([(503, {"Retry-After": "7"}), (429, {"Retry-After": "999999"}), (200, {})])

    def answer(exchange) -> None:
        status, headers = next(answers)
        exchange.reply(status, tools.model if status == 200 else b"", **headers)

    tls_server.on(PATH, answer)
    acquire(locator, tmp_path / "c", impatient(context, sleep=pauses.append, backoff_seconds=0.5))
    assert pauses[0] == 7.0
    assert pauses[1] == 0.5
    assert pauses[2] <= context.patience.total_seconds
    assert pauses[3] == 1.0


@pytest.mark.parametrize(("status", "remedy"), [(404, "still exists"), (403, "token"), (410, "still exists")])
def test_a_refusal_is_said_once_with_its_status(
    context, locator, tls_server, tmp_path, status, remedy
) -> None:
    tls_server.on(PATH, lambda e: e.reply(status))
    with pytest.raises(SourceError, match=f"HTTP status {status}") as caught:
        acquire(locator, tmp_path / "c", context)
    assert remedy in caught.value.remedy
    assert len(tls_server.seen) == 1


def test_a_file_larger_than_the_cap_is_refused_by_its_announcement(
    context, locator, tls_server, tmp_path, tools
) -> None:
    tls_server.on(PATH, tools.model)
    with pytest.raises(SourceError, match="larger than"):
        acquire(locator, tmp_path / "c", replace(context, max_bytes=len(tools.model) - 1))


def test_an_endless_chunked_body_is_bounded_by_the_cap(context, locator, tls_server, tmp_path) -> None:
    sent = []

    def endless(exchange) -> None:
        exchange.begin(200, Transfer_Encoding="chunked")
        while not exchange.stop.is_set():
            exchange.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            sent.append(0x4000)

    tls_server.on(PATH, endless)
    with pytest.raises(SourceError, match="larger than the 1,048,576 bytes"):
        acquire(locator, tmp_path / "c", context)
    assert sum(sent) < 64 * 2**20
    assert not list((tmp_path / "c").iterdir())


def test_a_silent_server_is_bounded(context, locator, tls_server, tmp_path) -> None:
    tls_server.on(PATH, lambda e: e.stop.wait(10))
    begun = time.monotonic()
    with pytest.raises(SourceError, match="failed 2 times, last: the server stopped answering"):
        acquire(locator, tmp_path / "c", impatient(context, read_seconds=0.1, attempts=2))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_dripping_server_is_bounded_by_the_total_time(context, locator, tls_server, tmp_path, part) -> None:
    """Every byte starts the socket's own timeout again; the total time does not start again."""

    def drip(exchange) -> None:
        if part == "body":
            exchange.begin(200, Content_Length="100000")
        else:
            exchange.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not exchange.stop.wait(0.02):
            exchange.write(b"x")

    tls_server.on(PATH, drip)
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"longer than 0\.5 seconds"):
        acquire(locator, tmp_path / "c", impatient(context, total_seconds=0.5))
    assert time.monotonic() - begun < 5


def test_a_compressed_answer_is_refused(context, locator, tls_server, tmp_path) -> None:
    tls_server.on(PATH, lambda e: e.reply(200, b"x", Content_Encoding="gzip"))
    with pytest.raises(SourceError, match="compressed"):
        acquire(locator, tmp_path / "c", context)


def test_no_network_is_said(context, locator, tmp_path) -> None:
    nowhere = locator.model_copy(update={"url": "https://nowhere.test/x.onnx"})
    with pytest.raises(SourceError, match="host name does not resolve") as caught:
        acquire(nowhere, tmp_path / "a", context)
    assert "network" in caught.value.remedy
    closed = locator.model_copy(update={"url": "https://models.test:1/x.onnx"})
    with pytest.raises(SourceError, match="no connection"):
        acquire(closed, tmp_path / "b", context)


def test_the_cache_serves_without_network(context, locator, tls_server, tmp_path, tools) -> None:
    tls_server.on(PATH, tools.model)
    cached = replace(context, cache=tmp_path / "cache")
    acquire(locator, tmp_path / "a", cached)
    got = acquire(locator, tmp_path / "b", cached)
    assert got.main.read_bytes() == tools.model
    assert got.notes == ()
    assert len(tls_server.seen) == 1


@pytest.mark.parametrize("kind", ["bytes", "symlink", "folder", "huge"])
def test_a_poisoned_cache_is_seen_thrown_out_and_filled_again(
    context, locator, tls_server, tmp_path, tools, kind
) -> None:
    tls_server.on(PATH, tools.model)
    cached = replace(context, cache=tmp_path / "cache")
    acquire(locator, tmp_path / "a", cached)
    entry = tmp_path / "cache" / "sha256" / locator.sha256[:2] / locator.sha256
    entry.unlink()
    if kind == "bytes":
        entry.write_bytes(b"poison")
    elif kind == "symlink":
        entry.symlink_to(tmp_path / "a" / "plate.onnx")
    elif kind == "folder":
        entry.mkdir()
    else:
        with entry.open("wb") as file:
            file.truncate(2**32)
    got = acquire(locator, tmp_path / "b", cached)
    assert got.main.read_bytes() == tools.model
    assert len(tls_server.seen) == 2
    assert "thrown out" in got.notes[0]
    assert acquire(locator, tmp_path / "d", cached).main.read_bytes() == tools.model
    assert len(tls_server.seen) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(
    context, locator, tls_server, tmp_path, tools
) -> None:
    tls_server.on(PATH, tools.model)
    (tmp_path / "file").touch()
    cached = replace(context, cache=tmp_path / "file")
    assert acquire(locator, tmp_path / "a", cached).bytes == len(tools.model)


def test_a_signature_in_the_address_never_shows(context, locator, tls_server, tmp_path, tools) -> None:
    signed = locator.model_copy(update={"url": f"{locator.url}?X-Signature=canary"})
    messages = []
    for number, answer in enumerate(
        (
            lambda e: e.reply(404),
            lambda e: e.reply(500),
            lambda e: e.reply(302, Location="http://other.test/?X-Signature=canary"),
            b"other bytes",
        )
    ):
        tls_server.on(PATH, answer)
        with pytest.raises(SourceError) as caught:
            acquire(signed, tmp_path / str(number), context)
        messages.append(str(caught.value) + repr(caught.value))
    gone = signed.model_copy(update={"url": "https://nowhere.test/x?X-Signature=canary"})
    with pytest.raises(SourceError) as caught:
        acquire(gone, tmp_path / "gone", context)
    messages.append(str(caught.value))
    assert len(messages) == 5
    assert "canary" not in "".join(messages)
    tls_server.on(PATH, tools.model)
    got = acquire(signed, tmp_path / "good", context)
    assert "canary" not in repr(got)


def test_hostile_names_in_an_address_become_plain(context, tls_server, tmp_path, tools) -> None:
    for number, (path, name) in enumerate(
        [
            ("/a%2F..%2Fb", "a_2F.._2Fb"),
            ("/", "model"),
            ("/..", "model"),
            ("/-rf", "rf"),
            ("/" + "x" * 300, "x" * 120),
        ]
    ):
        url = tls_server.base + path
        seen = path.replace("%2F", "/")
        tls_server.on(seen, tools.model)
        tls_server.on("/", tools.model)
        got = acquire(
            HttpsLocator(url=url, sha256=tools.digest(tools.model)), tmp_path / str(number), context
        )
        assert got.main.name == name
