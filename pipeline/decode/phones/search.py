"""The search for words in phones as the rest of the project calls it: emissions in, hypotheses out.

Has the face of `pipeline.decode.beam.BeamSearch`. Knows nothing of lexicon files or of phonemisers.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.compiled import one_at_a_time
from pipeline.decode import streams
from pipeline.decode.alphabet import BLANK, Alphabet
from pipeline.decode.beam import NO_HOTWORDS
from pipeline.decode.collect import collect
from pipeline.decode.hypotheses import Beam, Decoded, WordModel
from pipeline.decode.lexicon import ROOT
from pipeline.decode.likely import SparseEmissions, top_k
from pipeline.decode.options import Hotwords, LmWeights, SearchOptions
from pipeline.decode.phones.kernel import finish, run
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.decode.phones.readout import read_out
from pipeline.decode.phones.tree import Ahead, PhoneLexicon
from pipeline.decode.phones.work import BEAM, CANDIDATE, Given
from pipeline.decode.streams import Emissions, averaged, beams_of, begin, decode_all, tables_of, weights_of
from pipeline.decode.work import Hot, Settings, new_work
from pipeline.errors import RecordingError, UsageError
from pipeline.text.vocabulary import Vocabulary


class WordSearch:
    """A search for a lexicon's words, loaded once; any number of threads may call it."""

    def __init__(
        self, vocabulary: Vocabulary, lexicon: Sequence[Pronunciation], models: Sequence[WordModel] = ()
    ) -> None:
        self.vocabulary, self.models = vocabulary, tuple(models)
        self.alphabet = alphabet_of(vocabulary)
        check_lexicon(lexicon, self.alphabet)
        self._lexicon = PhoneLexicon(lexicon, len(vocabulary.labels), models)
        self._lms = tables_of(models)
        self._weigh()

    def reweighted(self, weights: Sequence[LmWeights]) -> "WordSearch":
        """The same search with other weights; nothing is loaded or built again."""
        other = object.__new__(WordSearch)
        other.__dict__.update(self.__dict__)
        other.models = tuple(replace(m, weights=w) for m, w in zip(self.models, weights, strict=True))
        other._weigh()
        return other

    def decode(
        self,
        emissions: Sequence[Emissions],
        options: SearchOptions,
        hotwords: Hotwords | None = None,
        threads: int = 1,
        with_chars: bool = False,
    ) -> list[Decoded | RecordingError]:
        """The hypotheses of every recording, in order; a recording whose emissions are no numbers gets an error.

        Their `chars` are phones.
        """
        if options.compat:
            raise UsageError("decode.compat is of searches for letters: pyctcdecode cannot find words in phones")
        hot, ahead = self._hot(hotwords)
        weight = hotwords.weight if hotwords else 0.0
        return decode_all(lambda: Stream(self, options, (hot, ahead, weight), with_chars), emissions, threads)

    def _weigh(self) -> None:
        weights = [model.weights for model in self.models]
        self._weights = weights_of(self.models, weights, np.zeros(0))
        self._ahead = self._lexicon.ahead(averaged(weights))

    def _hot(self, hotwords: Hotwords | None) -> tuple[Hot, Ahead]:
        """Which words are hot, and what that makes the search expect."""
        words = [word for phrase in (hotwords.words if hotwords else ()) for word in phrase.split()]
        if hotwords is None or not words:
            return NO_HOTWORDS, self._ahead
        is_word = np.isin(self._lexicon.words, words).astype(np.uint8)
        ahead = self._lexicon.with_hotwords(self._ahead, words, hotwords.weight)
        return NO_HOTWORDS._replace(is_word=is_word), ahead


def alphabet_of(vocabulary: Vocabulary) -> Alphabet:
    """Phones, and blanks: all that is silent, a delimiter too."""
    silent = vocabulary.silent | {vocabulary.blank, vocabulary.delimiter}
    return Alphabet(
        tuple(BLANK if number in silent else label for number, label in enumerate(vocabulary.labels)), is_bpe=False
    )


def check_lexicon(lexicon: Sequence[Pronunciation], alphabet: Alphabet) -> None:
    if not lexicon:
        raise UsageError("the lexicon has no words")
    phones = {number for number, label in enumerate(alphabet.labels) if label != BLANK}
    for word, labels in lexicon:
        if len(word.split()) != 1 or word.strip() != word:
            raise UsageError(f"the lexicon's word {word!r} is none: words have letters and no white space")
        if not labels or not phones.issuperset(labels):
            told = "no phones" if not labels else f"{next(n for n in labels if n not in phones)}, no phone of the model"
            raise UsageError(f"the lexicon's pronunciation of {word!r} has {told}")


class Stream(streams.Stream):
    """A search for words in progress; the labels of its hypotheses are phones."""

    def __init__(
        self, search: WordSearch, options: SearchOptions, hot: tuple[Hot, Ahead, float], with_chars: bool
    ) -> None:
        num_models = len(search.models)
        settings = Settings(  # in these very types: the search would be compiled again for others
            beam_width=int(options.beam_width),
            beam_prune_logp=float(options.beam_prune_logp),
            prune_history=bool(options.prune_history),
            history=0,
            compat=False,
            is_bpe=False,
            max_effort=float(options.max_effort),
            keep_chars=bool(with_chars),
            num_models=num_models,
            longest=0,
            hot_weight=float(hot[2]),
        )
        same = np.array(search.alphabet.same(), np.int32)
        blank = int(same[search.vocabulary.blank])
        given = Given(search._lexicon.trie, hot[1], same, blank, search._lms, search._weights, hot[0], settings)
        super().__init__(search, options, given, new_work(options.beam_width, num_models, BEAM, CANDIDATE))

    def restart(self) -> None:
        first = begin(self._work, self._search.models)
        first["rest"] = self._given.ahead.below[ROOT]

    def _run(self, likely: SparseEmissions, first: int) -> int:
        return run(self._work, self._given, *likely, first)

    def _best(self) -> list[Beam]:
        in_order, num = finish(self._work, self._given)
        found = read_out(self._work, self._given, in_order, min(num, self._options.num_best))
        spelled = self._search._lexicon.words
        words = [spelled[number] for number in found.words["label"].tolist()]
        ends = np.cumsum(found.num_words).tolist()
        texts = [words[start:end][::-1] for start, end in zip([0, *ends], ends, strict=False)]
        return beams_of(found, texts, self._search.alphabet.labels, self._given.settings.keep_chars)


def warm_up(search: WordSearch | None = None) -> float:
    """Compile what a search needs, or load what another process of this node has compiled; the seconds that took."""
    began = time.perf_counter()
    vocabulary = Vocabulary(("", "a"), blank=0, delimiter=None, silent=frozenset({0}))
    with one_at_a_time():
        search = search or WordSearch(vocabulary, [Pronunciation("a", (1,))])
        num_labels = len(search.vocabulary.labels)
        stream = Stream(search, SearchOptions(), (NO_HOTWORDS, search._ahead, 0.0), with_chars=False)
        for dtype in (np.float32, np.float64):
            stream.feed(np.full((2, num_labels), -math.log(num_labels), dtype))
            stream.result()
        stream.feed(top_k(np.zeros((1, num_labels)), 1))
        collect(stream._work, stream._given)
        stream._grow(1 << 13)
    return time.perf_counter() - began
