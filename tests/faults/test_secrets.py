"""Secrets stay where they were: a run with known ones, then a search of all that it wrote, said and left in Ray.

The query of a presigned URL is as good as a password. A manifest that names one is kept in OUT/manifest, because the
recording cannot be read without it, and nowhere else.
"""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from ray import cloudpickle

from pipeline import config as configuration
from pipeline import store
from pipeline.request import Request
from pipeline.resources import one_process
from pipeline.run import Run
from pipeline.store import Folder
from tests import corpora
from tests.faults.runs import rows
from tests.faults.victims import descendants

pytestmark = pytest.mark.faults

SIGNATURE = "5ec2e7516e4742e5"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "5ec2e7acce55",
    "AWS_SECRET_ACCESS_KEY": "5ec2e7aw5",
    "AWS_SESSION_TOKEN": "5ec2e75e5510n",
    "HF_TOKEN": "hf_5ec2e7hu6",
    "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/5ec2e7g00gle",
}
LIMITS = ("read.unit_s=20", "read.storage_deadline_s=2", "encode.actors=1")
SECRETS = [SIGNATURE, *ENVIRONMENT.values()]
# A driver that afterwards writes down what Ray itself keeps: functions, jobs, actors.
DRIVER = """
import sys
import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list
from jobs.__main__ import main
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
code = main(sys.argv[2:])
with open(sys.argv[1], "wb") as file:
    for space in (None, b"fun", b"job", b"cluster", b"session", b"actors", b"runtime_env", b"dashboard", b"tracing"):
        for key in _internal_kv_list(b"", namespace=space):
            file.write(key + b" " + (_internal_kv_get(key, namespace=space) or b"") + b"\\n")
sys.exit(code)
"""


@contextlib.contextmanager
def signed_urls(folder: Path) -> Iterator[str]:
    """A server of a folder's files for those who have the signature."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def send_head(self):  # type: ignore[no-untyped-def]
            if parse_qs(urlsplit(self.path).query).get("X-Amz-Signature") != [SIGNATURE]:
                return self.send_error(403)
            return super().send_head()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def places_of(secret: str, folders: list[Path]) -> set[Path]:
    """Files that hold it, in a column or in their metadata where they are Parquet."""
    found = set()
    for file in (file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()):
        content = file.read_bytes()
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            content += repr((table.to_pydict(), table.schema.metadata)).encode()
        if secret.encode() in content or secret.encode("utf-16-le") in content:
            found.add(file)
    return found


def children_of(run: "subprocess.Popen[str]") -> tuple[dict[int, bytes], bytes]:
    """While a run goes on: the environment of each of its audio decoders, and the command lines of all processes."""
    environments, lines = {}, b""
    while run.poll() is None:
        for process in descendants(run.pid):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{process}/cmdline").read_bytes()
                if b"pipeline.read.child" in line:
                    environments[process] = Path(f"/proc/{process}/environ").read_bytes()
                lines += line
        time.sleep(0.2)
    return environments, lines


@pytest.mark.ray
def test_known_secrets_are_found_nowhere_but_where_they_must_be(sample, tmp_path, ray_folder):
    source, out, left = tmp_path / "corpus", tmp_path / "out", tmp_path / "left"
    corpora.write("files", source, corpora.clips()[:6])
    left.mkdir()
    with signed_urls(source) as url:
        query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={SIGNATURE}"
        names = [*(f"clip-{number:02d}.flac" for number in range(6)), "missing.flac"]
        elsewhere = f"http://127.0.0.1:1/refused.flac?{query}"
        lines = [{"audio_filepath": there} for there in [*(f"{url}/{name}?{query}" for name in names), elsewhere]]
        (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        arguments = ["transcribe", str(tmp_path / "manifest.jsonl"), str(out), "--model", str(sample / "model")]
        limits = [part for key in LIMITS for part in ("--set", key)]
        with (left / "out").open("wb") as stdout, (left / "err").open("wb") as stderr:
            run = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(left / "ray"), *arguments, *limits],
                stdout=stdout,
                stderr=stderr,
                env=os.environ | ENVIRONMENT | {"RAY_TMPDIR": str(ray_folder)},
            )
            environments, command_lines = children_of(run)
    assert run.returncode == 0, (left / "err").read_text()
    assert [row["status"] for row in rows(out)].count("ok") == 6
    assert {row["error"] for row in rows(out) if row["status"] == "failed"} == {
        "read: missing file",
        "read: store not reachable",
    }
    assert environments
    assert b"PATH=" in b"".join(environments.values())
    assert b"ActorClass" in (left / "ray").read_bytes()
    assert len(list(ray_folder.rglob("*.log"))) > 3
    manifest = {path for path in (out / "manifest").iterdir() if path.name.startswith("recordings-")}
    assert places_of(SIGNATURE, [out, left, ray_folder]) == manifest
    for secret in ENVIRONMENT.values():
        assert places_of(secret, [out, left, ray_folder]) == set()
        assert secret.encode() not in b"".join(environments.values())
    assert not [secret for secret in SECRETS if secret.encode() in command_lines]


def test_what_travels_to_workers_holds_no_credential(sample, monkeypatch):
    """The plan, which Ray keeps as a pickle; a file system of fsspec's, pickled, may hold its credentials in clear."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    store.filesystem.cache_clear()
    config = configuration.load(None, [f'encode.model="{sample / "model"}"'])
    folder = Folder("s3://bucket/run")
    assert folder.files is not None  # and its credentials are found
    stages = Request("", "", config).stages(config, Run(folder, ""), one_process(config))
    pickled = cloudpickle.dumps(stages)
    store.filesystem.cache_clear()
    assert b"s3://bucket/run" in pickled
    assert not [secret for secret in SECRETS if secret.encode() in pickled]
