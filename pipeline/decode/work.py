"""What the compiled search works on: the rows of its tables, what is given to it, and room for what it finds.

Rows are records of flat arrays, so that a hypothesis is some numbers and the same text or word has the same number.
Knows nothing of searching.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.lexicon import Labels, Row, Trie
from pipeline.lm.tables import STATE_WORDS

NONE = -1

# A hypothesis. `path` is the log-probability of its single most probable path, whose times it carries.
BEAM = np.dtype(
    [
        ("text", "i4"),  # row of texts: the finished words
        ("part", "i4"),  # node: the unfinished word
        ("hot", "i4"),  # node of the hotwords' trie for the unfinished word, NONE where it begins none
        ("last", "i4"),  # label of the last frame
        ("breaks", "i4"),  # 1: the next label starts a word
        ("words", "i4"),  # row of word spans: the last finished word's
        ("chars", "i4"),  # row of label spans: the last but one label's
        ("label", "i4"),  # the last label that added characters, NONE after the end of a word
        ("label_start", "i4"),  # its frames
        ("label_end", "i4"),
        ("word_start", "i4"),  # the unfinished word's frames
        ("word_end", "i4"),
        ("logit", "f8"),  # log-probability of all its paths
        ("path", "f8"),
        ("path_start", "f8"),  # `path` before the unfinished word
        ("path_end", "f8"),  # and after its last label so far
    ],
    align=True,
)
CANDIDATE = np.dtype(
    [
        ("text", "i4"),
        ("part", "i4"),
        ("hot", "i4"),
        ("last", "i4"),
        ("breaks", "i4"),
        ("parent", "i4"),  # the beam it continues
        ("how", "i4"),
        ("logit", "f8"),
        ("path", "f8"),
        ("score", "f8"),
    ],
    align=True,
)
TEXT = np.dtype(
    [
        ("parent", "i4"),  # the text before its last word; row 0 is the empty text
        ("word", "i4"),  # node
        ("num_hot", "i4"),  # hotwords in it
        ("history", "i8"),  # hash of its last words
        ("raw", "f8"),  # the language models' score
        ("score", "f8"),  # with hotwords
    ],
    align=True,
)
NODE = np.dtype([("parent", "i4"), ("char", "i4"), ("length", "i4"), ("penalty", "f8")], align=True)
SPAN = np.dtype([("before", "i4"), ("label", "i4"), ("start", "i4"), ("end", "i4"), ("logp", "f8")], align=True)

# Places in Work.counts. BREAKS is pyctcdecode's one flag for all hypotheses, that the next label starts a word; ALIKE
# how many candidates of a frame may be the same to the language models as another; MORE how many rows a frame needs
# that has run out of them.
BEAMS, TEXTS, NODES, WORDS, CHARS, FRAME, TRIED, NARROWED, BREAKS, ALIKE, MORE, STAMP, EPOCH = range(13)

# Of an entry of the table of candidates: its row, below the stamp.
ROW_BITS = 32
ROW_MASK = (1 << ROW_BITS) - 1


class Settings(NamedTuple):
    beam_width: int
    beam_prune_logp: float
    prune_history: bool
    history: int  # words that still matter to the language models; 0: what their states keep does
    compat: bool
    is_bpe: bool
    max_effort: float
    keep_chars: bool
    num_models: int
    longest: int  # label, in characters
    hot_weight: float


class Weights(NamedTuple):
    """Of each language model, and the penalties of unfinished words that follow from them."""

    alpha: npt.NDArray[np.float64]
    beta: npt.NDArray[np.float64]
    unknown: npt.NDArray[np.float64]
    boundary: npt.NDArray[np.bool_]
    share: npt.NDArray[np.float64]
    total: float  # of the shares
    end_ids: npt.NDArray[np.int64]  # of </s>
    penalties: npt.NDArray[np.float64]  # (num_nodes,) by node of the lexicon


class Hot(NamedTuple):
    """The hotwords' trie; its table as the lexicon's."""

    keys: npt.NDArray[np.int64]
    nodes: npt.NDArray[np.int32]
    shortest: npt.NDArray[np.int32]  # (H,) length of the shortest hotword below the node
    is_word: npt.NDArray[np.uint8]  # (H,)


class Given(NamedTuple):
    """What does not change during a search."""

    trie: Trie
    labels: Labels
    lms: npt.NDArray[
        np.int64
    ]  # (num_models, 5) the language models' `Tables`: as an array, so that any number is one type
    weights: Weights
    hot: Hot
    settings: Settings


class Common(Protocol):
    """As much of it as the search for words in phones has too, whose trie is another."""

    @property
    def trie(self) -> Any: ...
    @property
    def lms(self) -> npt.NDArray[np.int64]: ...
    @property
    def weights(self) -> Weights: ...
    @property
    def hot(self) -> Hot: ...
    @property
    def settings(self) -> Settings: ...


class Work(NamedTuple):
    """Everything that does. It grows between frames, never within one."""

    counts: npt.NDArray[np.int64]
    beams: Any  # (2, width) BEAM: after even frames and after odd ones
    candidates: Any  # (C,) CANDIDATE
    order: npt.NDArray[np.int32]  # (2, C) for sorting
    slots: npt.NDArray[np.int64]  # table of candidates, or of histories; an entry is valid while its stamp is STAMP
    texts: Any  # (T,) TEXT
    text_slots: npt.NDArray[np.int32]  # table of texts by (parent, word); valid while the stamp is EPOCH
    text_stamps: npt.NDArray[np.int64]
    state_words: npt.NDArray[np.uint32]  # (T * num_models + 1, 5) the language models' states after each text
    state_backoffs: npt.NDArray[np.float32]
    state_lengths: npt.NDArray[np.int64]
    nodes: Any  # (N,) NODE: unfinished words that begin no known one
    node_slots: npt.NDArray[np.int32]
    node_stamps: npt.NDArray[np.int64]
    words: Any  # (W,) SPAN
    chars: Any  # (W,) SPAN


def new_work(
    beam_width: int, num_models: int, beam: "np.dtype[np.void]" = BEAM, candidate: "np.dtype[np.void]" = CANDIDATE
) -> Work:
    rows = 1 << 12
    return Work(
        counts=np.zeros(EPOCH + 1, np.int64),
        beams=np.zeros((2, beam_width), beam),
        candidates=np.zeros(rows, candidate),
        order=np.zeros((2, rows), np.int32),
        slots=np.zeros(2 * rows, np.int64),
        texts=np.zeros(rows, TEXT),
        text_slots=np.zeros(2 * rows, np.int32),
        text_stamps=np.zeros(2 * rows, np.int64),
        state_words=np.zeros((rows * num_models + 1, STATE_WORDS), np.uint32),
        state_backoffs=np.zeros((rows * num_models + 1, STATE_WORDS), np.float32),
        state_lengths=np.zeros(rows * num_models + 1, np.int64),
        nodes=np.zeros(rows, NODE),
        node_slots=np.zeros(2 * rows, np.int32),
        node_stamps=np.zeros(2 * rows, np.int64),
        words=np.zeros(rows, SPAN),
        chars=np.zeros(rows, SPAN),
    )


@inner
def rows_needed(work: Work, settings: Settings, num_beams: int, num_labels: int) -> tuple[int, int, int, int]:
    """Of candidates, texts, nodes and spans, so that all rows fit that a frame may need, and `finish` after it.

    Two texts are spare: `finish` scores a last word into one.
    """
    num = max(num_beams * num_labels, work.counts[MORE])
    spans = max(work.counts[WORDS], work.counts[CHARS]) + max(min(num, settings.beam_width), num_beams)
    texts = work.counts[TEXTS] + max(num, settings.beam_width) + 2
    return num, texts, work.counts[NODES] + num * settings.longest, spans


@inner
def has_room(work: Work, settings: Settings, num_beams: int, num_labels: int) -> bool:
    candidates, texts, nodes, spans = rows_needed(work, settings, num_beams, num_labels)
    return (
        candidates <= len(work.candidates)
        and texts <= len(work.texts)
        and nodes <= len(work.nodes)
        and spans <= min(len(work.words), len(work.chars))
    )


@entry
def _rows_needed(work: Work, settings: Settings, num_beams: int, num_labels: int) -> tuple[int, int, int, int]:
    return rows_needed(work, settings, num_beams, num_labels)


def grown(work: Work, settings: Settings, num_labels: int) -> Work:
    """With room for a frame of so many labels and for `finish`: up to twice what is needed."""
    candidates, texts, nodes, spans = _rows_needed(work, settings, int(work.counts[BEAMS]), num_labels)
    larger: dict[str, Any] = {}
    if candidates > len(work.candidates):
        rows = _power(candidates)
        larger["candidates"] = np.zeros(rows, work.candidates.dtype)
        larger["order"] = np.zeros((2, rows), np.int32)
        larger["slots"] = np.zeros(2 * rows, np.int64)
    if texts > len(work.texts):
        rows = _power(texts)
        larger["texts"] = _longer(work.texts, rows)
        larger["text_slots"], larger["text_stamps"] = np.zeros(2 * rows, np.int32), np.zeros(2 * rows, np.int64)
        for name in ("state_words", "state_backoffs", "state_lengths"):
            larger[name] = _longer(getattr(work, name), rows * settings.num_models + 1)
    if nodes > len(work.nodes):
        rows = _power(nodes)
        larger["nodes"] = _longer(work.nodes, rows)
        larger["node_slots"], larger["node_stamps"] = np.zeros(2 * rows, np.int32), np.zeros(2 * rows, np.int64)
    if spans > min(len(work.words), len(work.chars)):
        larger["words"], larger["chars"] = _longer(work.words, _power(spans)), _longer(work.chars, _power(spans))
    work = work._replace(**larger)
    if "texts" in larger:
        _enter_texts(work)
    if "nodes" in larger:
        _enter_nodes(work)
    return work


def refill_tables(work: Work) -> None:
    """After rows have got new numbers."""
    work.counts[EPOCH] += 1  # what the tables hold is void
    _enter_texts(work)
    _enter_nodes(work)


def _power(needed: int) -> int:
    """The power of two above."""
    return 1 << int(needed).bit_length()


def _longer(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    longer = np.zeros((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


@inner
def mix(a: Row, b: Row) -> Row:
    """A hash of two numbers."""
    h = (np.int64(a) * np.int64(-7046029254386353131)) ^ (np.int64(b) * np.int64(-4417276706812531889))
    h ^= (h >> 32) & np.int64(0xFFFFFFFF)
    h *= np.int64(-7046029254386353131)
    return h ^ ((h >> 29) & np.int64(0x7FFFFFFFF))


@entry
def _enter_texts(work: Work) -> None:
    """Fill the table of texts, which is new."""
    mask = len(work.text_slots) - 1
    for row in range(1, work.counts[TEXTS]):
        slot = mix(work.texts[row].parent, work.texts[row].word) & mask
        while work.text_stamps[slot] == work.counts[EPOCH]:
            slot = (slot + 1) & mask
        work.text_slots[slot], work.text_stamps[slot] = row, work.counts[EPOCH]


@entry
def _enter_nodes(work: Work) -> None:
    """Fill the table of nodes, which is new."""
    mask = len(work.node_slots) - 1
    for row in range(work.counts[NODES]):
        slot = mix(work.nodes[row].parent, work.nodes[row].char) & mask
        while work.node_stamps[slot] == work.counts[EPOCH]:
            slot = (slot + 1) & mask
        work.node_slots[slot], work.node_stamps[slot] = row, work.counts[EPOCH]
