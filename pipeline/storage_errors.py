"""What is wrong with a store, in one line that says what to do, from the many errors that stores and backends have.

Knows nothing of runs. No line holds a credential, the query of a presigned URL or what the store told beside its code.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from pipeline.errors import RecordingError, UsageError
from pipeline.patience import code_of, is_temporary, status_of

KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in AWS_PROFILE"

# A reason, as rows count by it, and what to do.
DENIED = ("access denied", "these credentials may not do that there: have it allowed, or give others")
UNKNOWN_KEY = ("credentials refused", f"the store does not know the access key: check {KEYS}")
WRONG_SECRET = ("credentials refused", f"the secret does not fit the access key: check {KEYS}")
EXPIRED = ("credentials expired", "get new ones (AWS_SESSION_TOKEN belongs to them) and start the same command again")
NOT_FOR_US = ("access denied", "the server refuses it: check the URL (a signed one may have expired) or log in")
NO_CREDENTIALS = ("no credentials", f"none were found: set {KEYS}")
NO_BUCKET = ("no such bucket", "check its name and AWS_ENDPOINT_URL, or make the bucket first")
BAD_CLOCK = ("clock is wrong", "this machine's clock and the store's differ by more than 15 minutes: set it (NTP)")
WRONG_REGION = (
    "wrong region",
    "the bucket is elsewhere: set AWS_DEFAULT_REGION to its region, or check AWS_ENDPOINT_URL",
)
NO_CHECKSUM = (
    "checksums not understood",
    "the store does not understand the checksums of newer clients: set AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
)
OVER_QUOTA = ("storage full", "the store has no room left for this: make some and start the same command again")

BY_CODE = {
    "AccessDenied": DENIED,
    "AllAccessDisabled": DENIED,
    "403": DENIED,
    "Forbidden": DENIED,
    "InvalidAccessKeyId": UNKNOWN_KEY,
    "InvalidClientTokenId": UNKNOWN_KEY,
    "SignatureDoesNotMatch": WRONG_SECRET,
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "TokenRefreshRequired": EXPIRED,
    "InvalidToken": EXPIRED,
    "NoSuchBucket": NO_BUCKET,
    "InvalidBucketName": NO_BUCKET,
    "RequestTimeTooSkewed": BAD_CLOCK,
    "RequestExpired": BAD_CLOCK,
    "PermanentRedirect": WRONG_REGION,
    "TemporaryRedirect": WRONG_REGION,
    "AuthorizationHeaderMalformed": WRONG_REGION,
    "IllegalLocationConstraintException": WRONG_REGION,
    "301": WRONG_REGION,
    "307": WRONG_REGION,
    "MissingContentLength": NO_CHECKSUM,
    "411": NO_CHECKSUM,
    "QuotaExceeded": OVER_QUOTA,
    "InsufficientStorage": OVER_QUOTA,
    "507": OVER_QUOTA,
}
# Of botocore, which raises them before it has asked anybody.
BY_KIND = {
    "NoCredentialsError": NO_CREDENTIALS,
    "PartialCredentialsError": NO_CREDENTIALS,
    "ProfileNotFound": ("no credentials", "there is no such profile: check AWS_PROFILE"),
    "CredentialRetrievalError": ("no credentials", f"asking for them failed: check {KEYS}"),
    "TokenRetrievalError": EXPIRED,
    "UnauthorizedSSOTokenError": EXPIRED,
    "SSLError": ("no secure connection", "the certificate was not accepted: check AWS_ENDPOINT_URL and AWS_CA_BUNDLE"),
    "NoRangesError": (
        "server knows no ranges",
        "shards and large files cannot be read from it: copy them elsewhere first",
    ),
}
NOT_REACHABLE = "store not reachable"
# What no recording is to blame for: each other one of the store would fail the same way.
OF_THE_STORE = {
    *(reason for reason, _ in (UNKNOWN_KEY, WRONG_SECRET, EXPIRED, NO_CREDENTIALS, BAD_CLOCK)),
    NOT_REACHABLE,
}
UNREACHABLE = {"EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError", "ConnectError"}


# A query that is signed, where a space or quote in the URL before it hides that it is one.
_SIGNED = re.compile(r"\?[^\s'\"]*(signature|sig|token|credential|key)[\w-]*=[^\s'\"]*", re.IGNORECASE)


class StorageError(OSError):
    """A fault of a store, as one line that says where, what and what to do."""


def sentence(error: BaseException, url: str) -> str | None:
    """One line; None for what has no code of a store: its own words, or the system's, are all there is."""
    found = _known(error)
    if found is None:
        return None
    reason, advice = found
    return f"{without_secrets(url)}: {reason}: {advice}"


