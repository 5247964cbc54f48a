"""What users are told of a store: which of the usual faults it is, where, and what to do; never a secret."""

import inspect
import json
import re
import urllib.parse

import aiohttp
import pytest
from fsspec.implementations import http
from yarl import URL

from jobs.errors import explain
from pipeline import store
from pipeline.carry import Fault
from pipeline.errors import RecordingError, StageError, UsageError
from pipeline.lock import Lock
from pipeline.sources import found as inputs
from pipeline.storage_errors import StorageError, as_usage, storage_reason, told, without_secrets
from pipeline.store import Folder
from tests import object_store
from tests.chaos import chaos
from tests.object_store import SECRET, use

FAKED = {  # what a store answers: reason, and a word of what to do
    (403, "AccessDenied"): ("access denied", "allowed"),
    (403, "InvalidAccessKeyId"): ("credentials refused", "AWS_ACCESS_KEY_ID"),
    (403, "SignatureDoesNotMatch"): ("credentials refused", "AWS_SECRET_ACCESS_KEY"),
    (400, "ExpiredToken"): ("credentials expired", "AWS_SESSION_TOKEN"),
    (404, "NoSuchBucket"): ("no such bucket", "AWS_ENDPOINT_URL"),
    (403, "RequestTimeTooSkewed"): ("clock is wrong", "NTP"),
    (301, "PermanentRedirect"): ("wrong region", "AWS_DEFAULT_REGION"),
    (400, "AuthorizationHeaderMalformed"): ("wrong region", "AWS_DEFAULT_REGION"),
    (411, "MissingContentLength"): ("checksums not understood", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    (507, "InsufficientStorage"): ("storage full", "room"),
    (503, "SlowDown"): ("store fails", "read.storage_deadline_s"),
    (500, "InternalError"): ("store fails", "read.storage_deadline_s"),
}


def failing(url: str, data: bytes = b"x") -> list[str]:
    """What is said of listing a place, locking it, writing to it and reading one recording there."""
    sentences = []
    files, path = store.locate(url)
    with pytest.raises(UsageError) as listing, as_usage(url):
        files.find(path, detail=True)
    sentences.append(str(listing.value))
    with pytest.raises(UsageError) as locking:
        Lock(Folder(url, 0.0)).__enter__()
    sentences.append(str(locking.value))
    with pytest.raises(StorageError) as writing:
        Folder(url, 0.0).publish("part", data)
    stopped = Fault.of("write", writing.value).error
    assert isinstance(stopped, StageError) and not stopped.trace
    assert stopped.message == f"write failed: {writing.value}"
    assert explain(writing.value)[0] == explain(stopped)[0] == 1
    sentences.append(str(writing.value))
    (read,) = store.read_ranges(*_split(f"{url}/x.wav"), None, None, 0.0)
    assert isinstance(read, Exception)
    reason = storage_reason(read)
    assert SECRET not in f"{reason.reason} {reason.detail}"
    sentences.append(f"{url}: {reason.reason}: {reason.detail}")
    return sentences


def _split(url: str):
    files, path = store.locate(url)
    return files, [path]


@pytest.mark.parametrize("answer", FAKED, ids=lambda answer: answer[1])
def test_every_refusal_is_told_in_one_sentence_wherever_it_is_met(answer, monkeypatch):
    """By a store that answers nothing else, because hardly any can be brought to say all of these."""
    (status, code), (reason, advice) = answer, FAKED[answer]
    with chaos("http://127.0.0.1:9") as proxy:
        use(proxy.endpoint, monkeypatch)
        monkeypatch.setattr("pipeline.patience.NUM_BRIEF", 1)
        proxy.refusal = (status, code, f"Said by the store, with {SECRET} in it.")
        for sentence in failing("s3://bucket/run"):
            assert sentence.startswith(f"s3://bucket/run: {reason}: ")
            assert advice in sentence
            assert SECRET not in sentence and "\n" not in sentence
    store.filesystem.cache_clear()


@pytest.mark.parametrize("answer", [(403, "ExpiredToken"), (400, "ExpiredToken"), (403, "RequestTimeTooSkewed")])
def test_a_head_whose_answer_says_nothing_is_asked_why(answer, monkeypatch):
    """Of a single file a listing begins with a HEAD, which has no body to name the fault."""
    with chaos("http://127.0.0.1:9") as proxy:
        use(proxy.endpoint, monkeypatch)
        proxy.refusal = (*answer, "")
        reason = FAKED.get(answer, ("credentials expired",))[0]
        files, path = store.locate("s3://bucket/x.wav")
        with pytest.raises(UsageError, match=f"s3://bucket/x.wav: {reason}: "), as_usage("s3://bucket/x.wav"):
            files.info(path)
    store.filesystem.cache_clear()


def test_the_listing_says_it(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    store.filesystem.cache_clear()
    with pytest.raises(UsageError, match=f"^{s3.url}/corpus: credentials refused: the secret does not fit"):
        inputs.find(f"{s3.url}/corpus")


# ---- by a real store


def wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")


def wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODYSKEY")


def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nosuch")


def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    import botocore.auth

    an_hour_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: an_hour_ago.replace(tzinfo=None))


def nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{object_store.free_port()}")
    monkeypatch.setattr("pipeline.patience.NUM_BRIEF", 1)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (wrong_secret, "credentials refused: the secret does not fit the access key"),
        (wrong_key, "credentials refused: the store does not know the access key"),
        (no_credentials, "no credentials: none were found: set AWS_ACCESS_KEY_ID"),
        (no_profile, "no credentials: there is no such profile"),
        (wrong_clock, "clock is wrong"),
        (nobody_there, r"store not reachable: nothing answers at http://127.0.0.1:\d+ \(AWS_ENDPOINT_URL\)"),
    ],
)
def test_a_real_store_is_understood(ceph, monkeypatch, spoil, reason):
    with monkeypatch.context() as spoilt:
        spoil(spoilt)
        store.filesystem.cache_clear()
        for sentence in failing(f"{ceph.url}/run"):
            assert re.match(f"{ceph.url}/run: {reason}", sentence), sentence
            assert SECRET not in sentence


