"""Runs with a model of phonemes: phones as its text, words by a lexicon, phone errors, and misfits told first."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import Wav2Vec2PhonemeCTCTokenizer

from jobs.__main__ import main
from pipeline import config as configuration
from pipeline import run as runs
from pipeline.commit import Stored
from pipeline.decode.backends import BeamDecoder
from pipeline.decode.options import PHONE_WEIGHTS
from pipeline.decode.settings import DecodeSettings
from pipeline.demo.sample import write_model
from pipeline.drive import drive
from pipeline.emissions import read
from pipeline.errors import UsageError
from pipeline.progress import Progress
from pipeline.records import SCHEMA
from pipeline.request import DecodeRequest, Request
from pipeline.run import find
from pipeline.score import ScoreSettings
from pipeline.sources.entries import Entry
from pipeline.store import Folder
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit
from pipeline.write import Writer, read_parts
from tests.doubles import Made

MARKS = ("<pad>", "<s>", "</s>", "<unk>")
LABELS = (*MARKS, "|", "aɪ", "s", "iː", "ð", "ə", "n", "oʊ", "k", "m", "h", "ɹ", "t")
VOCABULARY = Vocabulary(LABELS, blank=0, delimiter=4, silent=frozenset(range(4)), phonemes=True)
FRAME_S = 0.02
NUM_RECORDINGS = 16
LEXICON = """\
;;; as CMUdict writes it
i\taɪ
see\ts iː
sea\ts iː
the\tð ə
no\tn oʊ
know\tn oʊ
"""
SAID = {"i": "aɪ", "see": "s iː", "sea": "s iː", "the": "ð ə", "no": "n oʊ", "know": "n oʊ"}
# Homophones: only the language model can tell them.
SENTENCES = ("i see the sea", "i know the sea", "no i see no sea", "the sea i know")
ARPA = """\\data\\
ngram 1=9
ngram 2=7

\\1-grams:
-4\t<unk>
-99\t<s>\t0
-1\t</s>
-0.9\ti\t0
-0.9\tsee\t0
-0.9\tsea\t0
-0.9\tthe\t0
-0.9\tno\t0
-0.9\tknow\t0

\\2-grams:
-0.1\ti see
-0.1\ti know
-0.1\tthe sea
-0.1\tno sea
-0.1\tsee no
-0.1\t<s> no
-2\ti no

\\end\\
"""


def emissions_of(sentence: str, rng: np.random.Generator) -> np.ndarray:
    """A frame for each phone and a blank after it, nothing between words."""
    phones = " ".join(SAID[word] for word in sentence.split()).split()
    logits = rng.normal(0, 0.1, (2 * len(phones), len(LABELS)))
    logits[0::2][np.arange(len(phones)), [LABELS.index(phone) for phone in phones]] += 9
    logits[1::2, 0] += 9
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with kept emissions of a model of phonemes, as greedy decoding left it; a lexicon and a language model."""
    folder = tmp_path_factory.mktemp("phonemes")
    (folder / "lexicon.txt").write_text(LEXICON)
    (folder / "lm.arpa").write_text(ARPA)
    told = {
        "vocabulary": runs.vocabulary_as_dict(VOCABULARY),
        "decoding": DecodeSettings().as_dict(),
        "scoring": ScoreSettings().as_dict(),
        "config": configuration.Config().as_dict(),
    }
    entries = [
        Entry(f"r{n:02d}", f"r{n:02d}.wav", duration_s=1.0, reference=SENTENCES[n % len(SENTENCES)])
        for n in range(NUM_RECORDINGS)
    ]
    run = runs.prepare(Folder(str(folder / "run")), {"input": "made"}, Made(entries, unit_s=6.0), told)
    rng = np.random.default_rng(0)
    for info in run.manifest.units():
        unit = run.load(Unit(info.id))
        for recording in unit.recordings:
            recording.emissions, recording.frame_s = emissions_of(recording.reference or "", rng), FRAME_S
            recording.duration_s, recording.text = 1.0, "?"
        Writer(run, keep_emissions=True)(unit)
    return folder


def again(made: Path, out: Path, *overrides: str) -> DecodeRequest:
    return DecodeRequest(str(made / "run"), str(out), configuration.load(None, ["run.address=here", *overrides]))


