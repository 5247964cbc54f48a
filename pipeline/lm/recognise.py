"""What a file is, by its first bytes, never by its name."""

import gzip
import zlib
from pathlib import Path
from typing import Literal

from pipeline.errors import UsageError
from pipeline.lm.kenlm_header import ANY_VERSION

GZIP = b"\x1f\x8b"
OTHERS = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"BZh": "compressed by bzip2: decompress it",
    b"\xfd7zXZ": "compressed by xz: decompress it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: decompress it",
    b"blmt": "an IRSTLM binary: write it as text with `compile-lm --text yes`",
    b"iARPA": "an IRSTLM iARPA file: write it as ARPA with `compile-lm --text yes`",
    b"qARPA": "an IRSTLM quantised ARPA file: write it as ARPA with `compile-lm --text yes`",
    b"version https://git-lfs": "a pointer of git-lfs: fetch the file itself with `git lfs pull`",
    b"<": "a web page or XML: download the file itself",
}
COMMENT = b"#"
DATA = b"\\data\\"


def kind_of(name: str, path: Path) -> Literal["binary", "arpa"]:
    """KenLM's binary or ARPA, the latter perhaps gzipped; `name` is what the user calls the file."""
    fault = f"language model {name}"
    try:
        with open(path, "rb") as file:
            start = file.read(1 << 16)
    except IsADirectoryError as error:
        raise UsageError(f"{fault}: a directory; give the file in it") from error
    except OSError as error:
        raise UsageError(f"{fault}: {error.strerror}") from error
    if not start:
        raise UsageError(f"{fault}: an empty file")
    if start.startswith(ANY_VERSION):
        return "binary"
    if start.startswith(GZIP):
        try:
            with gzip.open(path) as unzipped:
                start = unzipped.read(1 << 16)
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{fault}: its gzip stream is damaged ({error}); copy it again") from error
        if start.startswith(ANY_VERSION):
            raise UsageError(f"{fault}: a gzipped KenLM binary, which cannot be mapped: gunzip it")
    lines = (line.strip() for line in start.splitlines())
    first = next((line for line in lines if line and not line.startswith(COMMENT)), b"")
    if first == DATA:
        return "arpa"
    for magic, what in OTHERS.items():
        if start.lstrip().startswith(magic):
            raise UsageError(f"{fault}: it is {what}")
    raise UsageError(f"{fault}: neither a KenLM binary nor an ARPA file; it begins with {first[:40]!r}")