def test_a_bucket_that_is_not_there(s3):
    for sentence in failing("s3://no-such-bucket-here/run"):
        assert sentence.startswith("s3://no-such-bucket-here/run: no such bucket: check its name and AWS_ENDPOINT_URL")


def test_a_bucket_that_may_be_read_but_not_written(ceph):
    """A policy that comes half-way: a clear stop, and what is there can be read."""
    files = store.filesystem("s3")
    Folder(f"{ceph.url}/run").publish("part", b"1")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    files.call_s3("put_bucket_policy", Bucket=ceph.name, Policy=policy)
    try:
        with pytest.raises(StorageError, match=f"^{ceph.url}/run: access denied: ") as stopped:
            Folder(f"{ceph.url}/run").publish("part", b"2")
        assert "the same command goes on" in explain(stopped.value)[1]
        assert Folder(f"{ceph.url}/run").read("part") == b"1"
    finally:
        files.call_s3("delete_bucket_policy", Bucket=ceph.name)


# ---- secrets


def test_signed_urls_and_passwords_are_left_out():
    signed = "https://host/a/b.wav?X-Amz-Signature=5ecre7&X-Amz-Credential=AKIA"
    error = aiohttp.ClientResponseError(aiohttp.RequestInfo(URL(signed), "GET", {}, URL(signed)), (), status=418)
    reason = storage_reason(error)
    assert "5ecre7" in str(error)
    assert "5ecre7" not in f"{reason} {told(error)} {told(OSError(f'cannot open {signed}'))}"
    assert without_secrets(f"'{signed}' and http://me:pa55@host/x") == "'https://host/a/b.wav' and http://host/x"
    assert without_secrets("HTTPS://h/x?sig=1 a::Http://h/x?y=2 https://h/a b?X-Amz-Signature=3") == (
        "HTTPS://h/x a::Http://h/x https://h/a b"
    )
    assert without_secrets("is there a ? in s3://bucket/what?.wav") == "is there a ? in s3://bucket/what?.wav"
    with pytest.raises(UsageError) as caught, as_usage(signed):
        raise error
    assert "5ecre7" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError("x"), "missing file"),
        (PermissionError("x"), "permission denied"),
        (IsADirectoryError("x"), "a folder, not a file"),
        (RecordingError("row missing from its shard"), "row missing from its shard"),
        (OSError(5, "Input/output error"), "storage error"),
    ],
)
def test_reasons_are_few_and_stable(error, reason):
    assert storage_reason(error).reason == reason


def test_a_presigned_url_that_expired_fails_its_recording_alone(ceph, monkeypatch):
    """By Ceph itself, over plain HTTP: the signature is in the URL, and in nothing that is said of it."""
    files = store.filesystem("s3")
    files.pipe_file(f"{ceph.name}/x.wav", b"sound")
    good = files.url(f"{ceph.name}/x.wav", expires=100)
    bad = good.replace("Signature=", "Signature=0")
    assert store.read_ranges(*_split(good), None, None, 1.0) == [b"sound"]
    (error,) = store.read_ranges(*_split(bad), None, None, 1.0)
    assert isinstance(error, Exception)
    reason = storage_reason(error)
    assert reason.reason == "access denied"
    assert urllib.parse.urlparse(bad).query not in f"{reason.reason}{reason.detail}"


def test_a_full_disk_is_said_in_the_systems_words():
    error = OSError(28, "No space left on device", "/out/data/part")
    assert explain(error) == (
        1,
        "nightshift: /out/data/part: No space left on device; what is committed is kept, and the same command goes on",
    )
    assert explain(Fault.of("write", error).error)[0] == 1


def test_a_web_server_that_is_away_is_no_missing_file():
    """fsspec calls both so, and a user would look for the file."""
    url = f"http://127.0.0.1:{object_store.free_port()}/a.wav"
    with pytest.raises(UsageError, match=f"{url}: store not reachable: "):
        inputs.find(url, deadline_s=0.0)


def test_fsspecs_own_words_for_a_server_without_ranges_are_understood():
    """As it says them of the rest of a shard whose beginning it has read."""
    words = "The HTTP server doesn't appear to support range requests. Only reading this file from the beginning is"
    assert words.split(".")[0] in inspect.getsource(http)
    assert storage_reason(ValueError(words)).reason == "server knows no ranges"
