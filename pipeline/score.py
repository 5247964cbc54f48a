"""The score stage: word, character and phone error counts against the reference, by jiwer.

Counts are stored because they add; rates are derived from their sums. Texts stay as they are: what a normaliser makes
of them is compared and forgotten. Knows nothing of how a normaliser or a phonemiser works.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pipeline.config import ScoreConfig
from pipeline.errors import UsageError
from pipeline.records import ErrorCounts, Recording
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

if TYPE_CHECKING:
    from pipeline.text.espeak import Phonemizer
    from pipeline.text.normalize import Normalizer

NONE = "none"  # said outright, where empty may be what another run says


@dataclass(frozen=True)
class ScoreSettings:
    """How a run scores, settled before it starts."""

    normalizer: str = NONE
    version: str = ""  # of what else decides what the normaliser does
    language: str = ""  # of the phonemiser; empty: phones are not compared
    phonemizer: str = ""  # the versions of its packages

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def that_shape_results(self) -> dict[str, Any]:
        """For the fingerprint; what is not done is nothing, as of runs of versions that could not do it."""
        return {
            "score.language": f"{self.language} ({self.phonemizer})" if self.language else None,
            "score.normalizer": self.normalized if self.normalizer != NONE else None,
        }

    @property
    def normalized(self) -> str:
        """By what, and by which version of it."""
        return f"{self.normalizer} ({self.version})" if self.version else self.normalizer


def settle(config: ScoreConfig, vocabulary: Vocabulary) -> ScoreSettings:
    """What the configuration amounts to; opens nothing, but refuses what could not be opened."""
    from pipeline.text.normalize import normalizer

    try:
        chosen = normalizer(config.normalizer or NONE)
    except UsageError as error:
        raise UsageError(f"score.normalizer = {config.normalizer}: {error}") from error
    language = config.language if vocabulary.phonemes and config.language != NONE else ""
    if language:
        from pipeline.text.espeak import Phonemizer

        try:
            Phonemizer(language)
        except UsageError as error:
            told = f"score.language = {language}: {error}; none compares no phones"
            raise UsageError(told) from error
    return ScoreSettings(str(chosen), chosen.version, language, _version_of_phonemizer() if language else "")


def without_effect(settings: ScoreSettings, config: ScoreConfig, vocabulary: Vocabulary, has_words: bool) -> list[str]:
    """Warnings of settings that somebody made and scoring does not look at."""
    told = []
    if config.language not in ("", NONE) and not vocabulary.phonemes:
        told.append("score.language without effect: the model writes letters, no phones to compare")
    if config.normalizer and settings.normalizer != NONE and not has_words:
        told.append("score.normalizer without effect: the model writes phonemes, and without a lexicon no words")
    return told


class Scorer:
    """Recordings with a reference get their counts; the others are left alone."""

    def __init__(self, settings: ScoreSettings) -> None:
        self._normalize, self._phonemizer = normalizer_of(settings), phonemizer_of(settings)

    def __call__(self, unit: Unit) -> Unit:
        scored = [one for one in unit.pending() if one.reference is not None and one.text is not None]
        for recording in scored:
            if recording.phones is None or recording.words is not None:  # else the text is phones, and no spelling
                self._count_text(recording)
        self._count_phones([recording for recording in scored if recording.phones is not None])
        return unit

    def _count_text(self, recording: Recording) -> None:
        assert recording.reference is not None and recording.text is not None
        reference, heard = self._normalize(recording.reference), self._normalize(recording.text)
        recording.word_errors, recording.char_errors = count_words(reference, heard), count_characters(reference, heard)

    def _count_phones(self, recordings: list[Recording]) -> None:
        """All references of a unit in one call."""
        if self._phonemizer is None or not recordings:
            return
        references = said(self._phonemizer, [recording.reference or "" for recording in recordings])
        for recording, phones in zip(recordings, references, strict=True):
            recording.reference_phones = phones
            heard = " ".join(phone.phone for phone in recording.phones or [])
            recording.phone_errors = count_words(recording.reference_phones, heard)


def normalizer_of(settings: ScoreSettings) -> "Normalizer":
    """That of the run, or a refusal where it is another here."""
    from pipeline.text.normalize import normalizer

    normalize = normalizer(settings.normalizer)
    _check_version(f"score.normalizer = {settings.normalizer}", settings.version, normalize.version)
    return normalize


def phonemizer_of(settings: ScoreSettings) -> "Phonemizer | None":
    """Likewise, where phones are compared."""
    if not settings.language:
        return None
    _check_version(f"score.language = {settings.language}", settings.phonemizer, _version_of_phonemizer())
    from pipeline.text.espeak import Phonemizer

    return Phonemizer(settings.language)


def _version_of_phonemizer() -> str:
    """What says references, as far as it came with pip; a system's espeak-ng tells no version before it is opened."""
    told = []
    for name in ("phonemizer", "espeakng-loader"):
        with suppress(metadata.PackageNotFoundError):
            told.append(f"{name} {metadata.version(name)}")
    return ", ".join(told)


def _check_version(what: str, then: str, now: str) -> None:
    if then != now:
        raise UsageError(f"{what}: the run was started with {then}, here is {now}; install the same everywhere")


def said(phonemizer: "Phonemizer", texts: Sequence[str]) -> list[str]:
    """The phones of texts in lower case, one space apart: espeak spells IT out, and models are not trained on that."""
    return [_spaced(phones) for phones in phonemizer([text.lower() for text in texts])]


def unheard(settings: ScoreSettings, vocabulary: Vocabulary, references: Sequence[str]) -> list[str]:
    """A warning where references are said with phones that are no label of the model: each will count as an error."""
    if not settings.language:
        return []
    from pipeline.text.espeak import Phonemizer

    counts = Counter(phone for phones in said(Phonemizer(settings.language), references) for phone in phones.split())
    strange = Counter({phone: num for phone, num in counts.items() if phone not in vocabulary.labels})
    if not strange:
        return []
    some = ", ".join(phone for phone, _ in strange.most_common(5))
    return [
        f"score.language = {settings.language}: {strange.total() / counts.total():.1%} of the references' phones, such "
        f"as {some}, are no labels of the model, and each counts as an error"
    ]


def count_words(reference: str, hypothesis: str) -> ErrorCounts:
    """Words are what whitespace separates. An empty reference has no words: each word heard is an insertion."""
    import jiwer

    return _counts(jiwer.process_words(_spaced(reference), _spaced(hypothesis)))


def count_characters(reference: str, hypothesis: str) -> ErrorCounts:
    """Characters, one space between two words included."""
    import jiwer

    return _counts(jiwer.process_characters(_spaced(reference), _spaced(hypothesis)))


def _spaced(text: str) -> str:
    """Words one space apart: jiwer takes other white space for letters."""
    return " ".join(text.split())


def _counts(result: object) -> ErrorCounts:
    return ErrorCounts(
        hits=result.hits,  # type: ignore[attr-defined]
        substitutions=result.substitutions,  # type: ignore[attr-defined]
        deletions=result.deletions,  # type: ignore[attr-defined]
        insertions=result.insertions,  # type: ignore[attr-defined]
    )
