"""The HTTP side: authentication, pagination, faults, validation, and the control endpoints."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from local_github.api import Answer, Api, RefusalError
from local_github.description import API, Description
from local_github.faults import Fault
from local_github.world import TOKENS, World

ENTERPRISE = "/api/v3"


class GitHub:
    """The server's state and its judge. ``violations`` must be empty at the end of a test."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1", state_file: Path | None = None) -> None:
        self.world = World()
        self.description = Description()
        self.api = Api(self.world, self.description)
        self.faults: list[Fault] = []
        self.requests: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.lock = threading.RLock()
        self._state_file = state_file
        self.http = ThreadingHTTPServer((host, port), _handler(self))
        self.http.daemon_threads = True
        self.url = f"http://{host}:{self.http.server_address[1]}"

    def state(self) -> dict[str, Any]:
        """What was written, asked and violated, as JSON."""
        return {
            "repositories": self.world.state(),
            "requests": self.requests,
            "violations": self.violations,
        }

    def save(self) -> None:
        """Writes the state to the state file, if there is one, so that readers never see half of it."""
        if self._state_file is not None:
            partial = self._state_file.with_name(self._state_file.name + ".partial")
            partial.write_text(json.dumps(self.state(), indent=1), encoding="utf-8")
            partial.replace(self._state_file)

    @contextmanager
    def running(self) -> Iterator[GitHub]:
        """Serves in a thread until the block ends."""
        thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.http.shutdown()
            thread.join()
            self.http.server_close()


def _handler(github: GitHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet, else the client's delayed ACK costs 40 ms an answer

        def log_message(self, *arguments: object) -> None:
            """Says nothing: the requests are kept in the state."""

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            if url.path.startswith("/__"):
                self._control(url.path, body)
            else:
                self._answer(url.path.removeprefix(ENTERPRISE), url.query, body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815

        def _control(self, path: str, body: bytes) -> None:
            try:
                orders = json.loads(body) if body else []
                orders = orders if isinstance(orders, list) else [orders]
                with github.lock:
                    if path == "/__setup":
                        for order in orders:
                            github.world.set_up(order)
                    elif path == "/__faults":
                        github.faults = [Fault(**order) for order in orders]
                    elif path != "/__state":
                        raise KeyError(path)
                    github.save()
                    payload = json.dumps(github.state()).encode()
            except (KeyError, TypeError, ValueError) as error:
                self._send(400, json.dumps({"message": repr(error)}).encode())
            else:
                self._send(200, payload)

        def _answer(self, path: str, query: str, body: bytes) -> None:
            method = self.command
            with github.lock:
                github.requests.append({"method": method, "path": path, "query": query})
                broken = github.description.request_violations(method, path, query, body)
                github.violations += broken
                fault = next((f for f in github.faults if f.takes(f"{method} {path}")), None)
            if fault is not None:
                time.sleep(fault.delay)
            status, payload, headers = 422, json.dumps({"message": "; ".join(broken)}).encode(), {}
            if not broken and (fault is None or fault.commit or not (fault.status or fault.drop)):
                status, payload, headers = self._operate(path, query, body)
            with github.lock:
                github.save()
            if fault is not None and fault.drop:
                self.close_connection = True
                return
            if fault is not None and fault.status:
                self._send_fault(fault)
                return
            self._send(status, payload, headers)

        def _operate(self, path: str, query: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            headers: dict[str, str] = {}
            with github.lock:
                try:
                    token = self.headers.get("Authorization", "").partition(" ")[2]
                    if token not in TOKENS:
                        raise RefusalError(401, "Bad credentials")
                    parameters = dict(parse_qsl(query))
                    data = json.loads(body) if body else {}
                    answer = github.api(self.command, path, parameters, data, TOKENS[token])
                    status, content = answer.status, self._page(answer, path, parameters, headers)
                except RefusalError as refusal:
                    status, content = refusal.status, refusal.body
                payload = b"" if content is None else json.dumps(content).encode()
                github.violations += github.description.response_violations(
                    self.command, path, query, body, status, payload
                )
            return status, payload.replace(API.encode(), self._base().encode()), headers

        def _page(self, answer: Answer, path: str, query: dict[str, str], headers: dict[str, str]) -> Any:
            if answer.items is None:
                return answer.body
            size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
            last = -(-len(answer.items) // size)
            if page < last:
                links = [
                    f'<{self._base()}{path}?{urlencode({**query, "page": number})}>; rel="{name}"'
                    for name, number in (("next", page + 1), ("last", last))
                ]
                headers["Link"] = ", ".join(links)
            return answer.items[(page - 1) * size : page * size]

        def _base(self) -> str:
            prefix = ENTERPRISE if self.path.startswith(ENTERPRISE) else ""
            return f"http://{self.headers.get('Host', 'localhost')}{prefix}"

        def _send_fault(self, fault: Fault) -> None:
            html = isinstance(fault.body, str)
            payload = fault.body.encode() if html else json.dumps(fault.body).encode()
            content = "text/html" if html else "application/json; charset=utf-8"
            self._send(fault.status, payload, {"Content-Type": content, **fault.headers})

        def _send(self, status: int, payload: bytes, headers: dict[str, str] | None = None) -> None:
            default = {
                "Content-Type": "application/json; charset=utf-8",
                "Content-Length": str(len(payload)),
                "X-RateLimit-Limit": "1000",
                "X-RateLimit-Remaining": "999",
                "X-RateLimit-Reset": str(int(time.time()) + 3600),
            }
            try:
                self.send_response(status)
                for name, value in {**default, **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)
            except ConnectionError:
                self.close_connection = True  # the client had stopped waiting

    return Handler