def storage_reason(error: Exception) -> RecordingError:
    """Why the bytes of one recording did not come: a reason to count by, and a detail."""
    if isinstance(error, RecordingError):
        return error
    if (found := _known(error)) is not None:
        return RecordingError(*found)
    if isinstance(error, FileNotFoundError) or status_of(error) in (404, 410):
        return RecordingError("missing file")
    if isinstance(error, PermissionError):
        return RecordingError("permission denied")
    if isinstance(error, IsADirectoryError):
        return RecordingError("a folder, not a file")
    return RecordingError("storage error", told(error))


@contextlib.contextmanager
def as_usage(url: str) -> Iterator[None]:
    """What goes wrong inside with a store is said of this URL, for the user to mend."""
    try:
        yield
    except UsageError:
        raise
    except StorageError as error:
        raise UsageError(str(error)) from error
    except FileNotFoundError as error:
        known = sentence(error, url)
        raise UsageError(known or f"{without_secrets(url)}: no such file, folder or bucket") from error
    except Exception as error:
        if (known := sentence(error, url)) is not None:
            raise UsageError(known) from error
        if isinstance(error, PermissionError):
            raise UsageError(f"{without_secrets(url)}: permission denied") from error
        if status_of(error) is not None or is_temporary(error):
            raise UsageError(f"{without_secrets(url)}: {told(error)}") from error
        raise


def told(error: BaseException) -> str:
    """An error's own words, in one line and without secrets."""
    status = status_of(error)
    if status is not None and not isinstance(error, OSError):  # the words of web clients are mostly the URL
        return f"HTTP status {status}"
    words = without_secrets(" ".join(str(error).split()))
    return words if isinstance(error, StorageError) else f"{type(error).__name__}: {words}"


def without_secrets(text: str) -> str:
    """Without the queries of URLs, which may be signed, and what stands before their hosts."""
    text = re.sub(r"(\w+://)[^/\s@'\"]+@", r"\1", text)
    text = re.sub(r"(https?://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text, flags=re.IGNORECASE)
    return _SIGNED.sub("", text)


def _known(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, ValueError) and "support range requests" in str(error):  # fsspec's own web files
        return BY_KIND["NoRangesError"]
    code, kinds = code_of(error), {kind.__name__ for kind in type(error).__mro__}
    if code in BY_CODE:
        return BY_CODE[code]
    if code is None and status_of(error) in (401, 403):
        return NOT_FOR_US
    if by_kind := next((BY_KIND[kind] for kind in kinds if kind in BY_KIND), None):
        return by_kind
    if kinds & UNREACHABLE or getattr(error, "errno", None) == errno.ECONNREFUSED:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        at = f" at {without_secrets(endpoint)} (AWS_ENDPOINT_URL)" if endpoint and "botocore" in _home(error) else ""
        return NOT_REACHABLE, f"nothing answers{at}: check the address and the network"
    if is_temporary(error):
        status = status_of(error)
        how = code if code and not code.isdigit() else f"HTTP status {status}" if status else type(error).__name__
        return "store fails", f"it was asked again and again until read.storage_deadline_s had passed (last: {how})"
    return None


def _home(error: BaseException) -> str:
    return " ".join(kind.__module__ for kind in type(error).__mro__)
