"""What a file is that is not the lines of text it was given for.

Knows nothing of what was expected.
"""

import json

LANGUAGE_MODEL = "a language model"
_HEAD = 4096
# All of these have a NUL near their beginning, so that no line of text is taken for one.
_MAGIC = {
    b"mmap lm http://kheafield.com/code": LANGUAGE_MODEL,
    b"fLaC": "audio (FLAC)",
    b"OggS": "audio (Ogg)",
    b"RIFF": "audio (WAV)",
    b"ID3": "audio (MP3)",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
}
_ARPA = b"\\data\\"


def foreign(data: bytes) -> str | None:
    """None where it may be lines of text, in UTF-8 or not."""
    head = data[:_HEAD]
    if b"\0" in head:
        return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(_ARPA):
        return LANGUAGE_MODEL
    return "JSON" if text.startswith((b"{", b"[")) and _is_json(text) else None


def _is_json(text: bytes) -> bool:
    """An object first, as in JSON lines too, or nothing but a list: a lexicon may have a word [1]."""
    try:
        read = text.decode().rstrip()
        value, end = json.JSONDecoder().raw_decode(read)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) or end == len(read)
