"""Whether a language model and a lexicon fit the acoustic model: a case, script or phone that differs harms in silence.

Knows nothing of decoding; looks at labels and words only. What does not fit is a warning, as the run would work.
"""

from collections.abc import Sequence

from pipeline.decode import unigrams
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import Hotwords
from pipeline.decode.settings import DecodeSettings, LexiconSettings, LmSettings, lexicon_of, unigrams_of
from pipeline.text.vocabulary import Vocabulary


def misfits(settings: DecodeSettings, vocabulary: Vocabulary) -> list[str]:
    """A warning for each language model whose words, or whose decoder directory's labels, are not the vocabulary's; of
    phonemes, for the lexicon and for each language model whose words are not the lexicon's.
    """
    if settings.lexicon is not None:
        return _misfits_of_phones(settings, settings.lexicon, vocabulary)
    alphabet = Alphabet.of(vocabulary)
    told = []
    for model in settings.models:
        told += [*_other_labels(model, alphabet), *_other_words(model, alphabet, settings.as_pyctcdecode)]
    return told + _other_hotwords(_words(settings.hotwords), alphabet)


def _misfits_of_phones(settings: DecodeSettings, lexicon: LexiconSettings, vocabulary: Vocabulary) -> list[str]:
    found = lexicon_of(lexicon, vocabulary)
    words = dict.fromkeys(said.word for said in found.lexicon)
    told = list(found.warnings())
    for model in settings.models:
        told += unigrams.unknown(words, _opened(model, settings.as_pyctcdecode))
    hot = _words(settings.hotwords)
    return told + _idle_hotwords([word for word in hot if word not in words], hot, "cannot be found in the lexicon")


def _words(hotwords: Hotwords) -> list[str]:
    """Of a phrase every word is hot by itself."""
    return list(dict.fromkeys(word for phrase in hotwords.words for word in phrase.split()))


def _other_hotwords(hotwords: Sequence[str], alphabet: Alphabet) -> list[str]:
    letters = set("".join(alphabet.labels))
    strange = [word for word in hotwords if not set(word) <= letters]
    return _idle_hotwords(strange, hotwords, "cannot be spelt by the model's labels")


def _idle_hotwords(idle: Sequence[str], hotwords: Sequence[str], lack: str) -> list[str]:
    if not idle:
        return []
    what = f"{len(idle):,} of {len(hotwords):,} hotwords" if len(idle) > 1 else "a hotword"
    return [f"{what}, such as {idle[0]!r}, {lack}, and will change nothing"]


def _other_labels(model: LmSettings, alphabet: Alphabet) -> list[str]:
    if model.directory is None:
        return []
    from pipeline.decode.directory import read_directory

    theirs = read_directory(model.directory).alphabet.labels
    differ = [
        number for number, label in enumerate(alphabet.labels) if label and label not in theirs[number : number + 1]
    ]
    if not differ:
        return []
    first = differ[0]
    there = repr(theirs[first]) if first < len(theirs) else "none"
    return [
        f"{model.directory} was written for other labels: label {first} is {there} there and "
        f"{alphabet.labels[first]!r} in the model; the model's are taken"
    ]


def _other_words(model: LmSettings, alphabet: Alphabet, as_pyctcdecode: bool) -> list[str]:
    return unigrams.misfits(alphabet, _opened(model, as_pyctcdecode), as_pyctcdecode)


def _opened(model: LmSettings, as_pyctcdecode: bool) -> WordModel:
    from pipeline.lm.model import LanguageModel

    return WordModel(LanguageModel.open(model.location), unigrams_of(model, as_pyctcdecode), model.weights)
