"""What calls of `from_pretrained` and `save_pretrained` say of the hub, of all that is read from a checkpoint's files.

Knows nothing of what is read or written.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError
from pipeline.models.locate import HUB_OPTIONS, Hub

# How transformers fetches, or which of its own classes it takes: of no meaning here, and nothing is lost without them.
NO_MATTER = ("force_download", "proxies", "resume_download", "use_fast", "config")
REFUSED = {
    "use_auth_token": "give token",
    "subfolder": "give the directory that has the files",
    "trust_remote_code": "no code of a checkpoint is ever run",
}


def hub_and_rest(options: Mapping[str, Any]) -> tuple[Hub, dict[str, Any]]:
    """The options of the hub, and those that are settings of what is read."""
    for name, instead in REFUSED.items():
        if options.get(name):
            raise UsageError(f"{name} is not supported: {instead}")
    hub = {name: value for name, value in options.items() if name in HUB_OPTIONS}
    return hub, {name: value for name, value in options.items() if name not in (*HUB_OPTIONS, *NO_MATTER, *REFUSED)}


def check_no_push(push_to_hub: bool) -> None:
    if push_to_hub:
        raise UsageError("push_to_hub is not supported: upload the directory with the hub's own client")
