"""Words from simulated phones by our search and by flashlight-text's lexicon decoder: what each finds, and how fast.

Both have one lexicon, one language model, one core and the same emissions. Knows nothing of how it is shown.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jobs.bench_material import Sample, say
from jobs.bench_measure import BLOCK, Decode, Said, Spread, error_rate, in_turn, native, ratios, word_errors
from jobs.bench_search import bootstrap, middle
from pipeline.decode.greedy import greedy
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import LN10, LmWeights, SearchOptions
from pipeline.demo.emissions import FRAME_S
from pipeline.demo.phones import DIFFICULTIES, LABELS, VOCABULARY, simulate
from pipeline.records import FloatArray
from pipeline.text.pronunciations import Entry

if TYPE_CHECKING:
    from pipeline.decode.phones.search import Pronunciation

OURS, RIVAL = "native", "flashlight-text"
ALPHAS, BETAS = (0.5, 0.8, 1.1, 1.4, 1.7), (0.0, 1.5, 3.0)  # of the language model, tried for each side
UNUSED_LABEL = 1  # <s>: flashlight's silence, which nothing in these emissions speaks for


@dataclass(frozen=True)
class Width:
    """How wide flashlight looks."""

    beam: int
    labels: int  # the best of every frame
    threshold: float  # below the best hypothesis

    def __str__(self) -> str:
        return f"{self.beam}/{self.labels}/{self.threshold:g}"


THEIR_WIDTHS = (Width(50, 10, 15.0), Width(100, 10, 25.0), Width(500, 10, 25.0))
OUR_WIDTHS = tuple(
    SearchOptions(beam_width=beam, beam_prune_logp=prune, token_min_logp=label)
    for beam, prune, label in (
        (20, -10.0, -12.0),
        (30, -12.0, -12.5),
        (50, -14.0, -12.5),
        (100, -15.0, -12.0),
        (100, -15.0, -13.0),
        (100, -18.0, -13.0),
        (100, -20.0, -13.0),
        (200, -22.0, -13.0),
    )
)


@dataclass(frozen=True)
class Row:
    """One decoder at one width."""

    decoder: str
    width: str
    audio_s_per_cpu_s: float
    wer: float
    interval: tuple[float, float]  # 95 %, over resampled utterances


@dataclass(frozen=True)
class Comparison:
    """Of one of flashlight's widths: the fastest of ours with no more word errors."""

    theirs: str
    ours: str | None  # None: every one of ours has more
    times: Spread | None  # its speed over theirs, over blocks
    difference: tuple[float, float] | None  # of the error rate, ours less theirs, 95 %


@dataclass(frozen=True)
class Measured:
    """Both sides on one difficulty."""

    rows: list[Row]
    comparisons: list[Comparison]


class Lexicon:
    """The words of a language model, as espeak says them, and how to say any text."""

    def __init__(self, words: Sequence[str], texts: Sequence[str]) -> None:
        from pipeline.decode.phones.fit import fitted
        from pipeline.text.espeak import Phonemizer

        every = list(dict.fromkeys([*words, *(word for text in texts for word in text.split())]))
        said = Phonemizer("en-us").pronunciations([word.lower() for word in every])
        fit = fitted([Entry(*one) for one in zip(every, said, strict=True) if one[1]], VOCABULARY)
        known = set(words)
        self.spoken = {one.word: one.labels for one in fit.lexicon}
        self.entries: list[Pronunciation] = [one for one in fit.lexicon if one.word in known]
        self.num_unreachable = len(known) - len(self.entries)

    def speakable(self, texts: Sequence[str]) -> list[str]:
        """Those of whose words the model has all phones."""
        return [text for text in texts if all(word in self.spoken for word in text.split())]

    def sample(self, difficulty: str, texts: Sequence[str], seed: int) -> Sample:
        emissions = [
            simulate([self.spoken[word] for word in text.split()], DIFFICULTIES[difficulty], seed + number)
            for number, text in enumerate(texts)
        ]
        return Sample(difficulty, list(texts), emissions)


class Flashlight:
    """flashlight-text's lexicon decoder, its trie smeared with the best unigram below each node."""

    def __init__(self, lm: str, lexicon: "Sequence[Pronunciation]") -> None:
        from flashlight.lib.text.decoder import SmearingMode, Trie
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        self._words = list(dict.fromkeys(one.word for one in lexicon))
        number_of = {word: number for number, word in enumerate(self._words)}
        dictionary = Dictionary()
        for word in (*self._words, "<unk>"):
            dictionary.add_entry(word)
        dictionary.set_default_index(len(self._words))
        self._lm = KenLM(lm, dictionary)
        self._trie = Trie(len(LABELS), UNUSED_LABEL)
        start = self._lm.start(False)
        for one in lexicon:
            _, score = self._lm.score(start, number_of[one.word])
            self._trie.insert(list(one.labels), number_of[one.word], score)
        self._trie.smear(SmearingMode.MAX)

    def decoder(self, width: Width, weights: LmWeights) -> Decode:
        from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions

        options = LexiconDecoderOptions(
            *(width.beam, width.labels, width.threshold, weights.alpha * LN10, weights.beta),
            *(-math.inf, 0.0, False, CriterionType.CTC),  # no unknown words, nothing for silence, the best path
        )
        silence, blank, unknown = UNUSED_LABEL, VOCABULARY.blank, len(self._words)
        search: Any = LexiconDecoder(options, self._trie, self._lm, silence, blank, unknown, [], False)

        def decode(block: Sequence[FloatArray]) -> list[Said]:
            return [Said(self._best(search, np.ascontiguousarray(emissions)), None) for emissions in block]

        return decode

    def _best(self, search: Any, emissions: npt.NDArray[np.float32]) -> str:
        """Step by step, which makes Python objects of the best hypothesis alone: up to a sixth faster than `decode`."""
        search.decode_begin()
        search.decode_step(emissions.ctypes.data, *emissions.shape)
        search.decode_end()
        return " ".join(self._words[word] for word in search.get_best_hypothesis(0).words if word >= 0)


