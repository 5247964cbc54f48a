"""Texts and unfinished words of a search, compiled: each stored once, scored when it is first met.

A text is a chain of words, an unfinished word a chain of characters, so that two hypotheses say the same where their
numbers are equal. Scores are summed in double precision in pyctcdecode's order. Knows nothing of emissions.
"""

from typing import Any

import numpy as np

from pipeline.compiled import inner
from pipeline.decode.lexicon import ROOT, Row, find
from pipeline.decode.options import LN10, USUAL_LENGTH
from pipeline.decode.work import EPOCH, NODES, TEXTS, Common, Given, Work, mix
from pipeline.lm.lookup import advance
from pipeline.lm.tables import Tables

# ---- unfinished words


@inner
def spell(work: Work, given: Given, node: Row, label: int) -> Row:
    """The node of a string and a label's characters."""
    for place in range(given.labels.first[label], given.labels.first[label + 1]):
        node = _child(work, given, node, given.labels.chars[place])
    return node


@inner
def _child(work: Work, given: Given, node: Row, char: Row) -> Row:
    """The node of a string and one more character; new where no known word begins so."""
    known = given.trie.num_nodes
    if node < known:
        child, _ = find(given.trie.keys, given.trie.nodes, np.int64(node) * given.trie.num_chars + char)
        if child >= 0:
            return child
    epoch, mask = work.counts[EPOCH], len(work.node_slots) - 1
    slot = mix(node, char) & mask
    while work.node_stamps[slot] == epoch:
        row = work.node_slots[slot]
        if work.nodes[row].parent == node and work.nodes[row].char == char:
            return np.int32(known + row)
        slot = (slot + 1) & mask
    row = work.counts[NODES]
    work.counts[NODES] += 1
    work.node_slots[slot], work.node_stamps[slot] = row, epoch
    length = num_chars(work, given, node) + 1
    penalty = 0.0
    for model in range(given.settings.num_models):
        unknown = given.weights.unknown[model]
        penalty += given.weights.share[model] * (unknown * length / USUAL_LENGTH if length > USUAL_LENGTH else unknown)
    new = work.nodes[row]
    new.parent, new.char, new.length, new.penalty = node, char, length, penalty / given.weights.total
    return np.int32(known + row)


@inner
def num_chars(work: Work, given: Common, node: Row) -> Row:
    if node < given.trie.num_nodes:
        return given.trie.length[node]
    return work.nodes[node - given.trie.num_nodes].length


@inner
def spell_hot(given: Given, node: Row, label: int) -> Row:
    """The node of the hotwords' trie after a label's characters."""
    for place in range(given.labels.first[label], given.labels.first[label + 1]):
        if node >= 0:
            key = np.int64(node) * given.trie.num_chars + given.labels.chars[place]
            node, _ = find(given.hot.keys, given.hot.nodes, key)
    return node


@inner
def part_score(work: Work, given: Given, part: Row, hot: Row) -> Any:
    """What an unfinished word adds for now; a hotword's beginning has its bonus in the penalty's place."""
    if hot >= 0:
        return given.settings.hot_weight * num_chars(work, given, part) / given.hot.shortest[hot]
    if part < given.trie.num_nodes:
        return given.weights.penalties[part]
    return work.nodes[part - given.trie.num_nodes].penalty


# ---- texts


@inner
def extend(work: Work, given: Common, text: Row, word: Row, hot: Row) -> Row:
    """The row of a text and one more word."""
    if word == ROOT:
        return text
    epoch, mask = work.counts[EPOCH], len(work.text_slots) - 1
    slot = mix(text, word) & mask
    while work.text_stamps[slot] == epoch:
        row = work.text_slots[slot]
        if work.texts[row].parent == text and work.texts[row].word == word:
            return row
        slot = (slot + 1) & mask
    row = np.int32(work.counts[TEXTS])
    work.counts[TEXTS] += 1
    work.text_slots[slot], work.text_stamps[slot] = row, epoch
    before, new = work.texts[text], work.texts[row]
    new.parent, new.word, new.num_hot, new.raw = text, word, before.num_hot, before.raw
    if hot >= 0 and given.hot.is_word[hot]:
        new.num_hot += 1
    if given.settings.num_models:
        new.raw += word_score(work, given, text, word, row, False)
    new.score = new.raw + given.settings.hot_weight * new.num_hot
    new.history = history_of(work, given, row)
    return row


