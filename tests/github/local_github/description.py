"""GitHub's OpenAPI description: examples to build bodies from, and the judge of every exchange."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse
from openapi_schema_validator import OAS30Validator

API = "https://api.github.com"
FILE = Path(__file__).parent.parent / "openapi" / "api.github.com.json"

GAPS = ("head/repo ",)
"""Where GitHub does not keep to its description: it answers null for the repository of a deleted fork."""


class Description:
    """The trimmed description, loaded once for a server."""

    def __init__(self, file: Path = FILE) -> None:
        self._raw: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        # The description itself is GitHub's and was cut by trim.py; checking it again costs seconds a run.
        self._openapi = OpenAPI.from_dict(self._raw, config=Config(spec_validator_cls=None))

    def example(self, path: str, method: str, status: int) -> Any:
        """A fresh copy of GitHub's own example body for one response of one operation."""
        response = self._resolve(self._raw["paths"][path][method]["responses"][str(status)])
        media = response["content"]["application/json"]
        first = next(iter(media["examples"].values())) if "examples" in media else {"value": media["example"]}
        return copy.deepcopy(self._resolve(first)["value"])

    def request_violations(self, method: str, path: str, query: str, body: bytes) -> list[str]:
        """What is wrong with a request; ``path`` as sent, its tail's slashes still percent-encoded."""
        request = _request(method, path, query, body)
        return self._violations("request", self._openapi.validate_request, request)

    def response_violations(
        self, method: str, path: str, query: str, body: bytes, status: int, payload: bytes
    ) -> list[str]:
        """What is wrong with a response; a status that GitHub does not document must be its plain error."""
        request = _request(method, path, query, body)
        operation = self._operation(method, path)
        if operation is not None and str(status) not in operation["responses"]:
            errors = self._validator("basic-error").iter_errors(json.loads(payload))
            return [f"response {status}: {error.message[:200]}" for error in errors]
        response = MockResponse(payload, status_code=status, content_type="application/json")
        return self._violations("response", self._openapi.validate_response, request, response)

    def _violations(self, side: str, validate: Any, *exchange: Any) -> list[str]:
        try:
            validate(*exchange)
        except Exception as error:  # every error class of openapi-core means the same here: not GitHub's API
            details = getattr(error.__cause__, "schema_errors", None) or [error]
            broken = [line for line in map(_one_line, details) if not line.startswith(GAPS)]
            return [f"{side} {exchange[0].method} {exchange[0].path}: {line}" for line in broken]
        return []

    def _operation(self, method: str, path: str) -> Any:
        given = path.split("/")
        for template, item in self._raw["paths"].items():
            wanted = template.split("/")
            if len(wanted) == len(given) and method.lower() in item:
                pairs = zip(wanted, given, strict=True)
                if all(part.startswith("{") or part == actual for part, actual in pairs):
                    return item[method.lower()]
        return None

    def _validator(self, schema: str) -> OAS30Validator:
        return OAS30Validator(self._raw["components"]["schemas"][schema])

    def _resolve(self, node: Any) -> Any:
        while "$ref" in node:
            _, _, kind, name = node["$ref"].split("/", 3)
            node = self._raw["components"][kind][name]
        return node


def _request(method: str, path: str, query: str, body: bytes) -> MockRequest:
    return MockRequest(
        API,
        method.lower(),
        path,
        args=dict(parse_qsl(query)) or None,
        data=body or None,
        content_type="application/json",
        headers={"content-type": "application/json"},
    )


def _one_line(error: Any) -> str:
    where = "/".join(map(str, getattr(error, "absolute_path", ())))
    return f"{where} {type(error).__name__} {str(getattr(error, 'message', error))[:200]}".strip()
