"""A scripted HTTP(S) server on loopback, a certificate authority, and git repositories made on the spot."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from qgate.sources.context import Patience, SourceContext

MODEL = bytes(range(256)) * 400


@dataclass
class Seen:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Exchange:
    """One request and the means to answer it, well or badly."""

    def __init__(self, handler: BaseHTTPRequestHandler, seen: Seen, stop: threading.Event) -> None:
        self.handler = handler
        self.seen = seen
        self.stop = stop

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.begin(status, **{"Content-Length": str(len(body)), **headers})
        self.handler.wfile.write(body)

    def json(self, status: int, body: object, **headers: str) -> None:
        self.reply(status, json.dumps(body).encode(), **headers)

    def begin(self, status: int, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def drop(self) -> None:
        self.handler.close_connection = True


Answer = Callable[[Exchange], None]


@dataclass
class LocalServer:
    base: str
    port: int
    stop: threading.Event
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def on(self, path: str, answer: Answer | bytes, method: str = "GET") -> str:
        """Answers a path with bytes or a function; returns its address."""
        body = answer
        self.answers[method, path] = (lambda e: e.reply(200, body)) if isinstance(body, bytes) else body
        return self.base + path

    def paths(self) -> list[str]:
        return [one.path for one in self.seen]


def _handler(state: LocalServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen = Seen(self.command, unquote(parts.path), parts.query, dict(self.headers.items()), body)
            state.seen.append(seen)
            chosen = state.answers.get((self.command, seen.path))
            exchange = Exchange(self, seen, state.stop)
            try:
                if chosen is None:
                    exchange.json(404, {"message": "Not Found"})
                else:
                    chosen(exchange)
            except OSError:
                self.close_connection = True  # the client hung up, as several tests want it to

        do_GET = do_POST = do_HEAD = answer  # noqa: N815 - the library's names

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        return  # a client that refuses the certificate is no news


def _serve(scheme: str, host: str, tls: ssl.SSLContext | None) -> Iterator[LocalServer]:
    stop = threading.Event()
    state = LocalServer("", 0, stop)
    server = _Server(("127.0.0.1", 0), _handler(state))
    if tls is not None:
        # The handshake belongs to the connection's own thread, or one bad client would stop them all.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.port = server.server_address[1]
    state.base = f"{scheme}://{host}:{state.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """http:// on 127.0.0.1."""
    yield from _serve("http", "127.0.0.1", None)


@pytest.fixture
def other_server() -> Iterator[LocalServer]:
    """A second one: another origin."""
    yield from _serve("http", "127.0.0.1", None)


@dataclass(frozen=True)
class Authority:
    ca: Path
    chain: Path


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, ca: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if ca:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        names = x509.SubjectAlternativeName(
            [x509.DNSName("models.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority and a certificate of it for models.test and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("authority")
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("qgate test CA", ca_key, "qgate test CA", ca_key, ca=True)
    leaf = _certificate("models.test", key, "qgate test CA", ca_key, ca=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "chain.pem").write_bytes(private + leaf.public_bytes(pem))
    return Authority(folder / "ca.pem", folder / "chain.pem")


@pytest.fixture
def tls_server(authority: Authority) -> Iterator[LocalServer]:
    """https:// under the name models.test, which the context's resolver knows."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.chain)
    yield from _serve("https", "models.test", tls)


class NameServer:
    """A resolver whose answers a test chooses; names that it does not know do not resolve."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): list(ips) for name, ips in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[tuple[object, ...]]:
        self.asked.append(host)
        found = [host] if host.replace(".", "").isdigit() else self.answers.get(host)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]


QUICK = Patience(connect_seconds=5.0, read_seconds=5.0, total_seconds=20.0, attempts=3, sleep=lambda _: None)


@pytest.fixture
def name_server() -> NameServer:
    return NameServer(models_test=["127.0.0.1"], other_test=["127.0.0.1"])


@pytest.fixture
def context(tmp_path: Path, authority: Authority, name_server: NameServer) -> SourceContext:
    """A context over an empty repository folder; models.test is allowed, nothing else is."""
    repo = tmp_path / "repo"
    repo.mkdir()
    return SourceContext(
        repo=repo,
        allow_hosts=("models.test",),
        verify=authority.ca,
        resolver=name_server,
        patience=QUICK,
        max_bytes=2**20,
    )


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git(repo: Path, *arguments: str) -> str:
    """Runs git as a developer would, away from this machine's own configuration."""
    identity = ("-c", "user.name=Dev", "-c", "user.email=dev@example.com", "-c", "init.defaultBranch=main")
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(repo),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=repo, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(repo: Path, message: str = "change") -> str:
    if not (repo / ".git").exists():
        git(repo, "init", "-q")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "--allow-empty", "-m", message)
    return git(repo, "rev-parse", "HEAD")


class Tools:
    """The plain functions of this file, for tests that cannot import it."""

    model = MODEL
    digest = staticmethod(digest)
    git = staticmethod(git)
    commit = staticmethod(commit)
    NameServer = NameServer


@pytest.fixture
def tools() -> Tools:
    return Tools()
