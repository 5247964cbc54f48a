"""A JSON object from a file of a checkpoint, or one clear error. Knows nothing of what is in it."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError


def read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise UsageError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not a JSON object")
    return content
