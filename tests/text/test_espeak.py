"""One phones string per text, whatever the text; and no text, thread, fork or kill takes more than itself down."""

import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.text import espeak, espeak_process
from pipeline.text.espeak import Phonemizer

pytest.importorskip("phonemizer", reason="phonemizer is not installed: pip install phonemizer espeakng-loader")
loader = pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")

LANGUAGES = ("en-us", "de", "fr-fr", "es", "cmn", "ar")
TEXTS = [
    "Hello, world! It costs $3.50 — or 1,000 yen; (maybe)",
    "le weekend au football, naïve façade",  # of several languages: espeak flags what it says as a foreign word
    "Straße 你好 世界 мир привет مرحبا 😀",
    "don't o'clock re-enter A/B x² U.S.A. Dr. Mr.",
]
ODD = [
    "",
    " ",
    "\n",
    "\t\r\n",
    "?!",
    "...",
    "-",
    "'",
    "\0",
    "\ud800",
    "a\nb\n\nc",
    "\u2028",
    "\x01",
    "one\0two",
    "a b\ud800c",
]


@pytest.fixture(scope="module")
def oracle() -> Any:
    """phonemizer itself, as the reference tokenizer opens it."""
    from phonemizer.backend import BACKENDS
    from phonemizer.backend.espeak.wrapper import EspeakWrapper
    from phonemizer.separator import Separator

    EspeakWrapper.set_library(loader.get_library_path())
    EspeakWrapper.set_data_path(loader.get_data_path())
    backends: dict[str, Any] = {}

    def phones(language: str, text: str, word: str = "", phone: str = " ") -> str:
        if language not in backends:
            backends[language] = BACKENDS["espeak"](language, language_switch="remove-flags")
        separator = Separator(phone=phone, word=f"{word} " if word else "", syllable="")
        return str(backends[language].phonemize([text], separator=separator)[0]).strip()

    return phones


@pytest.fixture(scope="module")
def english() -> Phonemizer:
    return Phonemizer("en-us")


def own_process() -> subprocess.Popen[str]:
    """espeak's, of this one."""
    process = espeak._here()._process
    assert process is not None
    return process


# ---- the same phones as phonemizer's


@pytest.mark.parametrize("language", LANGUAGES)
def test_phones_are_those_of_phonemizer(language: str, oracle: Any) -> None:
    phonemizer = Phonemizer(language)
    for word, phone in (("", " "), ("|", " "), ("|", "-"), ("", "")):
        assert phonemizer(TEXTS, word, phone) == [oracle(language, text, word, phone) for text in TEXTS]
    assert phonemizer(["a", "b"], phone_delimiter="") == [oracle(language, text, phone="") for text in "ab"]


def test_no_flag_and_no_stress_is_a_phone() -> None:
    (said,) = Phonemizer("fr-fr")(["le weekend au football"])
    assert not set(said) & set("()ˈˌ") and "ɛ" in said


def test_words_are_said_alone_and_may_be_several_or_nothing(english: Phonemizer, oracle: Any) -> None:
    words = ["hello", "New York", "3", "", "!"]
    assert english.pronunciations(words) == [tuple(oracle("en-us", word).split()) for word in words]
    assert english.pronunciations(words)[-2:] == [(), ()]


# ---- one output per text, always


def test_what_is_not_spoken_is_an_empty_text_in_its_place(english: Phonemizer) -> None:
    said = english([text for odd in ODD for text in (odd, "hello")])
    assert len(said) == 2 * len(ODD) and set(said[1::2]) == {"h ə l oʊ"}
    assert said[:12:2] == [""] * 6
    assert english([]) == []


def test_nothing_after_a_nul_is_lost(english: Phonemizer) -> None:
    """C would end the text there."""
    assert english(["one\0two"]) == english(["one two"]) != english(["one"])


