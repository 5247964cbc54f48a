"""S3 through s3fs, set up for a long night: what stalls is cut, and each request is made again by itself, and counted.

Knows nothing of what is stored. Credentials are found where botocore looks for them.
"""

import os
from functools import partial
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession  # type: ignore[import-untyped]
from aiobotocore.session import AioSession  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem  # type: ignore[import-untyped]
from s3fs.errors import translate_boto_error  # type: ignore[import-untyped]

from pipeline.patience import briefly, code_of, timely
from pipeline.store import ETAG

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0  # without a byte; s3fs takes 15 s, which a store under load can need to look a key up
NUM_CONNECTIONS = 32  # botocore keeps to 10, too few for small objects at 30 ms each


class _Session(AIOHTTPSession):  # type: ignore[misc]
    """Without aiohttp's own retries of requests on a kept connection that turns out to be cut: they are not counted."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        session._retry_connection = False
        return session


class _Body:
    """Of an object or a range of some MB: read with its answer, as one request that is in time or made again."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @classmethod
    async def of(cls, stream: Any) -> "_Body":
        try:
            return cls(await stream.read())
        finally:
            stream.close()

    async def read(self) -> bytes:
        return self._data

    def close(self) -> None:
        pass


class PatientS3(S3FileSystem):  # type: ignore[misc]
    """s3fs with our retries in place of its own and botocore's, which multiply, have no deadline and are not counted.

    A listing or an upload of many requests gets over a refusal of any of them.
    """

    retries = 1  # by s3fs

    async def _call_s3(self, method: str, *options: Any, **arguments: Any) -> Any:
        request = partial(self._once, method, *options, **arguments)
        # An upload that was completed although the answer got lost cannot be completed again, only made again.
        return await (timely(request()) if method == "complete_multipart_upload" else briefly(request))

    call_s3 = sync_wrapper(_call_s3)

    async def _once(self, method: str, *options: Any, **arguments: Any) -> Any:
        if method == "get_object" and (etag := ETAG.get()) is not None:
            arguments["IfMatch"] = etag
        try:
            answer = await super()._call_s3(method, *options, **arguments)
        except OSError as error:
            if method in ("head_object", "head_bucket") and code_of(error) in ("400", "403"):
                await self._ask_why(**arguments)
            raise
        except RecursionError:  # botocore asks where to go instead, is sent away again, and asks where to go instead
            sent_away = ClientError({"Error": {"Code": "PermanentRedirect"}}, method)
            raise translate_boto_error(sent_away) from sent_away
        if method == "delete_objects" and answer.get("Errors"):  # in an answer that is otherwise a success
            raise translate_boto_error(ClientError({"Error": answer["Errors"][0]}, "DeleteObjects"))
        if method == "get_object":
            answer["Body"] = await _Body.of(answer["Body"])
        return answer

    async def _ask_why(self, Bucket: str, Key: str = "", **others: Any) -> None:
        """Raise what a HEAD, whose answer has no body, could not tell, such as that credentials have expired."""
        await super()._call_s3("list_objects_v2", Bucket=Bucket, Prefix=Key, MaxKeys=1)


def s3() -> PatientS3:
    if _is_elsewhere():
        # Other stores than Amazon's may not know the checksums that come behind a body (411 MissingContentLength), and
        # some send the checksum of the whole object with a part of it. Here for all that reads these settings.
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    return PatientS3(
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "max_pool_connections": NUM_CONNECTIONS,
            "retries": {"total_max_attempts": 1},
            "http_session_cls": _Session,
        },
    )


def _is_elsewhere() -> bool:
    """Whether an endpoint is configured, in the environment or in the profile of AWS's own configuration."""
    if "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ:
        return True
    session = AioSession()
    profile = session.get_scoped_config() if session.profile in (None, *session.available_profiles) else {}
    return "endpoint_url" in profile or "services" in profile
