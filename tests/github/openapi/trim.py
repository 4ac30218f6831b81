"""Cuts GitHub's OpenAPI description down to the operations that the tests use.

    npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
    python tests/github/openapi/trim.py package/generated/api.github.com.json

writes ``api.github.com.json`` beside this script. Only prose and extensions are dropped: every schema,
parameter and example that the kept operations reach is GitHub's own, unchanged.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = "/repos/{owner}/{repo}"
OPERATIONS: dict[str, tuple[str, ...]] = {
    "/user": ("get",),
    REPOSITORY: ("get",),
    f"{REPOSITORY}/activity": ("get",),
    f"{REPOSITORY}/collaborators/{{username}}/permission": ("get",),
    f"{REPOSITORY}/commits/{{commit_sha}}/pulls": ("get",),
    f"{REPOSITORY}/commits/{{ref}}/statuses": ("get",),
    f"{REPOSITORY}/git/blobs/{{file_sha}}": ("get",),
    f"{REPOSITORY}/issues/comments/{{comment_id}}": ("get", "patch", "delete"),
    f"{REPOSITORY}/issues/{{issue_number}}/comments": ("get", "post"),
    f"{REPOSITORY}/issues/{{issue_number}}/timeline": ("get",),
    f"{REPOSITORY}/pulls": ("get",),
    f"{REPOSITORY}/pulls/{{pull_number}}": ("get",),
    f"{REPOSITORY}/pulls/{{pull_number}}/files": ("get",),
    f"{REPOSITORY}/statuses/{{sha}}": ("post",),
}
ALWAYS = ("#/components/schemas/basic-error", "#/components/schemas/validation-error")
PROSE = ("description", "summary", "externalDocs", "tags", "title")


def without_prose(node: Any, *, names: bool = False) -> Any:
    """Drops prose and ``x-`` extensions; ``names`` says that the keys of this level are not keywords."""
    if isinstance(node, list):
        return [without_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {}
    for key, value in node.items():
        if not names and (key in PROSE or key.startswith("x-")):
            continue
        if key in ("example", "default", "enum", "examples") and not names:
            kept[key] = value
            continue
        kept[key] = without_prose(value, names=not names and key in ("properties", "headers"))
    return kept


def references(node: Any) -> Iterator[str]:
    """Every ``$ref`` below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def look_up(description: dict[str, Any], reference: str) -> Any:
    """The component that ``#/components/KIND/NAME`` names."""
    _, _, kind, name = reference.split("/", 3)
    return description["components"][kind][name.replace("~1", "/").replace("~0", "~")]


def trim(description: dict[str, Any]) -> dict[str, Any]:
    """The description of OPERATIONS alone, with what they reach."""
    paths: dict[str, Any] = {}
    for path, methods in OPERATIONS.items():
        item = description["paths"][path]
        paths[path] = without_prose({key: item[key] for key in (*methods, "parameters") if key in item})
    reached: dict[str, Any] = {}
    waiting = [*references(paths), *ALWAYS]
    while waiting:
        reference = waiting.pop()
        if reference in reached:
            continue
        component = look_up(description, reference)
        is_example = reference.startswith("#/components/examples/")
        reached[reference] = component if is_example else without_prose(component)
        waiting.extend(references(reached[reference]))
    components: dict[str, dict[str, Any]] = {}
    for reference, component in sorted(reached.items()):
        _, _, kind, name = reference.split("/", 3)
        components.setdefault(kind, {})[name] = component
    _describe_responses(paths)
    _describe_responses(components)
    info = {key: description["info"][key] for key in ("title", "version", "license")}
    return {
        "openapi": description["openapi"],
        "info": info,
        "servers": description["servers"],
        "paths": paths,
        "components": components,
    }


def _describe_responses(node: Any) -> None:
    # OpenAPI asks every response for a description, so that one word stays.
    if isinstance(node, dict):
        for response in (node.get("responses") or {}).values() if isinstance(node, dict) else ():
            if isinstance(response, dict) and "$ref" not in response:
                response.setdefault("description", "")
        for value in node.values():
            _describe_responses(value)


def main() -> None:
    """Reads the description named on the command line and writes the trimmed one beside this script."""
    description = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = Path(__file__).with_name("api.github.com.json")
    text = json.dumps(trim(description), separators=(",", ":"), sort_keys=True)
    out.write_text(text + "\n", encoding="utf-8")
    print(f"{out.name}: {out.stat().st_size // 1024} KiB, {len(OPERATIONS)} paths")


if __name__ == "__main__":
    main()
