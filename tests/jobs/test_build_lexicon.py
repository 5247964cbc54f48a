"""`nightshift build-lexicon` as it is typed: which words it says how, what it writes and when not, what it tells."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

import gzip
import json
import sys
from pathlib import Path

import pytest

from jobs import build_lexicon
from jobs.__main__ import main
from pipeline.text.espeak import available
from pipeline.text.lines import contents
from pipeline.text.phone_map import read_phone_map
from pipeline.text.pronunciations import Entry, parse_lexicon

needs_espeak = pytest.mark.skipif(available() is not None, reason=available() or "")
CMUDICT = "HELLO  HH AH0 L OW1\nHELLO(2)  HH EH0 L OW1\nSEE  S IY1\nSEA  S IY1\nUH  SPN\n"


def read_lexicon(location: str) -> list[Entry]:
    return parse_lexicon(contents(location, "lexicon"), location)


@pytest.fixture
def build(tmp_path, capsys, monkeypatch):
    """In this process and an own folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(words: str, *arguments: str, out: str = "out.dict"):
        if not words.startswith(("memory:", "file:", "/")):
            Path("words").write_text(words)
            words = "words"
        code = main(["build-lexicon", words, out, *arguments])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def model(tmp_path):
    """The files of a phone model that say what its labels are."""
    folder = tmp_path / "model"
    folder.mkdir()
    labels = ["<pad>", "<s>", "</s>", "<unk>", "h", "ə", "ɛ", "l", "oʊ", "s", "iː", "ɪ", "t"]
    (folder / "vocab.json").write_text(json.dumps({label: number for number, label in enumerate(labels)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}))
    return folder


@needs_espeak
def test_words_are_said_as_words_in_whatever_case_they_are_written(build):
    """espeak spells some words in upper case by their letters: a corpus in capitals would never have them found."""
    assert build("IT\nUS\nHELLO\nO'CLOCK\n", "--language", "en-us")[0] == 0
    upper = read_lexicon("out.dict")
    assert [word for word, _ in upper] == ["IT", "US", "HELLO", "O'CLOCK"]
    assert [phones for word, phones in upper[:2]] == [("ɪ", "t"), ("ʌ", "s")]
    build("it\nus\nhello\no'clock\n", "--language", "en-us", out="lower.dict")
    lower = read_lexicon("lower.dict")
    assert [phones for _, phones in lower] == [phones for _, phones in upper]
    # where most words are in lower case, capitals are abbreviations
    build("it\nus\nhello\nUS\n", "--language", "en-us", out="mixed.dict")
    assert read_lexicon("mixed.dict")[-1] == Entry("US", ("j", "uː", "ɛ", "s"))


@needs_espeak
def test_words_come_from_a_list_and_a_language_model(build, tmp_path):
    arpa = "\\data\\\nngram 1=5\nngram 2=1\n\n\\1-grams:\n-1 <unk>\n-1 <s> 0\n-1 </s>\n-1 sea 0\n-1 see 0\n\n"
    arpa += "\\2-grams:\n-1 sea see\n\n\\end\\\n"
    Path("lm.arpa.gz").write_bytes(gzip.compress(arpa.encode()))
    expected = [Entry("sea", ("s", "iː")), Entry("see", ("s", "iː"))]
    for number, words in enumerate(("# two\nsea\n\nsee  # not sea\nsea\n", str(tmp_path / "lm.arpa.gz"))):
        code, _, stderr = build(words, "--language", "en-us", out=f"{number}.dict")
        assert code == 0, stderr
        assert sorted(read_lexicon(f"{number}.dict")) == expected


@needs_espeak
def test_it_says_what_it_made_and_what_it_left_out(build, monkeypatch):
    monkeypatch.setattr(build_lexicon, "AT_ONCE", 2)
    words = "sea\nsee\nhello\n---\nsee(2)\nhallo\n"
    code, stdout, stderr = build(words, "--language", "en-us", "--json")
    figures = json.loads(stdout)
    assert code == 0 and "espeak (en-us): 0 of 5 words" in stderr and "is done: 5 of 5 words" in stderr
    assert (figures["words"], figures["pronunciations"], figures["homophones"], figures["homophone_sets"]) == (
        4,
        4,
        2,
        1,
    )
    reason = "a lexicon cannot hold them (white space, a comment's sign, a number in brackets)"
    assert figures["left_out"] == {
        reason: {"words": 1, "examples": ["see(2)"]},
        "espeak says nothing": {"words": 1, "examples": ["---"]},
    }
    assert figures["bytes"] == Path("out.dict").stat().st_size
    code, stdout, _ = build(words, "--language", "en-us", "--overwrite")
    assert "words       4, said in 4 ways" in stdout and "left out    1 word (---): espeak says nothing" in stdout


