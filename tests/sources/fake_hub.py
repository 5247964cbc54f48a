"""A hub for tests: as much of the Hugging Face hub's interface as listing a dataset and reading its files takes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repository:
    commits: list[dict[str, bytes]]  # files by their paths, as of each commit; the last but `num_hidden` is main
    token: str | None = None  # without which there is no such dataset
    gated: bool = False
    num_hidden: int = 0

    def sha(self, number: int) -> str:
        return f"{number:040x}"

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        named = {self.sha(number): number for number in range(len(self.commits))}
        number = len(self.commits) - 1 - self.num_hidden if revision == "main" else named.get(revision)
        return None if number is None else (self.sha(number), self.commits[number])


@dataclass
class Hub:
    repositories: dict[str, Repository]
    url: str = ""
    asked: list[tuple[str, str, int]] = field(default_factory=list)  # method, path, bytes sent

    def num_sent(self, path: str) -> int:
        return sum(size for _, asked, size in self.asked if asked.endswith(path))


@contextmanager
def fake_hub(repositories: dict[str, Repository]) -> Iterator[Hub]:
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        steps = [unquote(step) for step in url.path.strip("/").split("/")]
        if steps[0] == "show":  # for tests: another commit becomes main
            self.hub.repositories["/".join(steps[1:])].num_hidden -= 1
            return self._json({})
        is_api = steps[:2] == ["api", "datasets"]
        if not is_api and steps[0] != "datasets":
            return self._missing("EntryNotFound")
        owner, name, *rest = steps[2:] if is_api else steps[1:]
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self._missing("RepoNotFound")
        if repository.token is not None and self.headers.get("Authorization") != f"Bearer {repository.token}":
            return self._missing("RepoNotFound", 401)
        if rest[:1] == ["auth-check"] and repository.gated:
            return self._missing("GatedRepo", 403)
        found = repository.at(rest[1] if len(rest) > 1 else "main")
        if found is None:
            return self._missing("RevisionNotFound")
        sha, files = found
        if not is_api:
            return self._file(sha, files.get("/".join(rest[2:])))
        if rest[:1] == ["tree"]:
            return self._tree(
                files, "/".join(rest[2:]), parse_qs(url.query).get("recursive", [""])[0].lower() == "true"
            )
        siblings = [{"rfilename": path} for path in files]
        gated = "manual" if repository.gated else False
        self._json({"id": f"{owner}/{name}", "sha": sha, "private": False, "gated": gated, "siblings": siblings})

    def _tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> None:
        prefix = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, data in sorted(files.items()):
            if not path.startswith(prefix):
                continue
            steps = path.removeprefix(prefix).split("/")
            for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
                above = prefix + "/".join(steps[:depth])
                found[above] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": above}
            if recursive or len(steps) == 1:
                found[path] = {"type": "file", "oid": _etag(data), "size": len(data), "path": path}
        if not found:
            return self._missing("EntryNotFound")
        self._json(list(found.values()))

    def _file(self, sha: str, data: bytes | None) -> None:
        if data is None:
            return self._missing("EntryNotFound")
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_etag(data)}"', "Accept-Ranges": "bytes"}
        if (wanted := self.headers.get("Range")) is None:
            return self._send(200, data, headers)
        start, _, last = wanted.removeprefix("bytes=").partition("-")
        part = data[int(start) : int(last) + 1 if last else None]
        self._send(206, part, {**headers, "Content-Range": f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str, status: int = 404) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        is_head = self.command == "HEAD"
        self.hub.asked.append((self.command, urlsplit(self.path).path, 0 if is_head else len(body)))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not is_head:
            self.wfile.write(body)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
