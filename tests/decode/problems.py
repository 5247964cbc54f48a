"""Decoding problems to compare decoders on: alphabets, logits, small language models, hotwords, and how to search.

Everything follows from a seed. Knows of pyctcdecode, the oracle for all of them, and of no decoder of ours.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.decode.options import Hotwords, LmWeights, SearchOptions

Logits = npt.NDArray[Any]

# wav2vec2's 32 labels.
LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
# Words in pieces: a lone ▁, an unknown word closed on both sides, and one piece that closes a word it did not open.
TOKENS = ("<pad>", "▁⁇▁", "▁", "▁THE", "▁FILE", "S", "▁BUG", "▁A", "▁I", "▁SYS", "TEM", "ING", "▁OPEN", "E", "R", "▁S")
CLOSING = (*TOKENS, "N▁", "▁OF▁")
# WordPiece style, as BERT writes it.
PIECES = ("[PAD]", "[UNK]", "[CLS]", "THE", "FILE", "##S", "BUG", "A", "I", "SYS", "##TEM", "##ING", "OPEN", "##E")
# Labels of several letters, a blank by its underscore.
DIGRAPHS = ("_", "|", "A", "B", "TH", "SH", "E", "F", "I", "L", "S", "G", "U", "OPEN", "ING", "<s>")
TINY = ("A", "B", " ", "")
ALPHABETS = (LETTERS, TOKENS, CLOSING, PIECES, DIGRAPHS, TINY)

SENTENCES = """THE FILE SYSTEM OPENS THE FILE
OPEN A BUG
THE BUGS OF THE SYSTEM ARE BUGS
I SEE A FILE
A FILE IS OPEN
OPENING THE FILES OF A SYSTEM
I SHELL THE BASH
THE FIBULA
AB BA A B
I'M THE BUGFIXING ONE
OPEN THE FILESYSTEMS AS IF SEEING THEM""".splitlines()
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
HOTWORDS = ("BUG", "BUGS", "FILESYS TEM", "OPERA", "THESIS", "  A ", "ZZ", "⁇")


def random_emissions(rng: np.random.Generator, num_frames: int, num_labels: int, sharpness: float) -> Logits:
    """Logits (T, V) of noise. The sharper, the fewer labels a frame admits."""
    return (rng.normal(0, 1, (num_frames, num_labels)) * sharpness).astype(np.float32)


def spell(rng: np.random.Generator, labels: Sequence[str], text: str, sharpness: float = 6.0) -> Logits:
    """Logits (T, V) that spell a text with repeats, blanks, and, here and there, another label that is as likely."""
    blank = next(number for number, label in enumerate(labels) if label.lower() in ("", "_", "<pad>", "[pad]"))
    path: list[int] = [blank]
    for label in _tokenised(labels, text):
        if path[-1] == label or rng.random() < 0.4:
            path += [blank] * int(rng.integers(1, 4))
        path += [label] * int(rng.integers(1, 3))
    logits = rng.normal(0, 1, (len(path), len(labels)))
    logits[np.arange(len(path)), path] += sharpness * rng.random(len(path)) ** 0.3
    for frame in np.flatnonzero(rng.random(len(path)) < 0.25):
        rival = int(rng.integers(len(labels)))
        logits[frame, rival] = logits[frame].max() - abs(rng.normal(0, 1))
    return logits.astype(np.float32)


def _tokenised(labels: Sequence[str], text: str) -> Iterable[int]:
    """Longest label first; what no label spells is left out."""
    marked = any(label.startswith("▁") for label in labels)
    pieces = any(label.startswith("##") for label in labels)
    for word in text.split(" "):
        rest, first = ("▁" if marked else "") + word, True
        while rest:
            names = {rest[:size]: size for size in range(len(rest), 0, -1)}
            if pieces and not first:
                names = {f"##{name}": size for name, size in names.items()}
            name = next((name for name in names if name in labels), None)
            if name is not None:
                yield labels.index(name)
            rest, first = rest[names[name] if name else 1 :], False
        for space in ("|", " "):
            if space in labels:
                yield labels.index(space)


def write_small_arpa(path: Path, rng: np.random.Generator, order: int, sentences: Sequence[str] = SENTENCES) -> Path:
    """An ARPA file whose n-grams are those of some sentences; some of the longest are left out. Weights are random:
    no reader minds that they do not sum to one."""
    grams: list[dict[tuple[str, ...], None]] = [{("<unk>",): None, ("<s>",): None, ("</s>",): None}]
    grams += [{} for _ in range(order - 1)]
    for sentence in sentences:
        words = ["<s>", *sentence.split(), "</s>"]
        for size in range(1, order + 1):
            for at in range(len(words) - size + 1):
                if size < order or size == 1 or rng.random() < 0.7:
                    grams[size - 1][tuple(words[at : at + size])] = None
    lines = ["\\data\\", *(f"ngram {size}={len(of_size)}" for size, of_size in enumerate(grams, 1))]
    for size, of_size in enumerate(grams, 1):
        lines += ["", f"\\{size}-grams:"]
        for gram in of_size:
            logp = -99.0 if gram == ("<s>",) else -float(rng.uniform(0.05, 4.0))
            backoff = f"\t{rng.uniform(-1.5, 0.3):.6f}" if size < order and gram[-1] != "</s>" else ""
            lines.append(f"{logp:.6f}\t{' '.join(gram)}{backoff}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    return path


@dataclass(frozen=True)
class SmallLm:
    arpa: str
    unigrams: tuple[str, ...] | None
    weights: LmWeights


@dataclass(frozen=True)
class Problem:
    labels: tuple[str, ...]
    logits: Logits  # (T, V)
    models: tuple[SmallLm, ...]
    hotwords: Hotwords | None
    options: SearchOptions

    def __str__(self) -> str:
        return f"{len(self.logits)} frames, {len(self.labels)} labels, {self.models}, {self.hotwords}, {self.options}"


def small_lms(directory: Path) -> dict[int, str]:
    """One ARPA file per order: 2, 3 and 5."""
    return {
        order: str(write_small_arpa(directory / f"small-{order}.arpa", np.random.default_rng(order), order))
        for order in (2, 3, 5)
    }


def draw(seed: int, lms: dict[int, str]) -> Problem:
    """Any mixture: an alphabet, noise or a spelt text, none to three models, hotwords or none, wide or narrow."""
    rng = np.random.default_rng(seed)
    labels = ALPHABETS[rng.integers(len(ALPHABETS))]
    kind = rng.random()
    if kind < 0.35:
        logits = random_emissions(rng, int(rng.integers(0, 25)), len(labels), float(rng.uniform(0.5, 5)))
    else:
        words = rng.choice([*WORDS, "OPENED", "XYLOPHONE", "S"], int(rng.integers(1, 7)))
        logits = spell(rng, labels, " ".join(words) + " " * int(rng.integers(2)), float(rng.uniform(2, 9)))
    if rng.random() < 0.15:
        logits = np.round(logits)  # exact ties
    if rng.random() < 0.15:
        logits[rng.random(logits.shape) < 0.1] = -np.inf
        logits[np.isneginf(logits).all(axis=1)] = 0.0
    if len(logits) and math.isclose(logits.sum(axis=1).mean(), 1):
        logits[0] += 1  # pyctcdecode would take them for probabilities, to be clipped and not normalised
    chosen = [[], [], [5], [3], [2], [2, 3], [5, 2, 3]][rng.integers(7)]
    return Problem(
        labels=labels,
        logits=logits,
        models=tuple(_model(rng, lms[order]) for order in chosen),
        hotwords=_hotwords(rng),
        options=SearchOptions(
            beam_width=int(rng.choice([1, 3, 10, 40])),
            beam_prune_logp=float(rng.choice([-10.0, -3.0, -30.0])),
            token_min_logp=float(rng.choice([-5.0, -2.0, -12.0])),
            prune_history=bool(rng.integers(2)),
            num_best=1000,
        ),
    )


def _model(rng: np.random.Generator, arpa: str) -> SmallLm:
    unigrams = [None, tuple(WORDS), (*WORDS[::2], "NOT-IN-THE-MODEL"), ()][rng.integers(4)]
    weights = LmWeights(
        alpha=float(rng.uniform(0.1, 1.5)),
        beta=float(rng.uniform(-1, 3)),
        unk_score_offset=float(rng.choice([-10.0, -3.3])),
        score_boundary=bool(rng.random() < 0.7),
    )
    return SmallLm(arpa, unigrams, weights)


def _hotwords(rng: np.random.Generator) -> Hotwords | None:
    if rng.random() < 0.6:
        return None
    words = tuple(str(word) for word in rng.choice(HOTWORDS, int(rng.integers(0, 5))))
    return Hotwords(words, float(rng.choice([10.0, 3.7, -4.0])))


OracleBeam = tuple[str, Any, list[tuple[str, tuple[int, int]]], float, float]


def oracle_decoder(problem: Problem) -> Any:
    """pyctcdecode's decoder for a problem; `kenlm` and `pyctcdecode` must be there."""
    import kenlm
    from pyctcdecode.alphabet import Alphabet
    from pyctcdecode.decoder import BeamSearchDecoderCTC
    from pyctcdecode.language_model import LanguageModel, MultiLanguageModel

    settings = kenlm.Config()
    settings.show_progress, settings.arpa_complain = False, kenlm.ARPALoadComplain.NONE
    models = []
    for small in problem.models:
        weights = small.weights
        models.append(
            LanguageModel(
                kenlm.Model(small.arpa, settings),
                small.unigrams,
                weights.alpha,
                weights.beta,
                weights.unk_score_offset,
                weights.score_boundary,
            )
        )
    model = None if not models else models[0] if len(models) == 1 else MultiLanguageModel(models)
    decoder = BeamSearchDecoderCTC(Alphabet.build_alphabet(list(problem.labels)), model)
    return decoder


def oracle_beams(problem: Problem, decoder: Any = None, logits: Logits | None = None) -> list[OracleBeam]:
    options, hotwords = problem.options, problem.hotwords or Hotwords()
    decoder = decoder or oracle_decoder(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the mean of no frames
        beams = decoder.decode_beams(
            problem.logits if logits is None else logits,
            beam_width=options.beam_width,
            beam_prune_logp=options.beam_prune_logp,
            token_min_logp=options.token_min_logp,
            prune_history=options.prune_history,
            hotwords=list(hotwords.words),
            hotword_weight=hotwords.weight,
        )
    decoder.cleanup()
    return [(text, state, frames, float(logit), float(score)) for text, state, frames, logit, score in beams]
