"""Runs with a language model: emissions kept and decoded again, exactly once, and never another run's by mistake."""

import dataclasses
import json
import shutil
import time
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest

from pipeline import config as configuration
from pipeline.carry import Stage
from pipeline.commit import Stored
from pipeline.config import ReadConfig
from pipeline.demo.sample import SENTENCES
from pipeline.drive import drive
from pipeline.emissions import Keeping, Kept, read, rounded, to_bytes
from pipeline.errors import RecordingError, UsageError
from pipeline.progress import Progress
from pipeline.records import Recording
from pipeline.request import DecodeRequest, Request
from pipeline.run import find, reading_of
from pipeline.store import Folder
from pipeline.unit import Unit
from pipeline.write import read_parts
from tests.doubles import Deadly
from tests.imported import imported

WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


def arpa(words: list[str] = WORDS, log10: float = -1.5) -> str:
    """A bigram model in which every word is as likely, and one pair likelier."""
    unigrams = "".join(f"{log10}\t{word}\t-0.25\n" for word in words)
    head = f"\\data\\\nngram 1={len(words) + 3}\nngram 2=2\n\n\\1-grams:\n-3\t<unk>\n-99\t<s>\t-0.25\n-1\t</s>\n"
    return f"{head}{unigrams}\n\\2-grams:\n-0.5\t{words[0]} {words[1]}\n-0.5\t<s> {words[0]}\n\n\\end\\\n"


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    path.write_text(arpa())
    return path


def config_of(*overrides: str) -> configuration.Config:
    return configuration.load(None, ["run.address=here", *overrides])


def request_of(sample: Path, out: Path, *overrides: str, **options: bool) -> Request:
    keys = ["read.unit_s=10", f'encode.model="{sample / "model"}"', *overrides]
    return Request(str(sample / "corpus/manifest.jsonl"), str(out), config_of(*keys), **options)


def run(request: Request, **how):
    with Progress(log_every_s=1000) as progress:
        return drive(request, progress, **how)


def rows(out: Path) -> list[dict[str, object]]:
    return sorted(read_parts(find(str(out))).to_pylist(), key=lambda row: row["id"])


