"""Lists and reads datasets of the hub in a process of its own: `huggingface_hub` takes its address when it is imported.

One JSON array of names on stdin, or of steps that begin with a sign; one of what came of each on stdout.
"""

import json
import os
import sys
import urllib.request
from dataclasses import asdict
from typing import Any

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.read.fetch import fetch
from pipeline.records import Recording
from pipeline.sources import hub
from pipeline.sources.entries import Entry
from pipeline.sources.recognise import open_source

HUB = ReadConfig(source="hub")
last: list[Entry] = []


def outcome(step: str) -> Any:
    sign, _, what = step.partition(" ")
    if sign == "token":
        os.environ["HF_TOKEN"] = what
        return None
    if sign == "imported":
        return what in sys.modules
    if sign == "show":  # the next commit becomes main
        urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/show/{what}").read()
        return None
    if sign == "read":  # the entry of that number of the last listing
        entry = last[int(what)]
        recording = Recording(entry.id, entry.uri, entry.row, span=entry.span, size=entry.size, version=entry.version)
        [(_, data)] = fetch([recording], HUB)
        return data.hex() if isinstance(data, bytes) else repr(data)
    if sign == "datasets":  # what that package reads from a split, as a stream
        import datasets

        name, split = what.split(":")
        rows = datasets.load_dataset(name, split=split, streaming=True)
        return [row["text"] for row in rows]
    if sign in ("offline", "unreachable"):
        import huggingface_hub.constants as constants

        constants.HF_HUB_OFFLINE = sign == "offline"
        constants.ENDPOINT = os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
        hub.FIRST_S = 0.1
        step = what
    if sign == "hf":  # a URL of files
        step = what
    try:
        source = open_source(step, ReadConfig() if sign == "hf" else HUB)
        last[:] = [entry for piece in source.pieces() for entry in piece.entries]
    except UsageError as error:
        return str(error)
    kept = [{**asdict(entry), "error": entry.error and entry.error.reason} for entry in last]
    return {"description": source.description, "columns": source.schema.names, "entries": kept}


if __name__ == "__main__":
    json.dump([outcome(step) for step in json.load(sys.stdin)], sys.stdout)