@given(st.lists(st.text(st.characters(max_codepoint=0x24F), max_size=30), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_text_is_said_the_same_alone_and_among_others(english: Phonemizer, texts: list[str]) -> None:
    together = english(texts)
    assert together == [english([text])[0] for text in texts]
    assert all("\n" not in said for said in together)


def test_many_texts_and_long_ones(english: Phonemizer) -> None:
    """More than one answer holds, and more than a pipe does, in both directions."""
    texts = ["hello world"] * (2 * espeak.AT_ONCE) + ["word " * 60_000, "a" * 20_000] + ["end"]
    said = english(texts)
    assert len(said) == len(texts) and said[-1] == "ɛ n d" and len(said[-3].split()) > 60_000
    assert set(said[: 2 * espeak.AT_ONCE]) == {"h ə l oʊ w ɜː l d"}


# ---- espeak crashes


def preceded(monkeypatch: pytest.MonkeyPatch, *, code: str) -> None:
    """In a new process of espeak, whose `_phones` is preceded by this."""
    preface = (
        "from pipeline.text import espeak_process as p; import os, signal; said = p._phones\n"
        f"def phones(backend, texts, separator):\n    {code}\n    return said(backend, texts, separator)\n"
        "p._phones = phones; p.serve()"
    )
    started = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        where = command[2].replace("from pipeline.text.espeak_process import serve; serve()", "")
        return started([*command[:2], f"{where}\n{preface}"], **options)

    monkeypatch.setattr(espeak.subprocess, "Popen", popen)
    monkeypatch.setattr(espeak, "_SPEAKERS", {})


def test_a_text_that_kills_espeak_costs_its_own_words_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    preceded(monkeypatch, code="any('killer' in one for one in texts) and os.kill(os.getpid(), signal.SIGSEGV)")
    texts = ["hello", "hello killer hello", "world", "killer", "end"]
    with caplog.at_level(logging.WARNING, "pipeline.text.espeak"):
        said = Phonemizer("en-us")(texts, "|")
    assert said == ["h ə l oʊ |", "h ə l oʊ | h ə l oʊ |", "w ɜː l d |", "", "ɛ n d |"]
    assert len(caplog.messages) == 2 and all("'killer'" in message for message in caplog.messages)
    assert Phonemizer("en-us")(["hello killer hello", "x"], phone_delimiter="-")[0] == "h-ə-l-oʊ-h-ə-l-oʊ-"


def test_espeak_killed_from_outside_costs_nothing(english: Phonemizer) -> None:
    """Such as for memory: the text it was at is no killer."""
    texts = ["hello world"] * 6_000
    own_process()
    threading.Timer(0.02, lambda: own_process().kill()).start()
    assert set(english(texts)) == {"h ə l oʊ w ɜː l d"}
    own_process().kill()
    assert english(["hello"]) == ["h ə l oʊ"]


def test_what_espeak_prints_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library has calls of printf, and a line among the answers would be read as phones."""
    preceded(monkeypatch, code=r"os.write(1, b'[]\n')")
    assert Phonemizer("en-us")(["hello", "world"]) == ["h ə l oʊ", "w ɜː l d"]
    assert Phonemizer("en-us")(["end"]) == ["ɛ n d"]


def test_greenlandic_numbers_do_not_kill_us() -> None:
    """Which kill espeak-ng 1.52."""
    first, _, last = Phonemizer("kl")(["aap", "28", "aap"])
    assert first == last == Phonemizer("kl")(["aap"])[0] != ""


def test_an_interrupt_leaves_no_answer_for_the_next_to_ask(
    english: Phonemizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(line: str) -> Any:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(espeak.json, "loads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        english(["wrong"] * 1000)
    assert english(["hello"]) == ["h ə l oʊ"]


# ---- threads, processes, files


def test_threads_do_not_mix_up_their_answers() -> None:
    words = {"en-us": "hello", "de": "hallo", "es": "hola", "fr-fr": "salut"}
    alone = {language: Phonemizer(language)([word])[0] for language, word in words.items()}
    with ThreadPoolExecutor(8) as pool:
        asked = [language for _ in range(25) for language in words]
        said = list(pool.map(lambda language: Phonemizer(language)([words[language]] * 20), asked))
    assert [set(one) for one in said] == [{alone[language]} for language in asked]


def test_a_forked_process_has_an_espeak_of_its_own(english: Phonemizer) -> None:
    """Two that read one pipe would get each other's phones."""
    english(["before"])
    parents = own_process().pid
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = english(["hello"] * 300)
            os.write(writer, json.dumps([own_process().pid, *said]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    assert set(english(["world"] * 300)) == {"w ɜː l d"}
    with os.fdopen(reader) as pipe:
        childs, *said = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert set(said) == {"h ə l oʊ"}
    assert own_process().pid == parents != childs and own_process().poll() is None


def test_pickled_it_says_the_same_in_another_process(english: Phonemizer) -> None:
    assert pickle.loads(pickle.dumps(english)) == english
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(english, [["hello"], ["world"]]) == [["h ə l oʊ"], ["w ɜː l d"]]


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "os.fork()"])
def test_nothing_is_left_behind(end: str, tmp_path: Path) -> None:
    """phonemizer copies the library into the temporary folder, where it stays when a process is killed."""
    code = (
        "import os, signal; from pipeline.text.espeak import _here, Phonemizer; Phonemizer('en-us')(['hello'])\n"
        f"print(_here()._process.pid, os.listdir({str(tmp_path)!r}), flush=True)\n{end}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.stderr == ""
    pid, listed = done.stdout.split("\n")[0].split(" ", 1)
    assert listed == "[]" and list(tmp_path.iterdir()) == []
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < until, "its process is still there"
        time.sleep(0.02)


def test_ctrl_c_is_not_for_espeak(english: Phonemizer) -> None:
    """It is sent to the whole group of processes; a run that ends in order still scores what it has."""
    english(["hello"])
    assert os.getpgid(own_process().pid) != os.getpgid(0)


# ---- what is missing or wrong


def test_a_language_that_is_not_there_is_refused_with_those_near_it() -> None:
    for given_, near in (
        ("en", "en-gb (English (Great Britain)), en-us"),
        ("de_DE", "de (German)"),
        ("klingon", "piqd"),
    ):
        with pytest.raises(UsageError, match="espeak-ng has no language") as caught:
            Phonemizer(given_)
        assert near in str(caught.value)
    for given_ in ("en-US", "EN_us"):
        with pytest.raises(UsageError, match=r"; did you mean en-us\?$"):
            Phonemizer(given_)
    with pytest.raises(UsageError, match=r"it has \d+, such as en-us"):
        Phonemizer("zzzzzzz")
    assert {"en-us", "de", "fr-fr", "cmn"} <= set(espeak.languages())


def test_a_language_without_a_dictionary_is_refused_instead_of_silent() -> None:
    if not any(Path(loader.get_data_path()).glob("fo_dict")):
        with pytest.raises(UsageError, match="'fo', but has no dictionary"):
            Phonemizer("fo")


@pytest.mark.parametrize(
    ("backend", "told"),
    [("festival", "festival not installed"), ("espeak-mbrola", "not installed"), ("flite", "it has espeak, espeak-mb")],
)
def test_other_backends_say_what_they_need(backend: str, told: str) -> None:
    import shutil

    if shutil.which(backend.removeprefix("espeak-")):
        pytest.skip(f"{backend} is installed here")
    with pytest.raises(UsageError, match=told):
        Phonemizer("en-us", backend)


def test_delimiters_that_cannot_be_told_apart_are_refused(english: Phonemizer) -> None:
    with pytest.raises(UsageError, match="words cannot be delimited by"):
        english(["a"], word_delimiter="|", phone_delimiter="| ")
    assert english(["hello"]) == ["h ə l oʊ"]


def in_new_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert espeak.available() is None
    monkeypatch.setitem(sys.modules, "phonemizer", None)
    assert "pip install phonemizer espeakng-loader" in str(espeak.available())
    with pytest.raises(UsageError, match="pip install phonemizer"):
        Phonemizer("en-us")


HIDDEN = "import sys; sys.modules['espeakng_loader'] = None; from pipeline.text import espeak_process as p\n"


def test_without_the_wheel_the_library_of_the_system_is_used() -> None:
    code = HIDDEN + "print(sorted(p._voices({}))[0])"
    found = {
        "PHONEMIZER_ESPEAK_LIBRARY": loader.get_library_path(),
        "PHONEMIZER_ESPEAK_DATA_PATH": loader.get_data_path(),
    }
    assert in_new_process(code, **found) == "af"


def test_without_any_library_it_says_what_to_install() -> None:
    hide = "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
    told = in_new_process(HIDDEN + hide + "try: p._voices({})\nexcept p.Fault as fault: print(fault)")
    assert "pip install phonemizer espeakng-loader" in told and "failed to find espeak library" in told


def test_data_at_a_path_too_long_is_refused_instead_of_ending_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """espeak-ng calls exit(1) where its data is not, and keeps 160 bytes of the path to it."""
    deep = tmp_path / ("x" * 80) / ("y" * 80)
    deep.mkdir(parents=True)
    monkeypatch.setattr(loader, "get_data_path", lambda: str(deep))
    with pytest.raises(espeak_process.Fault, match="into a shorter one"):
        espeak_process._choose_library(None)


def test_a_death_at_the_start_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHONEMIZER_ESPEAK_LIBRARY", loader.get_library_path())
    monkeypatch.setenv("PHONEMIZER_ESPEAK_DATA_PATH", str(tmp_path))  # no data: exit(1)
    monkeypatch.setattr(espeak, "_SPEAKERS", {})
    with pytest.raises(UsageError, match=r"espeak-ng ended when it was opened: .*phontab"):
        Phonemizer("en-us")


def test_neither_package_is_imported_by_the_process_that_asks() -> None:
    """They are GPL-3; and the library they load may crash or end its process."""
    code = (
        "import sys; from pipeline.text.espeak import Phonemizer; Phonemizer('en-us')(['a'])\n"
        "print([name for name in sys.modules if name.startswith(('phonemizer', 'espeakng', 'joblib'))])"
    )
    assert in_new_process(code) == "[]"