@pytest.fixture(scope="module")
def transcribed(sample, lm, tmp_path_factory) -> Path:
    """A run with a language model that has kept its emissions. Not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "kept"
    run(request_of(sample, out, f'decode.lm="{lm}"', "encode.keep_emissions=true"))
    return out


@pytest.fixture
def kept(transcribed, tmp_path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(transcribed, tmp_path / "kept"))


def again(kept: Path, out: Path, *overrides: str, **options: bool) -> DecodeRequest:
    return DecodeRequest(str(kept), str(out), config_of(*overrides), **options)


@pytest.mark.ray
def test_decoding_again_through_ray_gives_the_rows_of_the_run_itself(transcribed, lm, tmp_path, ray_here):
    """Text, times, scores, error counts, columns of the input and the failures of reading."""
    result = run(again(transcribed, tmp_path / "out", f'decode.lm="{lm}"', "run.address=local"))
    assert result.complete
    assert rows(tmp_path / "out") == rows(transcribed)
    assert {row["error"] for row in rows(tmp_path / "out")} >= {None, "read: not audio", "read: missing file"}
    assert any(row["text"] for row in rows(tmp_path / "out"))


def test_other_settings_give_what_a_run_with_them_would_have_given(transcribed, sample, lm, tmp_path):
    run(again(transcribed, tmp_path / "greedy", "decode.decoder=greedy"))
    run(request_of(sample, tmp_path / "direct", "encode.keep_emissions=true"))
    assert rows(tmp_path / "greedy") == rows(tmp_path / "direct")
    assert [row["text"] for row in rows(tmp_path / "greedy")] != [row["text"] for row in rows(transcribed)]


def test_how_the_audio_was_read_stays_known(transcribed, tmp_path):
    """Else a report would play another channel than was transcribed."""
    run(again(transcribed, tmp_path / "out", "decode.decoder=greedy"))
    assert reading_of(find(str(tmp_path / "out"))) == reading_of(find(str(transcribed))) == ReadConfig(unit_s=10)


def test_the_columns_of_a_beam_search(transcribed, lm, tmp_path):
    run(again(transcribed, tmp_path / "out", f'decode.lm="{lm}"', "decode.num_best=3"))
    for one, many in zip(rows(transcribed), rows(tmp_path / "out"), strict=True):
        if one["status"] == "failed":
            assert one["score"] is one["nbest"] is one["narrowed"] is None
            continue
        assert (one["text"], one["score"], one["confidence"]) == (many["text"], many["score"], many["confidence"])
        assert one["nbest"] is None and 1 <= len(many["nbest"]) <= 3
        assert many["nbest"][0]["text"] == many["text"] and many["nbest"][0]["score"] == many["score"]
        assert 0 < one["confidence"] <= 1 and one["narrowed"] is False
        assert all(word["posterior"] is None and 0 <= word["confidence"] <= 1 for word in one["words"])
        assert all(0 < word["posterior"] <= 1 for word in many["words"])
        assert " ".join(word["word"] for word in one["words"]) == one["text"]
        assert all(0 <= word["start_s"] < word["end_s"] <= one["duration_s"] + 0.03 for word in one["words"])


@pytest.mark.parametrize(("theirs", "ours"), [("kenlm", []), ("pyctcdecode", ["decode.compat=true"])])
def test_decoders_by_other_names_agree(transcribed, lm, tmp_path, theirs, ours):
    for package in ("kenlm", theirs):
        pytest.importorskip(package)
    few = ["decode.beam_width=8", f'decode.lm="{lm}"']
    run(again(transcribed, tmp_path / "ours", *few, *ours))
    run(again(transcribed, tmp_path / "theirs", *few, *ours, f"decode.decoder={theirs}"))
    for one, other in zip(rows(tmp_path / "ours"), rows(tmp_path / "theirs"), strict=True):
        assert one["text"] == other["text"]
        assert one["error"] == other["error"]
        if one["status"] == "ok":
            assert one["score"] == other["score"]
            assert [w["start_s"] for w in one["words"]] == [w["start_s"] for w in other["words"]]


def test_an_interrupted_decoding_is_resumed(transcribed, tmp_path):
    request = again(transcribed, tmp_path / "out")
    run(request)
    whole, commits = rows(tmp_path / "out"), sorted((tmp_path / "out/commits").iterdir())
    commits[1].unlink()
    before = {path: path.read_bytes() for path in commits if path != commits[1]}
    run(request)
    assert rows(tmp_path / "out") == whole
    assert {path: path.read_bytes() for path in before} == before


def kept_again(kept, name: str, data: bytes) -> Stored:
    find(str(kept)).write_emissions(name, data)
    return Stored.of(name, data)


def test_a_failure_stays_one_and_a_recording_that_is_no_number_becomes_one(kept, tmp_path):
    (name,) = {path.name for path in (kept / "emissions").iterdir() if "000000" in path.name}
    commit_path = kept / "commits/000000.json"
    commit = json.loads(commit_path.read_text())
    found = read(Folder(str(kept)), find(str(kept)).commit_of(0).emissions)
    victim = next(iter(found))
    found[victim].emissions[3] = np.nan
    ok = [Recording(i, "", emissions=k.emissions, frame_s=k.frame_s, status="ok") for i, k in found.items()]
    stored = kept_again(kept, name, to_bytes(ok, {}))
    commit_path.write_text(json.dumps(commit | {"emissions": dataclasses.asdict(stored)}))
    run(again(kept, tmp_path / "out", "decode.decoder=native"))
    errors = {row["id"]: row["error"] for row in rows(tmp_path / "out")}
    assert errors[victim] == "decode: emissions that are not numbers"
    assert {i: e for i, e in errors.items() if i != victim} == {
        row["id"]: row["error"] for row in rows(kept) if row["id"] != victim
    }


@pytest.mark.ray
def test_a_recording_that_kills_its_decoder_is_a_row_and_the_rest_are_done(
    transcribed, tmp_path, ray_here, monkeypatch
):
    monkeypatch.setattr("pipeline.isolate.STRIKES", 2)  # each death is a process that starts anew
    run(again(transcribed, tmp_path / "calm"))
    request = again(transcribed, tmp_path / "out", "run.address=local")

    def with_a_killer(config, run, pools) -> list[Stage]:
        load, decode, *rest = request.stages(config, run, pools)
        return [load, Stage("deadly", partial(Deadly, "003.ogg", tmp_path), decode.pool), decode, *rest]

    assert run(request, make_stages=with_a_killer).complete
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    assert found.pop("003.ogg")["error"] == "deadly: killed its process"
    assert found == {row["id"]: row for row in rows(tmp_path / "calm") if row["id"] != "003.ogg"}


def test_decoding_again_needs_neither_torch_nor_the_model_nor_the_audio(kept, lm, tmp_path):
    info = json.loads((kept / "run.json").read_text())
    info["config"]["encode"]["model"] = "/gone"
    (kept / "run.json").write_text(json.dumps(info))
    arguments = ["decode", str(kept), str(tmp_path / "out"), "--lm", str(lm), "--address", "here"]
    modules, _ = imported(arguments)
    assert not {"torch", "ray", "soundfile"} & modules


# ---- what makes another run


def refusal(request: Request) -> str:
    with pytest.raises(UsageError) as caught:
        run(request)
    return str(caught.value)


def test_another_language_model_is_another_run_and_a_copy_is_not(transcribed, lm, tmp_path):
    mine = tmp_path / "mine.arpa"
    shutil.copy(lm, mine)
    run(again(transcribed, tmp_path / "out", f'decode.lm="{lm}"'))
    run(again(transcribed, tmp_path / "out", f'decode.lm="{mine}"'))
    mine.write_text(arpa(log10=-1.25))
    assert "is another run (decode.lm: ['contents " in refusal(
        again(transcribed, tmp_path / "out", f'decode.lm="{mine}"')
    )
    mine.write_text("\n".join(WORDS))
    told = refusal(again(transcribed, tmp_path / "out", f'decode.lm="{lm}"', f'decode.unigrams="{mine}"'))
    assert "is another run (decode.unigrams: [None] -> ['contents " in told
    told = refusal(again(transcribed, tmp_path / "out", f'decode.lm="{lm}"', f'decode.hotwords="{mine}"'))
    assert "is another run (decode.hotwords: none -> contents " in told
    told = refusal(again(transcribed, tmp_path / "out", f'decode.lm="{lm}"', "decode.alpha=0.6"))
    assert "is another run (decode.alpha: 0.5 -> 0.6)" in told
    run(again(transcribed, tmp_path / "out", f'decode.lm="{lm}"', "decode.alpha=0.5", "decode.threads=1"))
    greedy = again(transcribed, tmp_path / "out", "decode.decoder=greedy")
    assert "decode.decoder: native -> greedy" in refusal(greedy)


def test_a_greedy_run_does_not_depend_on_what_greedy_does_not_use(transcribed, tmp_path, capsys):
    run(again(transcribed, tmp_path / "out", "decode.decoder=greedy"))
    run(again(transcribed, tmp_path / "out", "decode.decoder=greedy", "decode.beam_width=7", "decode.alpha=1"))
    told = " ".join(capsys.readouterr().err.split())
    assert "warning: decode.alpha, decode.beam_width without effect: decoding is greedy" in told


def test_a_decoder_directory_brings_its_weights_and_the_user_has_the_last_word(transcribed, lm, tmp_path):
    directory = tmp_path / "decoder"
    (directory / "language_model").mkdir(parents=True)
    shutil.copy(lm, directory / "language_model")
    weights = {"alpha": 0.9, "beta": 0.25, "unk_score_offset": -5.0, "score_boundary": False}
    (directory / "language_model/attrs.json").write_text(json.dumps(weights))
    (directory / "language_model/unigrams.txt").write_text("\n".join(WORDS))
    labels = ["", "<s>", "</s>", "⁇", " ", *"ETAOINHSRDLCUMWFGYPBVK'XJQZ"]
    (directory / "alphabet.json").write_text(json.dumps({"labels": labels, "is_bpe": False}))
    request = again(transcribed, tmp_path / "out", f'decode.lm="{directory}"', "decode.beta=1")
    settings = request.decoding.that_shape_results()
    assert {name: settings[f"decode.{name}"] for name in weights} == weights | {"beta": 1.0}
    assert request.warnings() == []
    by_hand = [f"decode.{name}={json.dumps(value)}" for name, value in (weights | {"beta": 1.0}).items()]
    run(request)
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS))
    run(again(transcribed, tmp_path / "hand", f'decode.lm="{lm}"', f'decode.unigrams="{words}"', *by_hand))
    assert rows(tmp_path / "out") == rows(tmp_path / "hand")
    labels[5] = "Q"
    (directory / "alphabet.json").write_text(json.dumps({"labels": labels, "is_bpe": False}))
    (told,) = again(transcribed, tmp_path / "out", f'decode.lm="{directory}"').warnings()
    assert "label 5 is 'Q' there and 'E' in the model" in told


def test_a_language_model_in_the_wrong_case_is_told_before_a_night_is_lost(transcribed, tmp_path):
    lower = tmp_path / "lower.arpa"
    lower.write_text(arpa([word.lower() for word in WORDS]))
    (told,) = again(transcribed, tmp_path / "out", f'decode.lm="{lower}"').warnings()
    assert "in upper case they would fit" in told


# ---- what cannot be


def test_what_cannot_be_decoded_again_is_told(kept, sample, lm, tmp_path, monkeypatch):
    assert "no run there" in refusal(again(tmp_path / "nowhere", tmp_path / "out"))
    run(again(kept, tmp_path / "once"))
    assert "has kept no emissions; transcribe with --keep-emissions" in refusal(
        again(tmp_path / "once", tmp_path / "out")
    )
    assert "no such file" in refusal(again(kept, tmp_path / "out", 'decode.lm="/gone.arpa"'))
    missing = refusal(again(kept, tmp_path / "out", f'decode.lm="{lm}"', 'decode.hotwords="/gone.txt"'))
    assert missing == "decode.hotwords = /gone.txt: missing file"
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    assert "not UTF-8" in refusal(
        again(kept, tmp_path / "out", f'decode.lm="{lm}"', f'decode.unigrams="{tmp_path}/latin"')
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the package kenlm, not installed: `make decoders`" in refusal(
        again(kept, tmp_path / "out", "decode.decoder=kenlm")
    )
    (kept / "commits/000001.json").unlink()
    assert "1 of its 6 units are not done; finish the run first" in refusal(again(kept, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_damaged_emissions_stop_the_run_and_do_not_become_texts(transcribed, kept, sample, lm, tmp_path):
    path = next((kept / "emissions").glob("*000000*"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    told = refusal(again(kept, tmp_path / "out"))
    assert "has been damaged or changed since it was committed: delete that file and finish the run" in told
    path.unlink()
    assert "1 of its 6 units are not done; finish the run first" in refusal(again(kept, tmp_path / "out"))
    run(request_of(sample, kept, f'decode.lm="{lm}"', "encode.keep_emissions=true"))
    run(again(kept, tmp_path / "out"))
    assert rows(tmp_path / "out") == rows(kept) == rows(transcribed)
    path.write_bytes(b"")
    assert "1 of its 6 units are not done" in refusal(again(kept, tmp_path / "out"))


# ---- what --overwrite would have deleted


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SPELLINGS = [
    "{kept}",
    "{kept}/",
    "{kept}/.",
    "{up}/./kept",
    "{kept}/../kept",
    "{up}/link",
    "{up}/link/../kept",
    "{up}/loop/loop/kept",
    "link",
    "kept",
    "./kept",
    "file://{kept}",
    "local://{kept}",
    "{kept}/data",
    "{kept}/new/run",
    "link/data",
    "{up}",
    "{up}/",
    ".",
    "loop",
    "{copy}",
]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize(
    "spelling",
    SPELLINGS,
)
def test_no_spelling_of_the_run_is_taken_for_another_place(kept, tmp_path, monkeypatch, spelling, overwrite):
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "loop").symlink_to(tmp_path)
    copy = shutil.copytree(kept, tmp_path.with_name(f"{tmp_path.name}-copy"))
    (tmp_path / "run.json").write_text("{}")  # so that --overwrite takes what is above for a run of its own
    monkeypatch.chdir(tmp_path)
    before = tree_of(kept), tree_of(copy)
    out = spelling.format(kept=kept, up=tmp_path, copy=copy)
    told = refusal(DecodeRequest(str(kept), out, config_of("read.limit=1"), overwrite))
    assert "is the run to be decoded again" in told and "give another directory" in told
    assert "is the run to be decoded again" in refusal(DecodeRequest(out, str(kept), config_of(), overwrite))
    assert (tree_of(kept), tree_of(copy)) == before


def test_a_run_with_nearly_the_same_name_is_another_place(kept):
    run(again(kept, kept.with_name("kept2")))
    run(again(kept, kept.with_name("kept2"), overwrite=True))
    assert rows(kept.with_name("kept2")) == rows(kept)


# ---- what is decoded, and as what


def test_a_run_that_was_made_anew_is_not_mixed_with_what_was_decoded_of_the_old_one(
    sample, transcribed, kept, tmp_path
):
    run(again(kept, tmp_path / "out"))
    before, half = rows(tmp_path / "out"), sorted((tmp_path / "out/commits").iterdir())[:3]
    for path in half:
        path.unlink()
    (kept / "summary.json").unlink()
    run(
        request_of(
            sample,
            kept,
            f'decode.lm="{find(str(kept)).info()["config"]["decode"]["lm"][0]}"',
            "encode.keep_emissions=true",
            overwrite=True,
        )
    )
    assert find(str(kept)).info()["fingerprint"] == find(str(transcribed)).info()["fingerprint"]
    assert "is another run (emissions: of run" in refusal(again(kept, tmp_path / "out"))
    run(again(kept, tmp_path / "out", overwrite=True))
    assert rows(tmp_path / "out") == before


def test_a_run_that_is_made_anew_while_it_is_decoded_stops_that(kept, tmp_path):
    request = again(kept, tmp_path / "out")

    def late(config, run, pools) -> list[Stage]:
        stages = request.stages(config, run, pools)
        info = json.loads((kept / "run.json").read_text())
        (kept / "run.json").write_text(json.dumps(info | {"id": "another"}))
        return stages

    with pytest.raises(UsageError, match="became another run while it was decoded"):
        run(request, make_stages=late)


def test_a_recording_that_the_run_does_not_have_is_told(kept, tmp_path):
    commit = find(str(kept)).commit_of(0)
    stored = kept_again(kept, commit.emissions.name, to_bytes([], {}))
    (kept / "commits/000000.json").write_bytes(dataclasses.replace(commit, emissions=stored).to_json())
    assert "has kept no emissions of " in refusal(again(kept, tmp_path / "out"))


def test_what_is_not_said_is_as_the_run_had_it(transcribed, kept, sample, lm, tmp_path):
    taken = again(transcribed, tmp_path / "out").decoding
    assert taken == again(transcribed, tmp_path / "out", f'decode.lm="{lm}"').decoding
    assert again(transcribed, tmp_path / "out").warnings() == []
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS))
    keys = [f'decode.lm=["{lm}", "{lm}"]', "decode.lm_shares=[1, 3]", f'decode.unigrams="{words}"', "decode.alpha=0.75"]
    run(request_of(sample, kept, *keys, "encode.keep_emissions=true", overwrite=True))
    asked = again(kept, tmp_path / "out", "decode.beta=0.5")
    assert asked.decoding == again(kept, tmp_path / "out", *keys, "decode.beta=0.5").decoding
    assert [model.weights.share for model in asked.decoding.models] == [1, 3]
    assert again(kept, tmp_path / "out", f'decode.lm="{lm}"').decoding.models[0].weights.alpha == 0.5
    assert asked.decoding == again(kept, tmp_path / "out", "decode.decoder=native", "decode.beta=0.5").decoding
    run(again(kept, tmp_path / "greedy", "decode.decoder=greedy"))


def test_a_language_model_that_changed_since_the_run_is_not_taken(sample, tmp_path):
    mine = tmp_path / "mine.arpa"
    mine.write_text(arpa())
    run(request_of(sample, tmp_path / "run", f'decode.lm="{mine}"', "encode.keep_emissions=true", "read.limit=1"))
    mine.write_text(arpa(log10=-1.25))
    told = refusal(again(tmp_path / "run", tmp_path / "out"))
    assert f"{mine} is no longer what {tmp_path}/run was decoded with: say with --lm" in told
    run(again(tmp_path / "run", tmp_path / "out", f'decode.lm="{mine}"'))


def test_settings_of_what_is_not_done_again_are_told(transcribed, tmp_path):
    (told,) = again(transcribed, tmp_path / "out", "read.limit=3", "encode.device=cuda").warnings()
    assert told.startswith("read.limit, encode.device without effect")


def test_commits_from_before_emissions_were_kept_still_count(kept, tmp_path):
    for path in (kept / "commits").iterdir():
        values = json.loads(path.read_text())
        del values["emissions"]
        path.write_text(json.dumps(values))
    assert len(find(str(kept)).commits()) == 6
    assert "has kept no emissions" in refusal(again(kept, tmp_path / "out"))


def test_compiling_is_shown_and_is_no_decoding(transcribed, tmp_path, monkeypatch, capsys):
    told = "compiling the decoder (once per machine, about half a minute)"
    monkeypatch.setattr("pipeline.decode.beam.warm_up", lambda search=None: time.sleep(0.0 if search else 1.5))
    began = time.monotonic()
    result = run(again(transcribed, tmp_path / "loaded"))
    assert result.session.wall_s <= time.monotonic() - began - 1.5
    assert told not in capsys.readouterr().err  # as nothing was: it was in the cache

    def compile_two(search=None):
        for number in () if search else (1, 2):
            numba.njit(lambda same: same)(number)

    monkeypatch.setattr("pipeline.decode.beam.warm_up", compile_two)
    run(again(transcribed, tmp_path / "compiled"))
    assert capsys.readouterr().err.count(told) == 1


# ---- kept exactly once


def test_emissions_without_a_commit_are_swept_and_overwrite_removes_all(kept, sample, lm, tmp_path):
    request = request_of(sample, kept, f'decode.lm="{lm}"', "encode.keep_emissions=true")
    before = {path.name: path.read_bytes() for path in (kept / "emissions").iterdir()}
    (kept / "emissions/emissions-000007.parquet").write_bytes(b"of a writer that was killed")
    (kept / "emissions/.emissions-000001.parquet.ab.tmp").write_bytes(b"half")
    (kept / "commits/000001.json").unlink()
    run(request)
    assert {path.name: path.read_bytes() for path in (kept / "emissions").iterdir()} == before
    run(request_of(sample, kept, overwrite=True))
    assert not (kept / "emissions").exists()


def test_a_retry_keeps_the_emissions_of_what_was_finished(sample, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(sample / "corpus", corpus)
    keys = ["read.unit_s=10", f'encode.model="{sample / "model"}"', "encode.keep_emissions=true"]
    request = Request(str(corpus / "manifest.jsonl"), str(tmp_path / "run"), config_of(*keys))
    run(request)
    run(again(tmp_path / "run", tmp_path / "out"))
    assert {row["id"]: row["error"] for row in rows(tmp_path / "out")}["missing.flac"] == "read: missing file"
    shutil.copy(corpus / "000.flac", corpus / "missing.flac")
    run(dataclasses.replace(request, retry_failed=True))
    run(again(tmp_path / "run", tmp_path / "out", retry_failed=True))
    assert rows(tmp_path / "out") == rows(tmp_path / "run")
    assert {row["id"]: row["status"] for row in rows(tmp_path / "out")}["missing.flac"] == "ok"
    assert len(list((tmp_path / "run/emissions").iterdir())) == find(str(tmp_path / "run")).info()["num_units"]


def test_what_is_kept_comes_back_as_it_was_decoded():
    rng = np.random.default_rng(0)
    seen: dict[str, np.ndarray] = {}

    def decode(unit: Unit) -> Unit:
        for recording in unit.pending():
            seen[recording.id] = recording.emissions
            recording.emissions = recording.frame_s = None
        unit.recordings[1].fail("decode", RecordingError("a reason"))
        return unit

    given = [np.log(rng.dirichlet(np.full(7, 0.05), num) + 1e-9).astype(np.float32) for num in (0, 5, 400)]
    given[2][3, 2] = -np.inf
    unit = Unit(0, [Recording(str(n), "", emissions=e, frame_s=0.02) for n, e in enumerate(given)])
    unit = Keeping(decode)(unit)
    unit.finish()
    earlier = {"9": Kept(np.zeros((1, 7), np.float32), 0.04)}
    run = Folder("memory://kept")
    data = to_bytes([*unit.recordings, Recording("9", "", status="ok")], earlier)
    run.sub("emissions").publish("e", data)
    found = read(run, Stored.of("e", data))
    assert list(found) == ["0", "2", "9"]  # what failed has none
    for name in ("0", "2"):
        np.testing.assert_array_equal(found[name].emissions, seen[name])
        np.testing.assert_array_equal(rounded(seen[name]), seen[name])
    assert found["2"].frame_s == 0.02 and found["9"].frame_s == 0.04
    np.testing.assert_allclose(found["2"].emissions, np.maximum(given[2], -65504), rtol=1e-3, atol=1e-6)