def in_words(made: Path) -> list[str]:
    return [f'decode.lexicon="{made / "lexicon.txt"}"', f'decode.lm="{made / "lm.arpa"}"']


def run(request: Request) -> Any:
    with Progress(log_every_s=1000) as progress:
        return drive(request, progress)


def rows(out: Path) -> list[dict[str, Any]]:
    return sorted(read_parts(find(str(out))).to_pylist(), key=lambda row: row["id"])


def refusal(request: Request) -> str:
    with pytest.raises(UsageError) as caught:
        run(request)
    return str(caught.value)


@pytest.fixture
def espeak() -> None:
    pytest.importorskip("phonemizer", reason="phonemizer is not installed: no reference can be said")


# ---- phones


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights and the tokenizer that transformers writes."""
    directory = tmp_path_factory.mktemp("model")
    write_model(directory, {"vocab_size": len(LABELS)})
    (directory / "vocab.json").write_text(json.dumps({label: number for number, label in enumerate(LABELS)}))
    tokenizer = Wav2Vec2PhonemeCTCTokenizer(str(directory / "vocab.json"), word_delimiter_token="|", do_phonemize=False)
    tokenizer.save_pretrained(directory)
    return directory


def test_a_model_of_phonemes_writes_phones_with_times_and_no_words(model, sample, tmp_path, capsys):
    arguments = ["transcribe", str(sample / "corpus/manifest.jsonl"), str(tmp_path / "out"), "--address", "here"]
    assert main([*arguments, "--model", str(model), "--keep-emissions", "--set", "read.unit_s=10"]) == 0
    assert "error rate" not in capsys.readouterr().out
    found = find(str(tmp_path / "out"))
    kept = {name: one for c in found.commits().values() for name, one in read(found.folder, c.emissions).items()}
    oracle = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(model)
    done = [row for row in rows(tmp_path / "out") if row["status"] == "ok"]
    assert len(done) == 12 and any(row["text"] for row in done)
    for row in done:
        # Sentence marks and <unk> part repeated phones as blanks do, and are no text; the reference would write them.
        best = [0 if label < len(MARKS) else label for label in kept[row["id"]].emissions.argmax(axis=1).tolist()]
        assert row["text"] == oracle.decode(best) == " ".join(phone["phone"] for phone in row["phones"])
        assert all(0 <= p["start_s"] < p["end_s"] <= row["duration_s"] + 0.03 for p in row["phones"])
        assert all(0 < phone["confidence"] <= 1 for phone in row["phones"])
        assert row["reference"] and row["words"] is row["word_hits"] is row["char_hits"] is None
        assert row["phone_hits"] is row["reference_phones"] is None  # no language was given
    assert Vocabulary.from_pretrained(model) == runs.vocabulary_of(found)


def test_files_alone_print_their_phones(model, sample, capsys):
    arguments = ["transcribe", str(sample / "corpus/000.flac"), "--model", str(model), "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["words"] is None
    assert told["text"] == " ".join(phone["phone"] for phone in told["phones"]) != ""


def test_phone_errors_are_those_against_what_espeak_says(made, tmp_path, espeak, capsys):
    run(again(made, tmp_path / "out", "score.language=en-us"))
    for row in rows(tmp_path / "out"):
        expected = " ".join(SAID[word] for word in row["reference"].split())
        assert row["text"] == row["reference_phones"] == expected
        assert row["phone_hits"] == len(expected.split()) == len(row["phones"])
        assert row["phone_substitutions"] == row["phone_deletions"] == row["phone_insertions"] == 0
        assert row["word_hits"] is row["words"] is None
        for number, phone in enumerate(row["phones"]):  # a frame each, and a blank
            assert phone["start_s"] == pytest.approx(2 * number * FRAME_S)
            assert phone["end_s"] == pytest.approx((2 * number + 1) * FRAME_S)
    assert json.loads((tmp_path / "out/summary.json").read_text())["per"] == 0.0
    capsys.readouterr()
    assert main(["status", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "phone error rate" in printed and "16 with a reference, said in en-us" in printed
    assert "word error rate" not in printed
    told = refusal(again(made, tmp_path / "out", "score.language=en-gb"))
    versions = r"\(phonemizer [\d.]+(, espeakng-loader [\d.]+)?\)"
    assert re.search(rf"is another run \(score.language: en-us {versions} -> en-gb {versions}\)", told)
    assert re.search(rf"score.language: en-us {versions} -> none", refusal(again(made, tmp_path / "out")))


def test_phones_that_the_model_lacks_are_told_at_the_start(made, tmp_path, espeak, capsys):
    run(again(made, tmp_path / "out", "score.language=de"))
    told = " ".join(capsys.readouterr().err.split())
    assert "warning: score.language = de:" in told and "are no labels of the model" in told


# ---- words


def test_a_lexicon_and_a_language_model_make_words_of_phones(made, tmp_path, espeak, capsys):
    result = run(again(made, tmp_path / "out", *in_words(made), "score.language=en-us", "decode.num_best=3"))
    assert (result.tally.words.rate, result.tally.phones.rate) == (0.0, 0.0)
    run(again(made, tmp_path / "greedy"))
    for row, greedy in zip(rows(tmp_path / "out"), rows(tmp_path / "greedy"), strict=True):
        assert [list(phone.values()) for phone in row["phones"]] == [
            [p["phone"], *(pytest.approx(p[name], rel=1e-5) for name in ("start_s", "end_s", "confidence"))]
            for p in greedy["phones"]
        ]
        assert row["text"] == row["reference"] == " ".join(word["word"] for word in row["words"])
        assert row["nbest"][0]["text"] == row["text"] and row["score"] == row["nbest"][0]["score"]
        assert 0 < row["confidence"] <= 1 and row["narrowed"] is False
        assert [phone["phone"] for phone in row["phones"]] == row["reference_phones"].split()
        begun = 0  # phones so far
        for word in row["words"]:
            own = row["phones"][begun : begun + len(SAID[word["word"]].split())]
            begun += len(own)
            assert own[0]["start_s"] - FRAME_S <= word["start_s"] <= own[0]["start_s"] + 1e-6
            assert own[-1]["end_s"] - 1e-6 <= word["end_s"] <= own[-1]["end_s"] + FRAME_S + 1e-6
            assert 0 < word["confidence"] <= 1 and 0 < word["posterior"] <= 1
    assert "decoding (native, lexicon.txt, lm.arpa)" in capsys.readouterr().err


@pytest.mark.ray
def test_words_from_phones_through_ray_are_those_of_one_process(made, tmp_path, espeak, ray_here):
    given = [*in_words(made), "score.language=en-us", 'score.normalizer="basic"']
    run(again(made, tmp_path / "here", *given))
    run(again(made, tmp_path / "ray", *given, "run.address=local"))
    assert rows(tmp_path / "here") == rows(tmp_path / "ray")


def test_homophones_without_a_language_model_are_still_words(made, tmp_path):
    run(again(made, tmp_path / "out", in_words(made)[0]))
    for row in rows(tmp_path / "out"):
        heard, said = ([SAID[word] for word in row[name].split()] for name in ("text", "reference"))
        assert " ".join(heard) == " ".join(said)


def test_files_alone_are_decoded_into_words(model, made, sample, capsys):
    arguments = ["transcribe", str(sample / "corpus/000.flac"), "--model", str(model), "--json"]
    assert main([*arguments, "--lexicon", str(made / "lexicon.txt"), "--lm", str(made / "lm.arpa")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == " ".join(word["word"] for word in told["words"])
    assert set(told["text"].split()) <= set(SAID)
    spoken = " ".join(SAID[word] for word in told["text"].split())
    assert " ".join(phone["phone"] for phone in told["phones"]) == spoken


# ---- what makes another run


def test_another_lexicon_or_map_is_another_run_and_a_copy_is_not(made, tmp_path):
    mine, mapped = tmp_path / "mine.txt", tmp_path / "map.txt"
    shutil.copy(made / "lexicon.txt", mine)
    lm = in_words(made)[1]
    run(again(made, tmp_path / "out", *in_words(made)))
    run(again(made, tmp_path / "out", lm, f'decode.lexicon="{mine}"'))
    mapped.write_text("n m\n")
    told = refusal(again(made, tmp_path / "out", lm, f'decode.lexicon="{mine}"', f'decode.phone_map="{mapped}"'))
    assert "is another run (decode.phone_map: none -> contents " in told
    mine.write_text(LEXICON + "me\tm iː\n")
    told = refusal(again(made, tmp_path / "out", lm, f'decode.lexicon="{mine}"'))
    assert "is another run (decode.lexicon: contents " in told


def test_a_phone_map_lets_a_lexicon_of_other_phones_be_found(made, tmp_path):
    lexicon, mapped = tmp_path / "arpabet.txt", tmp_path / "map.txt"
    lexicon.write_text("i  AY1\nsee  S IY1\nsea  S IY1\nthe  DH AH0\nno  N OW1\nknow  N OW1\n")
    mapped.write_text("AY1 aɪ\nS s\nIY1 iː\nDH ð\nAH0 ə\nN n\nOW1 oʊ\n")
    lm = in_words(made)[1]
    given = [f'decode.lexicon="{lexicon}"', f'decode.phone_map="{mapped}"', lm]
    run(again(made, tmp_path / "mapped", *given))
    run(again(made, tmp_path / "out", *in_words(made)))
    assert rows(tmp_path / "mapped") == rows(tmp_path / "out")


def test_what_is_not_said_is_as_the_run_had_it(made, tmp_path, capsys):
    copies = [shutil.copy(made / name, tmp_path) for name in ("lexicon.txt", "lm.arpa")]
    given = [f'decode.lexicon="{copies[0]}"', f'decode.lm="{copies[1]}"', "encode.keep_emissions=true"]
    first = again(made, tmp_path / "first", *given)
    run(first)
    shutil.copytree(made / "run/emissions", tmp_path / "first/emissions")  # as if it had kept them itself
    for path in (tmp_path / "first/commits").iterdir():
        commit, before = json.loads(path.read_text()), json.loads((made / "run/commits" / path.name).read_text())
        path.write_text(json.dumps(commit | {"emissions": before["emissions"]}))
    capsys.readouterr()
    (tmp_path / "first").rename(tmp_path / "run")
    run(again(tmp_path, tmp_path / "second"))
    assert "decoding (native, lexicon.txt, lm.arpa)" in capsys.readouterr().err
    assert rows(tmp_path / "second") == rows(tmp_path / "run")
    Path(copies[0]).write_text(LEXICON + "me\tm iː\n")
    told = refusal(again(tmp_path, tmp_path / "third"))
    assert f"{copies[0]} is no longer what {tmp_path / 'run'} was decoded with: say with --lexicon what to take" in told


def decoded(made: Path, folder: Path, *given: str) -> Path:
    """The run as if it had been decoded so."""
    shutil.copytree(made / "run", folder / "run")
    told = json.loads((folder / "run/run.json").read_text())
    (folder / "run/run.json").write_text(json.dumps(told | again(made, folder / "out", *given).told()))
    return folder


@pytest.fixture
def mapped(made, tmp_path) -> Path:
    """A run that was decoded with a lexicon, a phone map and a language model, all beside it, and with an alpha."""
    for name in ("lexicon.txt", "lm.arpa"):
        shutil.copy(made / name, tmp_path)
    (tmp_path / "map.txt").write_text("n m\n")
    given = [*in_words(tmp_path), f'decode.phone_map="{tmp_path / "map.txt"}"', "decode.alpha=0.7"]
    return decoded(made, tmp_path, *given)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([], ("lexicon.txt", "map.txt", "lm.arpa", 0.7)),
        (["decode.decoder=native"], ("lexicon.txt", "map.txt", "lm.arpa", 0.7)),
        (["decode.alpha=0.9"], ("lexicon.txt", "map.txt", "lm.arpa", 0.9)),
        (["decode.lexicon={made}/lexicon.txt"], ("{made}/lexicon.txt", None, "lm.arpa", 0.7)),
        (["decode.phone_map={other}"], ("lexicon.txt", "{other}", "lm.arpa", 0.7)),
        (["decode.lm={made}/lm.arpa"], ("lexicon.txt", "map.txt", "{made}/lm.arpa", PHONE_WEIGHTS.alpha)),
    ],
)
def test_of_lexicon_and_language_model_each_is_the_run_s_where_no_other_is_given(made, mapped, given, taken):
    """A lexicon that is given must not cost the language model, nor the other way round."""
    (mapped / "other.txt").write_text("n s\n")
    places = {"made": made, "other": mapped / "other.txt"}
    request = again(mapped, mapped / "again", *(one.format(**places) for one in given))
    settled = request.decoding
    found = (settled.lexicon.location, settled.lexicon.phone_map, settled.models[0].location)
    assert found == tuple(None if one is None else str(mapped / one.format(**places)) for one in taken[:3])
    assert settled.models[0].weights.alpha == taken[3]
    assert settled.decoder == "native" and not any("without effect" in told for told in request.warnings())


def test_greedy_takes_nothing_of_a_run_and_gives_way_to_a_lexicon(made, mapped, tmp_path):
    greedy = again(mapped, mapped / "again", "decode.decoder=greedy")
    assert greedy.decoding == DecodeSettings() and greedy.warnings() == []
    folder = decoded(made, tmp_path / "second", "decode.decoder=greedy")
    assert again(folder, tmp_path / "again").decoding == DecodeSettings()
    assert again(folder, tmp_path / "again", *in_words(made)).decoding.decoder == "native"


def test_what_is_taken_of_a_run_must_be_what_it_was(mapped):
    """Each file by itself, and no longer where another, or the same, is given."""
    out = mapped / "again"
    lexicon, lm = in_words(mapped)
    for name, given, rest in (
        ("map.txt", f'decode.phone_map="{mapped / "map.txt"}"', lm),
        ("lexicon.txt", lexicon, lm),
        ("lm.arpa", lm, lexicon),
    ):
        before = (mapped / name).read_text()
        (mapped / name).write_text(f"\n{before}" if name == "lm.arpa" else f"{before}oʊ oʊ\n")
        for still_taken in ([], [rest]):
            told = refusal(again(mapped, out, *still_taken))
            assert f"{mapped / name} is no longer what {mapped / 'run'} was decoded with: say with --l" in told
        assert again(mapped, out, given).decoding.decoder == "native"
        (mapped / name).write_text(before)


@pytest.mark.parametrize(
    ("given", "scored"),
    [
        ([], ScoreSettings("unicode")),
        (["score.normalizer=none"], ScoreSettings()),
        (["decode.decoder=greedy"], ScoreSettings("unicode")),  # which has no words, and nobody is told
    ],
)
def test_what_is_not_said_of_scoring_is_as_the_run_had_it(made, tmp_path, given, scored):
    """Else the two runs count other errors, and their rates are compared all the same."""
    folder = decoded(made, tmp_path, *in_words(made), "score.normalizer=unicode")
    request = again(folder, tmp_path / "again", *given)
    assert replace(request.scoring, version="") == scored
    assert not any("score." in told for told in request.warnings())


def test_a_language_is_taken_from_the_run_and_none_leaves_it(made, tmp_path, espeak):
    folder = decoded(made, tmp_path, *in_words(made), "score.language=en-us")
    assert again(folder, tmp_path / "again").scoring.language == "en-us"
    assert again(folder, tmp_path / "again", "score.language=en-gb").scoring.language == "en-gb"
    assert again(folder, tmp_path / "again", "score.language=none").scoring == ScoreSettings()


# ---- tuning


def test_tuning_scores_as_the_run_did(made, tmp_path, capsys):
    folder, out = decoded(made, tmp_path, *in_words(made), "score.normalizer=unicode"), tmp_path / "tuned.toml"
    grid = ["--alphas", "0.5", "--betas=0", "--beam-widths", "8", "--prunings=-10:-8", "--refinements", "0"]
    for given, expected in (([], "unicode"), (["--set", "score.normalizer=none"], "none")):
        assert main(["tune", str(folder / "run"), *grid, *given, "--out", str(out)]) == 0
        assert configuration.load(str(out)).score.normalizer == expected
    assert "compiling" not in capsys.readouterr().err


def test_tuning_finds_what_the_language_model_is_worth(made, tmp_path, capsys):
    grid = ["--alphas", "0,0.5", "--betas=0,1", "--beam-widths", "8", "--prunings=-10:-8", "--refinements", "0"]
    files = ["--lexicon", str(made / "lexicon.txt"), "--lm", str(made / "lm.arpa")]
    out = tmp_path / "tuned.toml"
    score = ["--set", "score.normalizer=basic"]
    assert main(["tune", str(made / "run"), *files, *grid, *score, "--set", "decode.alpha=0", "--out", str(out)]) == 0
    tuned = configuration.load(str(out))
    assert tuned.decode.alpha > 0 and tuned.decode.lexicon == str(made / "lexicon.txt")
    assert tuned.score.normalizer == "basic"  # else decoding by this file would count other errors
    capsys.readouterr()
    arguments = [
        "decode",
        str(made / "run"),
        str(tmp_path / "out"),
        "--config",
        str(out),
        "--address",
        "here",
        "--json",
    ]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["wer"] == 0.0


# ---- what does not fit


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["decode.lm={lm}"], "the model writes phonemes, and a language model knows words: give how"),
        (["decode.decoder=native"], "decode.decoder = native: the model writes phonemes"),
        (["decode.decoder=kenlm"], "decode.decoder = kenlm: the model writes phonemes, of which only native"),
        (["decode.decoder=pyctcdecode", "decode.lexicon={lexicon}"], "of which only native makes words"),
        (["decode.lexicon={lexicon}", "decode.compat=true"], "decode.compat: the model writes phonemes"),
        (["decode.lexicon=/gone.txt"], "decode.lexicon = /gone.txt: missing file"),
        (["decode.lexicon={lexicon}", "decode.phone_map=/gone.txt"], "decode.phone_map = /gone.txt: missing file"),
        (
            ['decode.lexicon="http://127.0.0.1:9/lexicon.txt?signature=secret"'],
            "decode.lexicon = http://127.0.0.1:9/lexicon.txt: store not reachable: nothing answers",
        ),
        (["decode.lexicon={empty}"], "empty.txt: no word in it"),
        (["decode.lexicon={foreign}"], "no word of the lexicon can be found with this model"),
        (["decode.lexicon={damaged}"], "damaged.txt line 1: 'no' has no phones"),
        (["score.normalizer=englisch"], "score.normalizer = englisch: no normalizer is called"),
    ],
)
def test_what_cannot_be_is_one_clear_error_before_anything_is_written(made, tmp_path, overrides, message):
    for name, content in (("empty", "# none\n"), ("foreign", "no  Q Q\n"), ("damaged", "no\nknow n oʊ\n")):
        (tmp_path / f"{name}.txt").write_text(content)
    places = {name: tmp_path / f"{name}.txt" for name in ("empty", "foreign", "damaged")}
    places |= {"lm": made / "lm.arpa", "lexicon": made / "lexicon.txt"}
    assert message in refusal(again(made, tmp_path / "out", *(one.format(**places) for one in overrides)))
    assert not (tmp_path / "out").exists()


def test_a_language_that_is_none_is_refused_with_those_near_it(made, tmp_path, espeak):
    assert "no language 'en-uk'" in refusal(again(made, tmp_path / "out", "score.language=en-uk"))


def test_without_phonemizer_a_run_says_what_to_install_and_decodes_all_the_same(made, tmp_path):
    """Both are GPL-3 and an extra: nothing but phonemising may need them."""
    arguments = ["decode", str(made / "run"), str(tmp_path / "out"), "--address", "here"]
    code = "import sys; sys.modules['phonemizer'] = None; from jobs.__main__ import command; command()"

    def without_phonemizer(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *arguments, *more], capture_output=True, text=True)

    refused = without_phonemizer("--set", "score.language=en-us")
    assert refused.returncode == 2
    assert (
        "pip install phonemizer espeakng-loader" in refused.stderr.splitlines()[-1]
        and "Traceback" not in refused.stderr
    )
    assert not (tmp_path / "out").exists()
    assert without_phonemizer().returncode == 0


def test_a_lexicon_with_a_model_of_letters_is_refused_in_every_command(made, sample, tmp_path, capsys):
    lexicon = ["--lexicon", str(made / "lexicon.txt"), "--model", str(sample / "model")]
    for arguments in (
        ["plan", str(sample / "corpus/manifest.jsonl"), str(tmp_path / "out")],
        ["transcribe", str(sample / "corpus/manifest.jsonl"), str(tmp_path / "out"), "--address", "here"],
        ["transcribe", str(sample / "corpus/000.flac")],
    ):
        assert main([*arguments, *lexicon]) == 2
        told = capsys.readouterr().err
        assert "the model writes letters" in told and "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_what_fits_badly_is_told_by_plan_and_by_every_start(made, model, sample, tmp_path, capsys):
    """A lexicon whose case is not the language model's, and whose words the model cannot all say."""
    lexicon = tmp_path / "upper.txt"
    lines = [f"{word.upper()}\t{phones}" for word, phones in SAID.items()]
    lexicon.write_text("\n".join([*lines, "WAY\tw eɪ"]) + "\n")
    given = ["--model", str(model), "--lexicon", str(lexicon), "--lm", str(made / "lm.arpa")]
    expected = (
        "can never be found: WAY",
        "100.0% of the lexicon's words are not in",
        "in lower case more would fit: give the lexicon so",
    )
    for arguments in (
        ["plan", str(sample / "corpus/manifest.jsonl"), str(tmp_path / "out"), *given],
        ["transcribe", str(sample / "corpus/000.flac"), *given],
        ["decode", str(made / "run"), str(tmp_path / "again"), *given[2:], "--address", "here"],
    ):
        assert main(arguments) == 0
        told = " ".join(capsys.readouterr().err.split())
        assert all(told.count(line) == 1 for line in expected), told


