"""The matched-pairs test against NIST's own (sc_stats), a second formulation of it, and what scipy makes of it."""

import random
import re
import shutil
import subprocess
from itertools import groupby
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.mapsswe import FEWEST_SEGMENTS, mapsswe, segments
from pipeline.evaluation.rows import ALIGNMENT_SYMBOLS
from tests.evaluation.scored_rows import alignment

# One recording: what happened to each word of the reference, and how often something was inserted before it.
WORDS = st.lists(
    st.tuples(*(st.tuples(st.sampled_from("====SD"), st.sampled_from([0] * 9 + [1, 2])) for _ in range(2))), max_size=15
)
ENDS = st.tuples(st.sampled_from([0, 0, 0, 1]), st.sampled_from([0, 0, 0, 1]))
RECORDINGS = st.lists(st.tuples(WORDS, ENDS), max_size=6)


def steps(marks: list[str]):
    """As `alignment.steps` has them, of strings like "==SI="."""
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in marks])]).astype(np.int64)
    return offsets, np.array([ALIGNMENT_SYMBOLS.index(mark) for mark in "".join(marks)], np.uint8)


def marks(recording, system: int) -> str:
    words, ends = recording
    return "".join("I" * word[system][1] + word[system][0] for word in words) + "I" * ends[system]


def naive(recordings) -> list[int]:
    """By cutting at two or more words in a row that both have right, with nothing inserted between them."""
    found = []
    for words, ends in recordings:
        told, changes = "", {}  # one letter a place: r where both are right, e where not
        for (a, before_a), (b, before_b) in words:
            if before_a or before_b:
                changes[len(told)] = before_b - before_a
                told += "e"
            changes[len(told)] = (b != "=") - (a != "=")
            told += "r" if a == b == "=" else "e"
        if any(ends):
            changes[len(told)] = ends[1] - ends[0]
            told += "e"
        spans = [(at.start(), at.end()) for at in re.finditer(r"e(?:r?e)*", told)]
        found += [sum(changes[place] for place in range(*span)) for span in spans]
    return found


@given(RECORDINGS)
@settings(deadline=None)
def test_segments_are_those_of_another_formulation(recordings):
    first, second = (steps([marks(one, system) for one in recordings]) for system in (0, 1))
    assert segments(first, second).tolist() == naive(recordings)
    assert segments(second, first).tolist() == [-one for one in naive(recordings)]


def sgml(name: str, recordings, system: int) -> str:
    """What sclite writes of alignments: here those that are ours."""
    told = [f'<SYSTEM title="{name}" ref_fname="r" hyp_fname="{name}" creation_date="" format="2.4" frag_corr="FALSE"']
    told[0] += ' opt_del="FALSE" weight_ali="FALSE" weight_filename="">'
    told.append('<SPEAKER id="spk">')
    for number, recording in enumerate(recordings):
        places, word = [], 0
        for mark in marks(recording, system):
            said, heard = f'"w{word}"' if mark != "I" else "", {"=": f'"w{word}"', "D": ""}.get(mark, '"x"')
            places.append(f"{mark.replace('=', 'C')},{said},{heard}")
            word += mark != "I"
        told += [
            f'<PATH id="(spk_{number})" word_cnt="{len(places)}" sequence="{number}">',
            ":".join(places),
            "</PATH>",
        ]
    return "\n".join([*told, "</SPEAKER>", "</SYSTEM>", ""])