@inner
def history_of(work: Work, given: Common, text: Row) -> Row:
    """A hash of as many of its last words as still matter, or of the language models' states after it."""
    history = np.int64(0)
    if given.settings.history == 0:
        for row in range(text * given.settings.num_models, (text + 1) * given.settings.num_models):
            history = mix(history, work.state_lengths[row])
            for place in range(work.state_lengths[row]):
                history = mix(history, work.state_words[row, place])
        return history
    for _ in range(given.settings.history):
        if text == 0:
            break
        history = mix(history, work.texts[text].word)
        text = work.texts[text].parent
    return history


@inner
def word_score(work: Work, given: Common, text: Row, word: Row, target: Row, at_end: bool) -> float:
    """The language models' score of a word after a text; their states after it go to the target text's rows."""
    total = 0.0
    for model in range(given.settings.num_models):
        word_id, unknown = np.int64(0), True
        if ROOT < word < given.trie.num_nodes:
            word_id, unknown = np.int64(given.trie.word_ids[word, model]), given.trie.unknown_word[word, model] == 1
        source, to = text * given.settings.num_models + model, target * given.settings.num_models + model
        score = _advance(work, given, model, source, word_id, to)
        if unknown:
            score += given.weights.unknown[model]
        if at_end:
            score += _end_log10(work, given, model, to)
        total += given.weights.share[model] * (given.weights.alpha[model] * score * LN10 + given.weights.beta[model])
    return total / given.weights.total


@inner
def end_score(work: Work, given: Common, text: Row) -> float:
    """The language models' score of a text's end."""
    total = 0.0
    for model in range(given.settings.num_models):
        log10 = _end_log10(work, given, model, text * given.settings.num_models + model)
        total += given.weights.share[model] * (given.weights.alpha[model] * log10 * LN10)
    return total / given.weights.total


@inner
def _end_log10(work: Work, given: Common, model: int, state: Row) -> float:
    """Of </s> after a state; the state after that goes to the last row, which no text has."""
    if not given.weights.boundary[model]:
        return 0.0
    return _advance(work, given, model, state, given.weights.end_ids[model], len(work.state_lengths) - 1)


@inner
def _advance(work: Work, given: Common, model: int, source: Row, word_id: Row, target: Row) -> float:
    lms = given.lms
    tables = Tables(lms[model, 0], lms[model, 1], lms[model, 2], lms[model, 3], lms[model, 4])
    words, backoffs, lengths = work.state_words, work.state_backoffs, work.state_lengths
    return float(advance(tables, words, backoffs, lengths, source, word_id, target))


@inner
def same_history(work: Work, a: Row, b: Row, num_words: int) -> bool:
    """Whether two texts share their last words."""
    texts = work.texts
    if texts[a].history != texts[b].history:
        return False
    for _ in range(num_words):
        if a == b:
            return True
        if a == 0 or b == 0 or texts[a].word != texts[b].word:
            return False
        a, b = texts[a].parent, texts[b].parent
    return True


@inner
def same_states(work: Work, given: Common, a: Row, b: Row) -> bool:
    """Whether two texts are the same to all language models from here on."""
    if work.texts[a].history != work.texts[b].history:
        return False
    for model in range(given.settings.num_models):
        row, other = a * given.settings.num_models + model, b * given.settings.num_models + model
        if work.state_lengths[row] != work.state_lengths[other]:
            return False
        for place in range(work.state_lengths[row]):
            if work.state_words[row, place] != work.state_words[other, place]:
                return False
    return True


@inner
def copy_states(work: Work, given: Common, text: Row, states: tuple, to: int) -> None:  # type: ignore[type-arg]
    """A text's states, a row per language model, into arrays like the work's."""
    words, backoffs, lengths = states
    for model in range(given.settings.num_models):
        row = text * given.settings.num_models + model
        for i in range(words.shape[1]):
            words[to + model, i], backoffs[to + model, i] = work.state_words[row, i], work.state_backoffs[row, i]
        lengths[to + model] = work.state_lengths[row]
