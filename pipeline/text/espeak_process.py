"""phonemizer and espeak-ng, which are optional and GPL-3: the one place where they are imported, a process of its own.

Knows nothing of who asks: a request is a line of JSON, and so is every answer.
"""

import json
import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

INSTALL = "pip install phonemizer espeakng-loader"
FAULT = "fault"  # the key of an answer that tells one

# espeak-ng copies the path of its data into 160 bytes. Where it does not fit, it looks in the folder in which it was
# built, finds nothing, and ends the process with code 1.
_LONGEST_DATA_PATH = 159


class Fault(Exception):
    """What the user can mend; told in an answer."""


def serve() -> None:
    """Answers until nobody is there to ask."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # espeak-ng prints some of its complaints where the answers go
    opened: dict[tuple[str, str], Any] = {}
    for line in sys.stdin:
        try:
            for answer in _answered(json.loads(line), opened):
                print(json.dumps(answer), file=answers, flush=True)
        except Fault as fault:
            print(json.dumps({FAULT: str(fault)}), file=answers, flush=True)
        except Exception as error:  # whatever a backend throws at a text it cannot say
            print(json.dumps({FAULT: f"phonemizer fails: {error!r}"}), file=answers, flush=True)


def _answered(request: dict[str, Any], opened: dict[tuple[str, str], Any]) -> Iterator[Any]:
    """The voices; or nothing but that a backend is open; or the phones of texts, so many at once."""
    if "language" not in request:
        yield _voices(opened)
        return
    key = (request["backend"], request["language"])
    if key not in opened:
        opened[key] = _espeak(key[1], opened) if key[0] == "espeak" else _other(*key)
    if "texts" not in request:
        yield key
        return
    texts, size = request["texts"], request["at_once"]
    separator = _separator(request["word_delimiter"], request["phone_delimiter"])
    for start in range(0, len(texts), size):
        yield _phones(opened[key], texts[start : start + size], separator)


def _phones(backend: Any, texts: Sequence[str], separator: Any) -> list[str]:
    phones = backend.phonemize(texts, separator=separator)
    if len(phones) != len(texts):  # festival leaves out what has nothing to say
        phones = ["".join(backend.phonemize([text], separator=separator)) for text in texts]
    return [line.strip() for line in phones]


def _separator(word_delimiter: str, phone_delimiter: str) -> Any:
    from phonemizer.separator import Separator

    try:
        return Separator(phone=phone_delimiter, word=f"{word_delimiter} " if word_delimiter else "", syllable="")
    except ValueError as error:
        raise Fault(
            f"words cannot be delimited by {word_delimiter!r} where phones are by {phone_delimiter!r}"
        ) from error


def _voices(opened: dict[tuple[str, str], Any]) -> dict[str, str]:
    """Code of each language and its name in English; the first call finds the library."""
    if ("voices", "") not in opened:
        try:
            from phonemizer.backend.espeak.wrapper import EspeakWrapper

            _choose_library(EspeakWrapper)
            opened["voices", ""] = wrapper = EspeakWrapper()
        except (ImportError, OSError, RuntimeError) as error:
            raise Fault(f"phonemising needs phonemizer and espeak-ng: {INSTALL} ({error})") from error
        _remove_copy(wrapper)
    return {str(voice.language): str(voice.name) for voice in opened["voices", ""].available_voices()}


def _choose_library(wrapper: Any) -> None:
    """The wheel's, so that a lexicon is the same everywhere; the system's without it, or what the user names."""
    if "PHONEMIZER_ESPEAK_LIBRARY" in os.environ:
        return
    try:
        library, data = wheel()
    except ImportError:
        return
    wrapper.set_library(library)
    wrapper.set_data_path(data)


def wheel() -> tuple[str, str]:
    """The library and its data, as the package espeakng-loader brings them; ImportError without it."""
    import espeakng_loader

    if len(os.fsencode(path := os.path.realpath(espeakng_loader.get_data_path()))) > _LONGEST_DATA_PATH:
        raise Fault(
            f"espeak-ng cannot read its data at {path}: a path may have {_LONGEST_DATA_PATH} bytes; install "
            "espeakng-loader into a shorter one"
        )
    return espeakng_loader.get_library_path(), path


def _remove_copy(wrapper: Any) -> None:
    """Delete the copy of the library that a wrapper has made for itself (0.7 MB), which stays mapped.

    phonemizer deletes it when the process ends, if it ends well. On Windows an open library cannot be deleted: there
    is no finalizer there, and phonemizer does it.
    """
    for reference in weakref.getweakrefs(getattr(wrapper, "_espeak", wrapper)):
        if isinstance(reference.__callback__, weakref.finalize):
            reference.__callback__()


def _espeak(language: str, opened: dict[tuple[str, str], Any]) -> Any:
    _voices(opened)
    from phonemizer.backend import EspeakBackend

    class OneCopy(EspeakBackend):  # type: ignore[misc]
        """phonemizer's opens four copies of the library, three of them to answer what is known here (10 ms, 6 MB)."""

        @classmethod
        def is_available(cls) -> bool:
            return True

        @classmethod
        def version(cls) -> tuple[int, ...]:
            return ()  # for a message that nobody reads

        @classmethod
        def is_supported_language(cls, language: str) -> bool:
            return True

    try:
        backend = OneCopy(language, language_switch="remove-flags")
    except (OSError, RuntimeError) as error:
        raise Fault(f"espeak-ng cannot be opened for the language {language!r}: {error}") from error
    _remove_copy(backend._espeak)
    if not backend.phonemize(["a"])[0].strip():  # three languages of 1.52's wheel
        raise Fault(f"espeak-ng lists the language {language!r}, but has no dictionary of it here")
    return backend


def _other(name: str, language: str) -> Any:
    """What else phonemizer has; it needs programs or packages that our extra does not bring."""
    try:
        from phonemizer.backend import BACKENDS

        if name not in BACKENDS:
            raise Fault(f"phonemizer has no backend {name!r}: it has {', '.join(sorted(BACKENDS))}")
        return BACKENDS[name](language)
    except ImportError as error:
        raise Fault(f"the phonemizer backend {name!r} needs a package that is missing: {error}") from error
    except RuntimeError as error:  # its program, or the language
        raise Fault(f"the phonemizer backend {name!r} cannot be used: {error}") from error