def test_a_lexicon_keeps_its_phones_and_needs_no_espeak(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonemizer", None)
    code, stdout, stderr = build(CMUDICT, out="out.dict.gz")
    assert code == 0, stderr
    assert "homophones  2 words, 1 sounds between them" in stdout
    assert Path("out.dict.gz").read_bytes().startswith(b"\x1f\x8b")
    assert read_lexicon("out.dict.gz") == read_lexicon("words")


def test_what_does_not_fit_a_model_is_told_and_mended_by_the_map_it_writes(build, model):
    """From a lexicon of another phone set to one that fits, in the two commands that the README would name."""
    code, stdout, stderr = build(CMUDICT, "--model", str(model), "--write-phone-map", "map.txt")
    assert code == 0, stderr
    assert "0 of 4 words can be found with the model" in stdout
    assert "phone map   map.txt, 7 lines: guesses, look them through" in stdout
    assert "warning: of 8 phones of the lexicon the model has no label for 8: " in stderr
    assert "HH h" in stderr
    mapping = read_phone_map("map.txt")
    assert mapping["AH0"] == ("ə",) and "SPN" not in mapping
    code, stdout, stderr = build(CMUDICT, "--model", str(model), "--phone-map", "map.txt", "--overwrite", "--json")
    fit = json.loads(stdout)["fit"]
    assert (fit["unreachable"], [one["phone"] for one in fit["missing"]]) == (1, ["SPN"])
    assert read_lexicon("out.dict")[0] == Entry("HELLO", ("h", "ə", "l", "oʊ"))


def test_a_lexicon_that_fits_leaves_an_empty_map_which_is_one(build, model):
    """The two commands are advised together: the second must not fail because the first had nothing to say."""
    lexicon = "see s iː\nsea s iː\n"
    code, stdout, stderr = build(lexicon, "--model", str(model), "--write-phone-map", "map.txt")
    assert (code, stderr) == (0, "") and "phone map   map.txt, empty" in stdout
    assert Path("map.txt").read_bytes() == b""
    code, stdout, stderr = build(lexicon, "--model", str(model), "--phone-map", "map.txt", out="other.dict")
    assert (code, stderr) == (0, "") and "2 of 2 words can be found" in stdout


def test_the_map_does_not_take_the_place_of_the_lexicon(build, model, tmp_path):
    Path("folder").mkdir()
    Path("link").symlink_to("folder")
    for out, written in (("one", "one"), ("one", f"{tmp_path}/one"), ("folder/one", "link/../folder/./one")):
        code, _, stderr = build(CMUDICT, "--model", str(model), "--write-phone-map", written, "--overwrite", out=out)
        assert code == 2 and f"OUT and --write-phone-map are one place, {out}; name two files" in stderr
        assert not Path(out).exists()


def test_marks_of_a_language_model_are_no_words(build, model):
    """Else the table counts what the warning does not, and a search would find them."""
    lexicon = "<unk> s\n<s> t\nsee s iː\nsaw s ɔ\nsow s aʊ\n"
    code, stdout, stderr = build(lexicon, "--model", str(model))
    assert code == 0 and "words       3, said in 3 ways" in stdout
    assert "left out    2 words (<unk>, <s>): marks, which nobody says" in stdout
    assert "1 of 3 words can be found with the model" in stdout and "2 of 3 words (66.67%) can never" in stderr
    assert [word for word, _ in read_lexicon("out.dict")] == ["see", "saw", "sow"]


@needs_espeak
def test_marks_in_a_list_are_not_said(build):
    _, stdout, _ = build("<unk>\n<s>\nsea\n<noise>\n</s>\n", "--language", "en-us", "--json")
    told = {"words": 4, "examples": ["<unk>", "<s>", "<noise>"]}
    assert json.loads(stdout)["left_out"] == {"marks, which nobody says": told}
    assert read_lexicon("out.dict") == [Entry("sea", ("s", "iː"))]


@needs_espeak
def test_words_get_the_ways_they_are_said_in_sentences(build):
    """A model that has learnt from sentences emits t ə, and a lexicon without it would never find `to` in that."""
    text = "He has to go, to see. I want to go home.\nWe go to town; they wanted to.\n21 of the cats go to bed.\n"
    for words, sentences in (("to\ngo\n", text), ("TO\nGO\n", text), ("to\ngo\n", text.upper())):
        Path("text").write_text(sentences)
        arguments = ["--language", "en-us", "--text", "text", "--overwrite"]
        code, stdout, stderr = build(words, *arguments)
        assert code == 0, stderr
        assert [(word.lower(), *phones) for word, phones in read_lexicon("out.dict")] == [
            ("to", "t", "ə"),
            ("to", "t", "uː"),
            ("go", "ɡ", "oʊ"),
        ]
        assert "sentences: 0 of 6" in stderr and "sentences are done: 6 parts" in stderr
        assert "text        2 words heard in 6 parts of sentences, 1 not used" in stdout
    assert json.loads(build(words, *arguments, "--json")[1])["text"] == {"parts": 6, "unmatched": 1, "words": 2}


@needs_espeak
def test_a_model_and_a_map_are_looked_for_before_espeak_is_at_work(build):
    """Else an hour of words is said in vain."""
    for arguments in (["--model", "./nowhere"], ["--phone-map", "nowhere"]):
        code, _, stderr = build("sea\n", "--language", "en-us", *arguments)
        assert code == 2 and "nowhere" in stderr and "espeak (en-us)" not in stderr


def test_a_map_that_changes_nothing_is_told(build):
    """Such as one for another lexicon, or no map at all."""
    Path("map").write_text("ə AH0\n")
    code, _, stderr = build(CMUDICT, "--phone-map", "map")
    assert code == 0 and "warning: the phone map changes nothing: it maps ə ..., but the lexicon has AH0 EH0" in stderr


def test_words_of_any_bytes_are_told():
    """A language model's may be no UTF-8, which a terminal refuses."""
    word = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert build_lexicon._told_left_out("why", 4, [word]).encode() == rb"4 words (caf\udce9, ...): why"


def test_a_lexicon_that_is_there_stays_unless_told_otherwise(build, model):
    for name in ("out.dict", "map.txt"):
        Path(name).write_text("mine")
        code, _, stderr = build(CMUDICT, "--model", str(model), "--write-phone-map", "map.txt")
        assert code == 2 and f"{name} exists; set --overwrite to replace it" in stderr
        assert Path(name).read_text() == "mine"
        Path(name).unlink()
    Path("out.dict").write_text("mine")
    assert build(CMUDICT, "--overwrite")[0] == 0
    assert Path("out.dict").read_text().startswith("HELLO\t")


def test_nothing_is_left_where_it_fails(build, tmp_path, monkeypatch):
    def fail(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.disk.publish", fail)
    code, _, stderr = build(CMUDICT)
    assert code == 2 and "out.dict: cannot be written: No space left on device" in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["words"]


def test_lexicons_come_from_object_storage_and_go_there(build):
    import fsspec

    fsspec.filesystem("memory").pipe("/words/cmu.dict", CMUDICT.encode())
    assert build("memory://words/cmu.dict", out="memory://lexicons/out.dict")[0] == 0
    assert read_lexicon("memory://lexicons/out.dict") == read_lexicon("memory://words/cmu.dict")
    assert "exists" in build("memory://words/cmu.dict", out="memory://lexicons/out.dict")[2]


@pytest.mark.parametrize(
    ("words", "arguments", "out", "told"),
    [
        ("sea\nsee\n", [], "out", "words: words without phones, not a lexicon; nightshift build-lexicon words OUT --l"),
        ("\\data\\\n", [], "out", "words is a language model: give --language, so that espeak says how its words"),
        ('{"sea": 1}', ["--language", "en-us"], "out", "words: JSON, where lines of text are expected"),
        (CMUDICT, ["--text", "words"], "out", "--text is for espeak to say: give --language too"),
        ("sea\n", ["--language", "en-us", "--text", "nowhere"], "out", "text nowhere: missing file"),
        ("# nothing\n\n", ["--language", "en-us"], "out", "words: no words in it"),
        ("/nowhere/words", [], "out", "lexicon /nowhere/words: missing file"),
        ("sea S IY\nsee\n", [], "out", "words line 2: 'see' has no phones"),
        ("No\nhello world\n", ["--language", "en-us"], "out", "words line 2: 'hello world' is more than a word"),
        ("hello\n3\tthe\n", ["--language", "en-us"], "out", "words line 2: '3 the' is more than a word"),
        (CMUDICT, ["--language", "en-us"], "out", "words line 1: 'HELLO HH AH0 L OW1' is more than a word"),
        ("<unk> s\n<s> t\n", [], "out", "words: no words in it but marks of language models"),
        (CMUDICT, [], "folder", "folder: a folder; name a file"),
        (CMUDICT, [], "words/out", "words/out: cannot be written"),
        (CMUDICT, ["--write-phone-map", "map"], "out", "--write-phone-map writes what fits a model: give --model too"),
        (CMUDICT, ["--phone-map", "nowhere"], "out", "phone map nowhere: missing file"),
        (CMUDICT, ["--phone-map", "drops"], "out", "the phone map leaves nothing of 'UH'"),
        (CMUDICT, ["--model", "letters"], "out", "letters writes letters, not phones: it needs no lexicon"),
        (CMUDICT, ["--model", "./nowhere"], "out", "model ./nowhere: no such directory"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(build, model, words, arguments, out, told):
    Path("folder").mkdir()
    Path("drops").write_text("SPN\n")
    Path("letters").mkdir()
    Path("letters/vocab.json").write_text((model / "vocab.json").read_text())
    code, stdout, stderr = build(words, *arguments, out=out)
    assert (code, stdout) == (2, "")
    assert told in stderr.splitlines()[-1] and "Traceback" not in stderr
    assert not Path("out").exists() and not Path("map").exists()


@needs_espeak
def test_an_unknown_language_is_told(build):
    code, _, stderr = build("sea\n", "--language", "english")
    assert code == 2 and "espeak-ng has no language 'english'" in stderr
