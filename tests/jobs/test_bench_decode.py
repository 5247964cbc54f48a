"""`nightshift bench decode`: its figures decide settings and claims, so what it compares and chooses must be right."""

import importlib.util
import json
import mmap
import shutil
import sysconfig
from pathlib import Path

import jiwer
import numpy as np
import pytest
from numba import njit

from jobs import bench_bundled, bench_material, bench_measure, bench_search
from jobs.__main__ import main
from jobs.bench_measure import Said, Spread
from jobs.bench_search import Found, Setting, Tried
from pipeline.demo import bundled, emissions, sample, sentences
from pipeline.encode import Encoder
from pipeline.errors import UsageError

HAS_RIVAL = all(importlib.util.find_spec(name) for name in ("kenlm", "pyctcdecode"))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with the text of a few modules, because that of all packages takes a minute."""
    folder = tmp_path_factory.mktemp("bench")
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-h]*.py"))
    found = [s for path in paths for text in sentences.prose(path.read_text()) for s in sentences.sentences(text)]
    bench_material.write_text(folder, sentences.split(found))
    return folder


@pytest.fixture
def bench(work, capsys):
    def run(*arguments):
        code = main(
            ["bench", "decode", "--work", str(work), "--num-utterances", "4", "--difficulty", "mid", *arguments]
        )
        return (code, *capsys.readouterr())

    return run


OURS = ["native, compat", "native", "native, as wide as by default"]


def test_the_whole_of_it_ends_in_one_json_object(bench, monkeypatch):
    monkeypatch.setattr(bench_search, "grid", lambda: [Setting(10, -5.0, -10.0), Setting(20, -6.0, -12.0)])
    monkeypatch.setattr(bench_measure, "SOAK_BLOCK", 3)
    code, stdout, stderr = bench("--json", "--soak", "11", "--search")
    assert code == 0, stderr
    figures = json.loads(stdout)
    assert figures["text"]["num_train_words"] > 10_000
    assert set(figures["calibration"]) == set(figures["decoders"]) == {"mid"}
    speeds = {speed["decoder"]: speed for speed in figures["decoders"]["mid"]}
    assert list(speeds) == ["pyctcdecode"] * HAS_RIVAL + ["greedy", *OURS]
    assert all(speed["audio_s_per_cpu_s"] > 0 for speed in speeds.values())
    if HAS_RIVAL:
        compat = speeds["native, compat"]
        assert (compat["same_texts"], compat["same_scores"]) == (1, 1)
        assert compat["wer"] == speeds["pyctcdecode"]["wer"]
        assert compat["times_rival"]["least"] <= compat["times_rival"]["median"] <= compat["times_rival"]["most"]
    assert figures["compiled_late"] == []
    assert figures["soak"]["num_utterances"] == 11
    assert len(figures["soak"]["resident_bytes"]) == 11
    assert len(figures["search"]["tried"]) == 3  # the default is always there
    assert figures["threads"] is None or figures["threads"]["two_audio_s_per_s"] > 0


def test_a_second_run_makes_nothing_again_and_prints_its_tables(bench, work, monkeypatch):
    bench_material.language_model_of(work, bench_material.text_of(work))
    monkeypatch.setattr(sentences, "corpus", None)
    monkeypatch.setattr(bench_material, "_estimate", None)
    code, stdout, stderr = bench()
    assert code == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["text"]
    for told in ("labels a frame", "greedy WER", "audio s / CPU s", "native, compat", "words"):
        assert told in stdout


def test_without_the_rival_ours_is_measured_alone_and_the_way_to_it_is_told(bench, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kenlm" else find(name))
    code, stdout, stderr = bench()
    assert code == 0, stderr
    assert "kenlm is not installed: `make decoders`" in stdout
    figures = json.loads(stdout.splitlines()[-1])
    assert figures["missing"] == ["kenlm"]
    assert [speed["decoder"] for speed in figures["decoders"]["mid"]] == ["greedy", *OURS]
    assert all(speed["times_rival"] is None for speed in figures["decoders"]["mid"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["decode", "--model", "x"], "--model is an option of `bench run`"),
        (["decode", "--set", "run.cpus=1"], "--set is an option of `bench run`"),
        (["run", "--soak"], "--soak is an option of `bench decode`"),
        (["run", "--difficulty", "mid"], "--difficulty is an option of `bench decode`"),
        (["decode", "--num-utterances", "0"], "--num-utterances must be at least 1"),
        (["decode", "--soak", "0"], "--soak must be at least 1"),
        (["decode", "--soak", "--difficulty", "bundled"], "--soak is for simulated emissions"),
        (["decode", "--lm", "x", "--difficulty", "bundled"], "--lm is for simulated emissions"),
        (["words", "--difficulty", "bundled"], "--difficulty bundled is of `bench decode`"),
    ],
)
def test_options_that_cannot_be(capsys, arguments, told):
    assert main(["bench", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_text_of_another_installation_is_collected_again(tmp_path, monkeypatch):
    here, there = sentences.split(["ONE TWO THREE"]), sentences.split(["FOUR FIVE SIX"])
    bench_material.write_text(tmp_path, there)
    monkeypatch.setattr(sentences, "fingerprint", lambda: "another")
    monkeypatch.setattr(sentences, "corpus", lambda: here)
    assert bench_material.text_of(tmp_path).fingerprint == "another"
    assert (tmp_path / "train.txt").read_text() + (tmp_path / "held-out.txt").read_text() == "ONE TWO THREE\n"
    (tmp_path / "text.json").write_text("{")
    assert bench_material.text_of(tmp_path).fingerprint == "another"


def test_error_rates_are_those_of_jiwer():
    texts, heard = ["A B C", "D E", "F G H I"], ["A X C", "D", "F G H I J"]
    assert bench_measure.error_rate(texts, [Said(text, None) for text in heard]) == jiwer.wer(texts, heard)


def test_scores_are_compared_to_the_bit_and_texts_as_they_are():
    block = [np.zeros((5, 32), np.float32)] * 30
    sample = bench_material.Sample("mid", ["A"] * 30, block)
    named = {
        "pyctcdecode": lambda block: [Said("A", (-1.0, -2.0))] * len(block),
        "native, compat": lambda block: [Said("A", (-1.0, float(np.nextafter(-2.0, 0))))] * len(block),
        "greedy": lambda block: [Said("A ", None)] * len(block),
    }
    _, native, greedy = bench_measure.side_by_side(sample, named)
    assert (native.same_texts, native.same_scores) == (1.0, 0.0)
    assert (greedy.same_texts, greedy.same_scores) == (0.0, None)


def test_what_is_compiled_while_it_is_measured_is_told():
    """A second of compiling in the one block that first needs it halves a figure, and nothing else would show it."""

    @njit
    def late_one(number):
        return number + 1

    with bench_measure.compiled_meanwhile() as nothing:
        pass
    with bench_measure.compiled_meanwhile() as something:
        late_one(1)
    with bench_measure.compiled_meanwhile() as again:
        late_one(2)
    assert (nothing, something, again) == ([], ["late_one"], [])


def test_soak_sees_memory_that_grows(monkeypatch):
    kept = []

    class Leaking:
        def decode(self, block, options, threads):
            # Pages of its own: an array may be given memory that other tests have left behind.
            kept.append(mmap.mmap(-1, 4_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
            kept[-1].write(bytes(4_000_000))
            return []

    monkeypatch.setattr(bench_measure, "SOAK_BLOCK", 1)
    soak = bench_measure.soak(Leaking(), ["clean"], ["A B C"], 20)
    assert len(soak.resident_bytes) == 11
    assert soak.growth_bytes == pytest.approx(18 * 4e6, rel=0.1)


# ---- what is bundled

LM = """\\data\\
ngram 1=6
ngram 2=2

