"""Forgets what no hypothesis of a search says any more, compiled: hours of speech in the memory of minutes.

Rows that stay keep their order and move together, and what points at one is given its new number. Knows nothing of
searching.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.lexicon import Row
from pipeline.decode.texts import history_of
from pipeline.decode.work import BEAMS, CHARS, FRAME, NODES, NONE, TEXTS, WORDS, Common, Work

Numbers = npt.NDArray[np.int32]  # of each row: first whether it stays, 0 or 1; then its new number, NONE if it goes


@entry
def collect(work: Work, given: Common) -> None:
    """Leaves the texts, unfinished words and times that a hypothesis has. The tables must be filled again."""
    counts, beams = work.counts, work.beams[work.counts[FRAME] & 1][: work.counts[BEAMS]]
    texts, nodes = np.zeros(counts[TEXTS], np.int32), np.zeros(counts[NODES], np.int32)
    words, chars = np.zeros(counts[WORDS], np.int32), np.zeros(counts[CHARS], np.int32)
    known = np.int32(given.trie.num_nodes)
    texts[0] = 1
    for b in range(len(beams)):
        row = beams[b].text
        while texts[row] == 0:
            texts[row], row = 1, work.texts[row].parent
        _mark_spans(work.words, words, beams[b].words)
        _mark_spans(work.chars, chars, beams[b].chars)
        _mark_nodes(work, nodes, beams[b].part, known)
    for row in range(1, len(texts)):
        if texts[row]:
            _mark_nodes(work, nodes, work.texts[row].word, known)

    counts[NODES] = _number(nodes)
    for row in range(len(nodes)):
        if nodes[row] >= 0:
            node = work.nodes[nodes[row]]
            _copy_node(work.nodes[row], node)
            node.parent = _node(nodes, node.parent, known)
    counts[TEXTS] = _number(texts)
    for row in range(1, len(texts)):
        if texts[row] >= 0:
            _move_text(work, given, row, texts, nodes)
    counts[WORDS] = _move_spans(work.words, words)
    counts[CHARS] = _move_spans(work.chars, chars)
    for b in range(len(beams)):
        beam = beams[b]
        beam.text, beam.part = texts[beam.text], _node(nodes, beam.part, known)
        beam.words = words[beam.words] if beam.words >= 0 else beam.words
        beam.chars = chars[beam.chars] if beam.chars >= 0 else beam.chars


@inner
def _mark_spans(spans: Any, stays: Numbers, row: Row) -> None:
    while row >= 0 and stays[row] == 0:
        stays[row], row = 1, spans[row].before


@inner
def _mark_nodes(work: Work, stays: Numbers, node: Row, known: Row) -> None:
    """As far as the lexicon's own nodes, which are below `known` and stay in any case."""
    while node >= known and stays[node - known] == 0:
        stays[node - known], node = 1, work.nodes[node - known].parent


@inner
def _number(stays: Numbers) -> int:
    """New numbers for the rows that stay; how many these are."""
    num = 0
    for row in range(len(stays)):
        if stays[row]:
            stays[row] = num
            num += 1
        else:
            stays[row] = NONE
    return num


@inner
def _node(nodes: Numbers, node: Row, known: Row) -> Row:
    return node if node < known else np.int32(known + nodes[node - known])


@inner
def _copy_node(source: Any, target: Any) -> None:
    target.parent, target.char = source.parent, source.char
    target.length, target.penalty = source.length, source.penalty


@inner
def _move_text(work: Work, given: Common, row: int, texts: Numbers, nodes: Numbers) -> None:
    """Its parent has moved already: a row's parent is above it."""
    to, known = texts[row], np.int32(given.trie.num_nodes)
    source, target = work.texts[row], work.texts[to]
    target.parent, target.word = texts[source.parent], _node(nodes, source.word, known)
    target.num_hot, target.raw, target.score = source.num_hot, source.raw, source.score
    for model in range(given.settings.num_models):
        old, new = row * given.settings.num_models + model, to * given.settings.num_models + model
        for i in range(work.state_words.shape[1]):
            work.state_words[new, i] = work.state_words[old, i]
            work.state_backoffs[new, i] = work.state_backoffs[old, i]
        work.state_lengths[new] = work.state_lengths[old]
    target.history = history_of(work, given, to)  # by the new numbers of its words


@inner
def _move_spans(spans: Any, numbers: Numbers) -> int:
    num = _number(numbers)
    for row in range(len(numbers)):
        if numbers[row] >= 0:
            source, target = spans[row], spans[numbers[row]]
            target.before = numbers[source.before] if source.before >= 0 else source.before
            target.label, target.start, target.end, target.logp = source.label, source.start, source.end, source.logp
    return num
