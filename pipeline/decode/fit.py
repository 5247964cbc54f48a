"""Whether a language model fits the acoustic model: a case or a script that differs harms in silence.

Knows nothing of decoding; looks at labels and words only. What does not fit is a warning, as the run would work.
"""

from collections.abc import Sequence

from pipeline.decode import unigrams
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.settings import DecodeSettings, LmSettings, unigrams_of
from pipeline.text.vocabulary import Vocabulary


def misfits(settings: DecodeSettings, vocabulary: Vocabulary) -> list[str]:
    """A warning for each language model whose words, or whose decoder directory's labels, are not the vocabulary's."""
    alphabet = Alphabet.of(vocabulary)
    told = []
    for model in settings.models:
        told += [*_other_labels(model, alphabet), *_other_words(model, alphabet, settings.as_pyctcdecode)]
    return told + _other_hotwords(settings.hotwords.words, alphabet)


def _other_hotwords(hotwords: Sequence[str], alphabet: Alphabet) -> list[str]:
    letters = set("".join(alphabet.labels))
    strange = [word for word in hotwords if not set("".join(word.split())) <= letters]
    if not strange:
        return []
    what = f"{len(strange):,} of {len(hotwords):,} hotwords" if len(strange) > 1 else "a hotword"
    return [f"{what}, such as {strange[0]!r}, cannot be spelt by the model's labels, and will change nothing"]


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
    from pipeline.decode.hypotheses import WordModel
    from pipeline.lm.model import LanguageModel

    opened = WordModel(LanguageModel.open(model.location), unigrams_of(model, as_pyctcdecode), model.weights)
    return unigrams.misfits(alphabet, opened, as_pyctcdecode)