\\1-grams:
-2	<unk>
-99	<s>	0
-1	</s>
-1	A	-0.1
-1	SHORT	0
-1	ONE	0

\\2-grams:
-0.5	A SHORT
-0.5	SHORT ONE

\\end\\
"""


def write_input(folder: Path, num: int, first: str) -> None:
    """Recordings of different texts, all with that word in front, and a few that cannot be read."""
    sample.write_corpus(folder / "audio", num)
    lines = [json.loads(line) for line in (folder / "audio" / "manifest.jsonl").read_text().splitlines()]
    (folder / "audio" / "manifest.jsonl").unlink()
    for number, line in enumerate(lines):
        line |= {"audio_filepath": f"audio/{line['audio_filepath']}", "text": f"{first} {sample.SENTENCES[number % 6]}"}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    sample.write_model(folder / "model")
    (folder / "lm.arpa").write_text(LM)
    write_input(folder / "few", 4, "FEW")
    write_input(folder / "more", 6, "MORE")
    return folder


@pytest.fixture
def bundle(made, tmp_path, monkeypatch):
    """Other things in the place of what is bundled; the model's labels are in another order than the simulation's."""
    assert sample.LABELS != emissions.LABELS
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(bundled, "MODEL", tmp_path / "model")
    monkeypatch.setattr(bundled, "LM", tmp_path / "lm.arpa")
    monkeypatch.setattr(bundled, "INPUTS", (tmp_path / "few", tmp_path / "more"))
    return tmp_path


@pytest.fixture
def bench_of_bundle(bundle, capsys):
    """The command with nothing simulated, which needs no text."""

    def run(*arguments):
        code = main(["bench", "decode", "--work", str(bundle / "work"), "--difficulty", "bundled", *arguments])
        return (code, *capsys.readouterr())

    return run


def test_what_is_bundled_is_decoded_with_its_own_language_model_beside_what_is_simulated(bench, bundle):
    code, stdout, stderr = bench("--difficulty", "bundled")
    assert code == 0, stderr
    figures = json.loads(stdout.splitlines()[-1])
    assert set(figures["calibration"]) == set(figures["decoders"]) == {"mid", "bundled"}
    assert (figures["bundled"]["num_recordings"], figures["bundled"]["num_failed"]) == (10, 8)
    assert figures["bundled"]["lm_words"] == 3 < 1000 < figures["lm_words"]
    aims = {name: calibration["target_greedy_wer"] for name, calibration in figures["calibration"].items()}
    assert aims == {"mid": emissions.DIFFICULTIES["mid"].target_greedy_errors, "bundled": None}
    speeds = {speed["decoder"]: speed for speed in figures["decoders"]["bundled"]}
    if HAS_RIVAL:
        assert (speeds["native, compat"]["same_texts"], speeds["native, compat"]["same_scores"]) == (1, 1)
    assert speeds["native, as wide as by default"]["wer"] != speeds["greedy"]["wer"]


def test_bundled_emissions_are_those_of_transformers_in_the_order_of_what_is_simulated(bundle):
    """A column in the wrong place would be another letter, and every decoder would agree on the nonsense."""
    import soundfile
    import torch

    transformers = pytest.importorskip("transformers")
    heard = bench_bundled.heard(bundle / "work", 10)
    assert len(heard.sample.texts) == len(set(heard.sample.texts)) == 10
    ours = heard.sample.emissions[heard.sample.texts.index(f"MORE {sample.SENTENCES[0]}")]
    sound, rate = soundfile.read(bundle / "more" / "audio" / "000.flac", dtype="float32")
    features = transformers.Wav2Vec2FeatureExtractor.from_pretrained(bundled.MODEL)
    with torch.inference_mode():
        model = transformers.Wav2Vec2ForCTC.from_pretrained(bundled.MODEL).eval()
        theirs = model(**features(sound, sampling_rate=rate, return_tensors="pt")).logits[0].log_softmax(-1).numpy()
    columns = {label: theirs[:, number] for number, label in enumerate(sample.LABELS)}
    expected = np.stack([columns[label] for label in emissions.LABELS], axis=1)
    assert ours == pytest.approx(expected, abs=0.02)  # half precision keeps 11 bits
    assert bench_material.seconds([ours]) == pytest.approx(len(sound) / rate, abs=0.02)


def test_fewer_of_what_is_bundled_are_the_first_of_more(bundle):
    few, all_of_them = (bench_bundled.heard(bundle / "work", num).sample for num in (5, 1000))
    assert (len(few.texts), len(all_of_them.texts)) == (5, 10)
    assert few.texts == all_of_them.texts[:5]
    assert {text.split()[0] for text in few.texts} == {"FEW", "MORE"}


def test_emissions_are_computed_again_only_for_another_model_or_corpus(bundle, monkeypatch):
    """Else a benchmark of a new model would tell figures of the old one, or a second run would take as long."""
    encoded: set[str] = set()  # inputs
    encode = Encoder.__call__

    def counted(encoder, unit):
        encoded.add(unit.recordings[0].reference.split()[0])
        return encode(encoder, unit)

    def heard() -> set[str]:
        encoded.clear()
        bench_bundled.heard(bundle / "work", 10)
        return encoded

    monkeypatch.setattr(Encoder, "__call__", counted)
    assert heard() == {"FEW", "MORE"}
    assert heard() == set()
    path = bundle / "more" / "audio" / "004.wav"
    path.write_bytes(path.read_bytes()[:-2] + b"\0\1")
    assert heard() == {"MORE"}
    sample.write_model(bundle / "model", {"hidden_size": 48})
    assert heard() == {"FEW", "MORE"}


@pytest.mark.parametrize("name", ["MODEL", "LM", "INPUTS"])
def test_without_what_is_bundled_the_rest_is_measured_and_that_is_told(bench, monkeypatch, tmp_path, bundle, name):
    gone = tmp_path / "gone"
    monkeypatch.setattr(bundled, name, (bundle / "few", gone) if name == "INPUTS" else gone)
    code, stdout, stderr = bench("--difficulty", "bundled")
    assert code == 0, stderr
    assert "left out, as there is no" in stdout
    figures = json.loads(stdout.splitlines()[-1])
    assert set(figures["decoders"]) == {"mid"}
    assert figures["bundled"] == {"absent": [str(gone)]}


def test_what_is_bundled_alone_needs_no_text_but_must_be_there(bench_of_bundle, monkeypatch, bundle):
    monkeypatch.setattr(sentences, "corpus", None)
    code, stdout, stderr = bench_of_bundle("--json", "--num-utterances", "3")
    assert code == 0, stderr
    assert set(json.loads(stdout)["decoders"]) == {"bundled"}
    monkeypatch.setattr(bundled, "LM", bundle / "gone")
    code, _, stderr = bench_of_bundle()
    assert code == 2
    assert f"{bundle / 'gone'} is not there" in stderr


def test_a_model_of_other_labels_is_refused(bundle):
    vocabulary = json.loads((bundle / "model" / "vocab.json").read_text())
    vocabulary["Ä"] = vocabulary.pop("Q")
    (bundle / "model" / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(UsageError, match="other labels"):
        bench_bundled.heard(bundle / "work", 10)


# ---- choosing a width


def tried(width: int, speed: float, wer: float) -> Tried:
    return Tried(Setting(width, -5.0, -10.0), speed, wer, (wer, wer), (0.0, 0.0), 0.0)


def test_the_chosen_setting_has_the_lowest_error_rate_of_those_fast_enough():
    settings = [tried(1, 9000, 0.3), tried(2, 2500, 0.2), tried(3, 3000, 0.2), tried(4, 1999, 0.1)]
    assert bench_search.choose(settings) == Setting(3, -5.0, -10.0)
    assert bench_search.choose(settings[3:]) is None
    default = settings[0].setting
    shown = bench_search.worth_showing(Found([*settings, tried(5, 2000, 0.4)], default, settings[2].setting))
    assert [one.setting.beam_width for one in shown] == [1, 3, 4]


def test_intervals_hold_the_rate_as_often_as_they_claim():
    """Drawn from a known rate, 200 times: 95 % of the intervals hold it, within what 200 draws vary by."""
    rng = np.random.default_rng(2)
    lengths = np.full(150, 20)
    errors = rng.binomial(20, 0.2, (200, 150))
    rates, resampled = bench_search.bootstrap(errors, lengths, 400)
    low, high = np.percentile(resampled, (2.5, 97.5), axis=1)
    assert rates == pytest.approx(errors.sum(axis=1) / 3000)
    assert 0.89 <= np.mean((low <= 0.2) & (high >= 0.2)) <= 0.99


def test_differences_between_settings_are_of_the_same_utterances():
    """Two settings with one mistake between them differ by almost nothing, however much the utterances do."""
    rng = np.random.default_rng(4)
    errors = rng.integers(0, 20, 200)
    _, resampled = bench_search.bootstrap(np.stack([errors, errors, errors + (np.arange(200) == 7)]), np.full(200, 20))
    assert np.array_equal(resampled[0], resampled[1])
    assert np.ptp(resampled[2] - resampled[0]) < 0.01 < np.ptp(resampled[0])


def test_a_spread_of_ratios_has_the_median_in_it():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