def missing() -> list[str]:
    """The packages that a comparison needs and that are not installed."""
    return [
        package
        for module, package in (("flashlight", RIVAL), ("kenlm", "kenlm"))
        if importlib.util.find_spec(module) is None
    ]


def our_search(lm: str, lexicon: "Sequence[Pronunciation]") -> Any:
    from pipeline.decode.phones.search import WordSearch
    from pipeline.lm.model import LanguageModel

    return WordSearch(VOCABULARY, lexicon, [WordModel(LanguageModel.open(lm))])


def our_decoder(search: Any, options: SearchOptions, weights: LmWeights) -> Decode:
    weighted = search.reweighted([weights])
    return lambda block: native(weighted, block, options)


def told(options: SearchOptions) -> str:
    return f"{options.beam_width}/{options.beam_prune_logp:g}/{options.token_min_logp:g}"


def tuned(samples: Sequence[Sample], ours: Any, theirs: Flashlight | None) -> dict[str, LmWeights]:
    """By decoder, the weights with the fewest word errors on all samples, at a middling width; one grid for both."""
    weights = {OURS: _best(OURS, samples, lambda one: our_decoder(ours, SearchOptions(), one))}
    if theirs is not None:
        weights[RIVAL] = _best(RIVAL, samples, lambda one: theirs.decoder(THEIR_WIDTHS[1], one))
    return weights


def measure(sample: Sample, weights: dict[str, LmWeights], ours: Any, theirs: Flashlight | None) -> Measured:
    """Decode a sample by every width of both, in turn."""
    named = {f"{OURS} {told(width)}": our_decoder(ours, width, weights[OURS]) for width in OUR_WIDTHS}
    if theirs is not None:
        named |= {f"{RIVAL} {width}": theirs.decoder(width, weights[RIVAL]) for width in THEIR_WIDTHS}
    say(f"{sample.difficulty}: {len(sample.texts):,} utterances, {sample.audio_s:,.0f} s of audio, {len(named)} widths")
    for decode in named.values():
        decode(sample.emissions[: BLOCK // 4])
    said, cpu_s = in_turn(sample, named)
    names = list(named)
    errors = np.array([[one.num_errors for one in word_errors(sample.texts, said[name])] for name in names])
    rates, resampled = bootstrap(errors, np.array([text.count(" ") + 1 for text in sample.texts]))
    rows = [
        Row(name.split()[0], name.split()[1], sample.audio_s / sum(cpu_s[name]), float(rates[i]), middle(resampled[i]))
        for i, name in enumerate(names)
    ]
    comparisons = []
    for at, their in enumerate(rows):
        if their.decoder == RIVAL and (our := fastest_no_worse(rows, their)) is not None:
            by = rows.index(our)
            times, difference = ratios(cpu_s[names[at]], cpu_s[names[by]]), middle(resampled[by] - resampled[at])
            comparisons.append(Comparison(their.width, our.width, times, difference))
        elif their.decoder == RIVAL:
            comparisons.append(Comparison(their.width, None, None, None))
    return Measured(rows, comparisons)


def fastest_no_worse(rows: Sequence[Row], their: Row) -> Row | None:
    able = [row for row in rows if row.decoder != RIVAL and row.wer <= their.wer]
    return max(able, key=lambda row: row.audio_s_per_cpu_s, default=None)


def greedy_errors(sample: Sample, lexicon: Lexicon) -> float:
    """The error rate, in phones, of the best path."""
    spoken, heard = [], []
    for text, emissions in zip(sample.texts, sample.emissions, strict=True):
        spoken.append(" ".join(LABELS[label] for word in text.split() for label in lexicon.spoken[word]))
        heard.append(Said(greedy(emissions, VOCABULARY, FRAME_S).text, None))
    return error_rate(spoken, heard)


def _best(name: str, samples: Sequence[Sample], decoder: Callable[[LmWeights], Decode]) -> LmWeights:
    texts = [text for sample in samples for text in sample.texts]
    emissions = [one for sample in samples for one in sample.emissions]
    say(f"tuning {name} on {len(texts):,} other utterances")
    found = []
    for alpha in ALPHAS:
        for beta in BETAS:
            weights = replace(LmWeights(), alpha=alpha, beta=beta)
            found.append((error_rate(texts, decoder(weights)(emissions)), weights))
    return min(found, key=lambda one: one[0])[1]
