"""A confined process that loads one plugin and answers with what it returns: the road that measurements take."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from qgate.measure.plugin import Plugin, PluginError, load_function, prepare_plugins
from qgate.sandbox.body import Work, run_and_exit


def prepare(request: str) -> list[Path]:
    return prepare_plugins([Plugin.from_data(each) for each in json.loads(request)["code"]])


def answer(request: str, progress: Callable[[int, int], None]) -> bytes:
    asked = json.loads(request)
    told = []
    for raw in asked["code"]:
        try:
            told.append({"value": load_function(Plugin.from_data(raw))(*asked["arguments"])})
        except PluginError as error:
            told.append({"what": error.what, "where": error.where})
    return json.dumps({"told": told, "pid": os.getpid()}).encode()


def work() -> Work:
    return Work(lambda: None, prepare, answer)


if __name__ == "__main__":
    run_and_exit(work)