def sc_stats(text: str, folder: Path) -> dict[str, float]:
    if not shutil.which("sctk"):
        pytest.skip("sctk is not installed")
    command = ["sctk", "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "stats"]
    subprocess.run(command, input=text, text=True, cwd=folder, check=True, capture_output=True)
    printed = (folder / "stats.stats.mapsswe").read_text("latin-1")  # stray bytes among padding
    patterns = {"num": r"# segs: (\d+)", "mean": r"mean: (\S+)\)", "sd": r"std dev: (\S+)\)", "z": r"Z Stat: (\S+)\)"}
    found = {name: float(re.search(pattern, printed)[1]) for name, pattern in patterns.items()}
    errors = re.search(r"Totals +\d+ +(\d+) +(\d+)", printed)
    return found | {"errors": (int(errors[1]), int(errors[2])), "differ": "Stat Diff: Yes" in printed}


def drawn(rng: random.Random, num: int, shares: tuple[float, float]):
    def word(share: float):
        wrong = rng.random() < share
        return rng.choice("SD") if wrong else "=", int(rng.random() < share / 3)

    return [
        ([tuple(map(word, shares)) for _ in range(rng.randrange(1, 25))], tuple(int(rng.random() < s) for s in shares))
        for _ in range(num)
    ]


@pytest.mark.parametrize(("seed", "shares"), [(0, (0.2, 0.1)), (1, (0.1, 0.1)), (2, (0.02, 0.05)), (3, (0.4, 0.45))])
def test_segments_mean_and_z_are_those_of_sc_stats(seed, shares, tmp_path):
    """On the very same alignments; it takes the first less the second."""
    recordings = drawn(random.Random(seed), 80, shares)
    theirs = sc_stats(sgml("a", recordings, 0) + sgml("b", recordings, 1), tmp_path)
    all_marks = [[marks(one, system) for one in recordings] for system in (0, 1)]
    ours = mapsswe(*map(steps, all_marks))
    assert theirs["errors"] == tuple(sum(mark != "=" for mark in "".join(told)) for told in all_marks)
    assert (ours.num_segments, -ours.mean) == (theirs["num"], pytest.approx(theirs["mean"], abs=0.0006))
    assert ours.deviation == pytest.approx(theirs["sd"], abs=0.0006)
    assert -ours.z == pytest.approx(theirs["z"], abs=0.0006)
    assert (ours.p < 0.05) == theirs["differ"]


def test_from_texts_it_is_what_sclite_and_sc_stats_make_of_them(tmp_path):
    """Where words of a reference differ, so that its weighted alignments and jiwer's are of the same words."""
    rng, systems = random.Random(5), ("a", "b")
    references = [rng.sample([f"w{n}" for n in range(99)], 12) for _ in range(60)]
    texts = {
        name: [[rng.choice([word, word, word, f"x{n}"]) for n, word in enumerate(said)] for said in references]
        for name in systems
    }
    for name, lines in (("ref", references), *texts.items()):
        told = [f"{' '.join(words)} (spk_{number})\n" for number, words in enumerate(lines)]
        (tmp_path / f"{name}.trn").write_text("".join(told))
    if not shutil.which("sctk"):
        pytest.skip("sctk is not installed")
    for name in systems:
        command = ["sctk", "sclite", "-r", "ref.trn", "trn", "-h", f"{name}.trn", "trn", name, "-i", "rm", "-o", "sgml"]
        subprocess.run([*command, "-O", "."], cwd=tmp_path, check=True, capture_output=True)
    theirs = sc_stats("".join((tmp_path / f"{name}.trn.sgml").read_text() for name in systems), tmp_path)
    found = [
        steps(
            [
                re.sub(r"(\d+)(\D)", lambda run: int(run[1]) * run[2], alignment(jiwer.process_words(*pair)))
                for pair in zip(map(" ".join, references), map(" ".join, texts[name]), strict=True)
            ]
        )
        for name in systems
    ]
    ours = mapsswe(*found)
    assert (ours.num_segments, -ours.z) == (theirs["num"], pytest.approx(theirs["z"], abs=0.0006))


def test_z_and_p_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    recordings = drawn(random.Random(7), 60, (0.15, 0.1))
    ours = mapsswe(*(steps([marks(one, system) for one in recordings]) for system in (0, 1)))
    theirs = stats.ttest_1samp(naive(recordings), 0)
    assert ours.z == pytest.approx(theirs.statistic)
    assert ours.p == pytest.approx(2 * stats.norm.sf(abs(theirs.statistic)))
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.01)


def test_p_is_uniform_where_there_is_no_difference():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        codes = (rng.random((2, 1200)) < 0.1).astype(np.uint8)  # of each word whether it is right
        offsets = np.arange(0, 1201, 10)
        found.append(mapsswe((offsets, codes[0]), (offsets, codes[1])).p)
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_without_any_difference_p_is_1_and_of_too_little_there_is_none():
    same, better = steps(["=" * 9 + "S"] * 40), steps(["=" * 10] * 40)
    assert mapsswe(same, same)[::4] == (40, 1.0)
    assert mapsswe(better, better)[::4] == (0, 1.0)
    assert mapsswe(same, better)[::4] == (40, 0.0)  # each and every one
    few = FEWEST_SEGMENTS - 1
    assert mapsswe(steps(["=S"] * few), steps(["=="] * few))[::4] == (few, None)
    assert mapsswe(steps([]), steps([]))[::4] == (0, None)


def test_alignments_of_different_words_are_no_pair():
    for marks_, others in ((["=="], ["="]), (["=", "="], ["=", "=S"]), (["=I"], ["==I"])):
        with pytest.raises(ValueError, match="different words"):
            segments(steps(marks_), steps(others))


def test_runs_of_marks_are_what_they_are_written_as():
    """What the helper of these tests makes of jiwer's chunks."""
    told = alignment(jiwer.process_words("a b c d", "a x c c"))
    assert told == "".join(f"{len(list(run))}{mark}" for mark, run in groupby("=S=S"))