def test_plan_says_how_a_run_would_score(model, sample, tmp_path, espeak, capsys):
    arguments = ["plan", str(sample / "corpus/manifest.jsonl"), str(tmp_path / "out"), "--model", str(model)]
    assert main([*arguments, "--set", "score.language=en-us", "--set", "score.normalizer=basic"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^texts compared +as basic makes them$", printed, re.MULTILINE)
    assert re.search(r"^phones compared +with references said in en-us$", printed, re.MULTILINE)
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scoring"]["normalizer"] == "none"


def test_settings_that_nothing_looks_at_are_told(made, sample, tmp_path):
    lexicon = f'decode.lexicon="{made / "lexicon.txt"}"'
    (told,) = again(made, tmp_path / "out", lexicon, "decode.decoder=greedy").warnings()
    assert told == "decode.lexicon without effect: decoding is greedy"
    (told,) = again(made, tmp_path / "out", "decode.alpha=1").warnings()
    assert told == "decode.alpha without effect: decoding is greedy, as there is no lexicon (--lexicon)"
    (told,) = again(made, tmp_path / "out", "score.normalizer=unicode").warnings()
    assert told.startswith("score.normalizer without effect: the model writes phonemes")
    assert again(made, tmp_path / "out", "score.normalizer=unicode", lexicon).warnings() == []
    (told,) = again(made, tmp_path / "out", lexicon, "decode.alpha=1").warnings()
    assert told == "decode.alpha without effect: there is no language model (--lm)"
    letters = ["run.address=here", f'encode.model="{sample / "model"}"', "score.language=en-us"]
    config = configuration.load(None, letters)
    (told,) = Request(str(sample / "corpus/manifest.jsonl"), str(tmp_path / "out"), config).warnings()
    assert told.startswith("score.language without effect: the model writes letters")


def test_references_that_are_compared_with_nothing_are_told_at_the_start(made, tmp_path, capsys):
    """Else the night is over before it is seen that no error was counted."""
    result = run(again(made, tmp_path / "out"))
    told = " ".join(capsys.readouterr().err.split())
    assert "warning: references are not compared: the model writes phonemes, and score.language" in told
    assert "(as in --set score.language=en-us)" in told
    assert result.tally.num_scored == result.tally.num_phones_scored == 0
    assert main(["status", str(tmp_path / "out")]) == 0
    told = "16: score.language, which says them, is not set (as in en-us)"
    assert re.search(rf"^references not compared +{re.escape(told)}$", capsys.readouterr().out, re.MULTILINE)
    assert run(again(made, tmp_path / "words", in_words(made)[0])).tally.num_uncompared == 0
    assert "references are not compared" not in capsys.readouterr().err


def test_scoring_that_cannot_be_is_refused_of_files_alone_too(model, sample, espeak, capsys):
    arguments = ["transcribe", str(sample / "corpus/000.flac"), "--model", str(model), "--set"]
    for setting in ("score.language=xx", "score.normalizer=foo"):
        assert main([*arguments, setting]) == 2
        assert f"{setting.replace('=', ' = ')}: " in capsys.readouterr().err
    assert main([*arguments, "score.normalizer=unicode"]) == 0
    assert "warning: score.normalizer without effect: files alone have no references" in capsys.readouterr().err


def test_phones_have_weights_of_their_own(made, tmp_path):
    """Those for letters double the word errors."""
    (model,) = again(made, tmp_path / "out", *in_words(made)).decoding.models
    assert model.weights == PHONE_WEIGHTS
    (model,) = again(made, tmp_path / "out", *in_words(made), "decode.beta=0.25").decoding.models
    assert model.weights == replace(PHONE_WEIGHTS, beta=0.25)


@pytest.mark.parametrize(("kept", "told"), [(6, []), (3, ["3 of the 6 words of LM (50.0%) are not in the lexicon"])])
def test_words_of_the_language_model_that_the_lexicon_lacks_are_told(made, tmp_path, kept, told):
    """Else they are missed all night, and nothing says why."""
    lexicon = tmp_path / "few.txt"
    lexicon.write_text("".join(f"{word}\t{phones}\n" for word, phones in list(SAID.items())[:kept]))
    request = again(made, tmp_path / "out", f'decode.lexicon="{lexicon}"', in_words(made)[1])
    found = [warning.replace(str(made / "lm.arpa"), "LM") for warning in request.warnings()]
    assert [warning.partition(", such as ")[0] for warning in found] == told
    assert all(", such as the, no, know, and cannot be found; " in warning for warning in found)


def test_a_language_model_without_its_words_tells_their_number(made, tmp_path, monkeypatch):
    """KenLM can write such files, and they find words in phones as well."""

    def refuse(self):
        raise UsageError("has no words")

    monkeypatch.setattr("pipeline.lm.model.LanguageModel.words", refuse)
    (tmp_path / "few.txt").write_text("see\ts iː\n")
    (told,) = again(made, tmp_path / "out", f'decode.lexicon="{tmp_path / "few.txt"}"', in_words(made)[1]).warnings()
    assert "5 of the 6 words of" in told and "are not in the lexicon, and cannot be found" in told


def test_hotwords_that_the_lexicon_lacks_are_told(made, tmp_path):
    words = tmp_path / "hot.txt"
    words.write_text("sea\nthe sea\nthe zebra\n")  # of a phrase every word is hot by itself
    (told,) = again(made, tmp_path / "out", *in_words(made), f'decode.hotwords="{words}"').warnings()
    assert told == "a hotword, such as 'zebra', cannot be found in the lexicon, and will change nothing"


@pytest.mark.parametrize("changed", ["lexicon.txt", "map.txt"])
def test_a_node_with_another_lexicon_does_not_decode(made, tmp_path, changed):
    (tmp_path / "lexicon.txt").write_text(LEXICON)
    (tmp_path / "map.txt").write_text("n m\n")
    given = [f'decode.lexicon="{tmp_path / "lexicon.txt"}"', f'decode.phone_map="{tmp_path / "map.txt"}"']
    settled = again(made, tmp_path / "out", *given).decoding
    BeamDecoder(settled, VOCABULARY)
    with open(tmp_path / changed, "a") as file:
        file.write("oʊ k\n")
    with pytest.raises(UsageError, match=rf"{changed} on .* is not the file that the run was started with"):
        BeamDecoder(settled, VOCABULARY)


# ---- runs of earlier versions


def test_a_run_that_knew_no_phones_is_shown_and_decoded_again(made, tmp_path, capsys):
    old = Path(shutil.copytree(made / "run", tmp_path / "run"))
    info = json.loads((old / "run.json").read_text())
    letters = info["vocabulary"] | {"labels": [*MARKS, "|", *"ABCDEFGHIJKL"]}
    del letters["phonemes"], info["scoring"], info["decoding"]["lexicon"], info["config"]["score"]
    (old / "run.json").write_text(json.dumps(info | {"vocabulary": letters}))
    for path in (old / "commits").iterdir():
        commit = json.loads(path.read_text())
        part = old / "data" / commit["part"]
        new = [name for name in SCHEMA.names if name.startswith("phone") or name == "reference_phones"]
        pq.write_table(pq.read_table(part).drop_columns(new), part)
        stored = Stored.of(part.name, part.read_bytes())
        tally = {name: value for name, value in commit["tally"].items() if "phones" not in name}
        told = {"tally": tally, "size": stored.size, "sha256": stored.sha256}
        path.write_text(json.dumps(commit | told))
    assert main(["status", str(old)]) == 0
    assert "16 of 16" in capsys.readouterr().out
    run(DecodeRequest(str(old), str(tmp_path / "again"), configuration.load(None, ["run.address=here"])))
    assert {row["phones"] is None and row["words"] is not None for row in rows(tmp_path / "again")} == {True}
