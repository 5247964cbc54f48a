"""The inner loop of the beam search, compiled: CTC prefix beam search with word n-gram language models.

Hypotheses, texts and unfinished words are rows of flat arrays. A text is a chain of words and an unfinished word a
chain of characters, each stored once, so that two hypotheses say the same where their row numbers are equal. Scores
are summed in double precision in the order in which pyctcdecode sums them: in compat mode results are equal to the bit.

Knows nothing of files, threads or strings; `beam` prepares what it works on and reads what it found.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.lexicon import BLANK, LETTERS, ROOT, SPACE, USUAL_LENGTH, find
from pipeline.lm.lookup import advance

LN10 = 1.0 / math.log10(math.e)  # language models count in log10, emissions in natural logarithms
NONE = -1
NARROW_WIDTH, NARROW_TOKENS = 8, 4  # of the beam and of a frame's labels, beyond the limit of effort

KEEP, REPEAT, ADD, END_WORD, START_WORD = range(5)  # how a candidate goes on from its parent

# A hypothesis. `path` is the log-probability of its single most probable path, whose word times it carries.
BEAM = np.dtype(
    [
        ("text", "i4"),  # row of texts: the finished words
        ("part", "i4"),  # node: the unfinished word
        ("hot", "i4"),  # node of the hotwords' trie for the unfinished word, NONE where it begins none
        ("last", "i4"),  # label of the last frame
        ("breaks", "i4"),  # 1: the next label starts a word
        ("words", "i4"),  # row of word spans: the last finished word's
        ("chars", "i4"),  # row of char spans: the last but one label's
        ("label", "i4"),  # the last label that added characters, NONE after the end of a word
        ("label_start", "i4"),
        ("label_end", "i4"),
        ("word_start", "i4"),  # frames of the unfinished word
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
        ("parent", "i4"),
        ("word", "i4"),  # node
        ("num_hot", "i4"),  # hotwords in it
        ("history", "i8"),  # hash of its last words
        ("raw", "f8"),  # language models' score
        ("score", "f8"),  # with hotwords
    ],
    align=True,
)
NODE = np.dtype([("parent", "i4"), ("char", "i4"), ("length", "i4"), ("penalty", "f8")], align=True)
SPAN = np.dtype([("before", "i4"), ("label", "i4"), ("start", "i4"), ("end", "i4"), ("logp", "f8")], align=True)

# Places in Work.counts. BREAKS is pyctcdecode's one flag for all hypotheses, that the next label starts a word.
BEAMS, TEXTS, NODES, WORDS, CHARS, FRAME, TRIED, NARROWED, BREAKS, STAMP, EPOCH = range(11)


class Settings(NamedTuple):
    beam_width: int
    beam_prune_logp: float
    prune_history: bool
    history: int  # words that still matter to the language models
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
    """The hotwords' trie; nodes as in the lexicon's."""

    keys: npt.NDArray[np.int64]
    nodes: npt.NDArray[np.int32]
    shortest: npt.NDArray[np.int32]  # (H,) length of the shortest hotword below the node
    is_word: npt.NDArray[np.uint8]  # (H,)


class Work(NamedTuple):
    """Everything that changes during a search. Grows between frames, never within one."""

    counts: npt.NDArray[np.int64]
    beams: Any  # (2, width) BEAM: now and next
    candidates: Any  # (C,) CANDIDATE
    order: npt.NDArray[np.int32]  # (2, C) for sorting
    slots: npt.NDArray[np.int32]  # table of candidates, or of histories
    slot_stamps: npt.NDArray[np.int64]
    texts: Any  # (T,) TEXT
    text_slots: npt.NDArray[np.int32]
    text_stamps: npt.NDArray[np.int64]
    state_words: npt.NDArray[np.uint32]  # (T * num_models + 1, 5) the language models' states after each text
    state_backoffs: npt.NDArray[np.float32]
    state_lengths: npt.NDArray[np.int64]
    nodes: Any  # (N,) NODE: unfinished words that begin no known one
    node_slots: npt.NDArray[np.int32]
    node_stamps: npt.NDArray[np.int64]
    words: Any  # (W,) SPAN
    chars: Any  # (W,) SPAN


@inner
def log_add(a, b):  # type: ignore[no-untyped-def]
    if a >= b:
        return a + math.log(1.0 + math.exp(b - a))
    return b + math.log(1.0 + math.exp(a - b))


@inner
def mix(a, b):  # type: ignore[no-untyped-def]
    """A hash of two numbers."""
    h = (np.int64(a) * np.int64(-7046029254386353131)) ^ (np.int64(b) * np.int64(-4417276706812531889))
    h ^= (h >> 32) & np.int64(0xFFFFFFFF)
    h *= np.int64(-7046029254386353131)
    return h ^ ((h >> 29) & np.int64(0x7FFFFFFFF))


# ---- unfinished words


@inner
def _child(work, trie, weights, settings, node, char):  # type: ignore[no-untyped-def]
    """The node of a string and one more character."""
    if node < trie.num_nodes:
        child, _ = find(trie.keys, trie.nodes, np.int64(node) * trie.num_chars + char)
        if child >= 0:
            return child
    epoch, mask = work.counts[EPOCH], len(work.node_slots) - 1
    slot = mix(node, char) & mask
    while work.node_stamps[slot] == epoch:
        row = work.node_slots[slot]
        if work.nodes[row].parent == node and work.nodes[row].char == char:
            return np.int32(trie.num_nodes + row)
        slot = (slot + 1) & mask
    row = work.counts[NODES]
    work.counts[NODES] += 1
    work.node_slots[slot], work.node_stamps[slot] = row, epoch
    length = np.int32(1)
    if node < trie.num_nodes:
        length += trie.length[node]
    else:
        length += work.nodes[node - trie.num_nodes].length
    penalty = 0.0
    for model in range(settings.num_models):
        unknown = weights.unknown[model]
        penalty += weights.share[model] * (unknown * length / USUAL_LENGTH if length > USUAL_LENGTH else unknown)
    new = work.nodes[row]
    new.parent, new.char, new.length, new.penalty = node, char, length, penalty / weights.total
    return np.int32(trie.num_nodes + row)


@inner
def _spell(work, trie, labels, weights, settings, node, label):  # type: ignore[no-untyped-def]
    """The node of a string and a label's characters."""
    for place in range(labels.first[label], labels.first[label + 1]):
        node = _child(work, trie, weights, settings, node, labels.chars[place])
    return node


@inner
def _spell_hot(trie, labels, hot, node, label):  # type: ignore[no-untyped-def]
    for place in range(labels.first[label], labels.first[label + 1]):
        if node >= 0:
            node, _ = find(hot.keys, hot.nodes, np.int64(node) * trie.num_chars + labels.chars[place])
    return node


@inner
def _part_score(work, trie, weights, hot, settings, part, hot_node):  # type: ignore[no-untyped-def]
    """What an unfinished word adds for now; hotwords take the place of the penalty."""
    if part < trie.num_nodes:
        if hot_node < 0:
            return weights.penalties[part]
        length = trie.length[part]
    else:
        node = work.nodes[part - trie.num_nodes]
        if hot_node < 0:
            return node.penalty
        length = node.length
    return settings.hot_weight * length / hot.shortest[hot_node]


# ---- texts


@inner
def word_score(work, trie, lms, weights, settings, text, word, target, at_end):  # type: ignore[no-untyped-def]
    """The language models' score of a word after a text; their states after it go to the target text's rows."""
    total = 0.0
    for model in range(settings.num_models):
        word_id, unknown = np.int64(0), True
        if ROOT < word < trie.num_nodes:
            word_id, unknown = np.int64(trie.word_ids[word, model]), trie.unknown_word[word, model] == 1
        source, to = text * settings.num_models + model, target * settings.num_models + model
        score = np.float64(
            advance(lms[model], work.state_words, work.state_backoffs, work.state_lengths, source, word_id, to)
        )
        if unknown:
            score += weights.unknown[model]
        if at_end:
            score += _end_score(work, lms, weights, model, to)
        total += weights.share[model] * (weights.alpha[model] * score * LN10 + weights.beta[model])
    return total / weights.total


@inner
def _end_score(work, lms, weights, model, state):  # type: ignore[no-untyped-def]
    """log10 of the sentence's end; the state after it goes to the last row, which no text has."""
    if not weights.boundary[model]:
        return 0.0
    spare = len(work.state_lengths) - 1
    return np.float64(
        advance(
            lms[model], work.state_words, work.state_backoffs, work.state_lengths, state, weights.end_ids[model], spare
        )
    )


@inner
def _extend(work, trie, lms, weights, hot, settings, text, word, hot_node):  # type: ignore[no-untyped-def]
    """The row of a text and one more word, scored when it is first met."""
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
    new = work.texts[row]
    new.parent, new.word = text, word
    new.num_hot = work.texts[text].num_hot
    if hot_node >= 0 and hot.is_word[hot_node]:
        new.num_hot += 1
    new.raw = work.texts[text].raw
    if settings.num_models:
        new.raw += word_score(work, trie, lms, weights, settings, text, word, row, False)
    new.score = new.raw + settings.hot_weight * new.num_hot
    history, at = np.int64(0), row
    for _ in range(settings.history):
        if at == 0:
            break
        history = mix(history, work.texts[at].word)
        at = work.texts[at].parent
    new.history = history
    return row


@inner
def _same_history(texts, a, b, history):  # type: ignore[no-untyped-def]
    """Whether two texts share their last words."""
    if texts[a].history != texts[b].history:
        return False
    for _ in range(history):
        if a == b:
            return True
        if a == 0 or b == 0 or texts[a].word != texts[b].word:
            return False
        a, b = texts[a].parent, texts[b].parent
    return True


# ---- candidates


@inner
def _offer(work, settings, num, text, part, hot_node, last, breaks, parent, how, logit, path):  # type: ignore[no-untyped-def]
    """Add a candidate, or merge it with the one that says the same; the number of candidates there are then."""
    stamp, mask = work.counts[STAMP], len(work.slots) - 1
    slot = mix((np.int64(text) << 32) | part, (last << 1) | breaks) & mask
    while work.slot_stamps[slot] == stamp:
        there = work.candidates[work.slots[slot]]
        if there.text == text and there.part == part and there.last == last and there.breaks == breaks:
            there.logit = log_add(there.logit, logit)
            # pyctcdecode keeps the times of whichever path came last.
            if settings.compat or path > there.path:
                there.parent, there.how, there.path = parent, how, path
            return num
        slot = (slot + 1) & mask
    work.slots[slot], work.slot_stamps[slot] = num, stamp
    new = work.candidates[num]
    new.text, new.part, new.hot, new.last, new.breaks = text, part, hot_node, last, breaks
    new.parent, new.how, new.logit, new.path = parent, how, logit, path
    return num + 1


@inner
def _expand(work, trie, labels, lms, weights, hot, settings, now, num_beams, tokens, logps, is_narrow):  # type: ignore[no-untyped-def]
    """Every hypothesis with every label of a frame, merged; the number of candidates."""
    work.counts[STAMP] += 1
    num = 0
    for token in range(len(tokens)):
        if is_narrow and not _among_best(logps, token):
            continue
        label, logp = labels.same[tokens[token]], logps[token]
        kind = labels.kind[label]
        for b in range(num_beams):
            beam = now[b]
            text, part, hot_node, breaks = beam.text, beam.part, beam.hot, beam.breaks
            if kind == BLANK:
                how = KEEP
            elif beam.last == label:
                how = REPEAT
            elif kind == SPACE or (
                settings.is_bpe and (kind != LETTERS or (work.counts[BREAKS] if settings.compat else breaks) == 1)
            ):
                text = _extend(work, trie, lms, weights, hot, settings, text, part, hot_node)
                part, hot_node, how = np.int32(ROOT), np.int32(ROOT if len(hot.is_word) else NONE), END_WORD
                if kind != SPACE:
                    part = _spell(work, trie, labels, weights, settings, part, label)
                    hot_node, how = _spell_hot(trie, labels, hot, hot_node, label), START_WORD
                    work.counts[BREAKS] = labels.breaks[label]
                breaks = np.int32(labels.breaks[label])
            else:
                part = _spell(work, trie, labels, weights, settings, part, label)
                hot_node, how, breaks = (
                    _spell_hot(trie, labels, hot, hot_node, label),
                    ADD,
                    np.int32(labels.breaks[label]),
                )
            if settings.compat:
                breaks = np.int32(0)
            num = _offer(
                work, settings, num, text, part, hot_node, label, breaks, b, how, beam.logit + logp, beam.path + logp
            )
    return num


@inner
def _score(work, trie, weights, hot, settings, num):  # type: ignore[no-untyped-def]
    """Every candidate's score; the highest of them."""
    highest = -np.inf
    for c in range(num):
        candidate = work.candidates[c]
        score = work.texts[candidate.text].score
        part_score = 0.0
        if candidate.part != ROOT:
            part_score = _part_score(work, trie, weights, hot, settings, candidate.part, candidate.hot)
        if settings.num_models:
            candidate.score = candidate.logit + (score + part_score)
        else:
            candidate.score = candidate.logit + score + part_score
        highest = max(highest, candidate.score)
    return highest


@inner
def _best_first(work, num, floor, width):  # type: ignore[no-untyped-def]
    """Rows of work.order and how many: candidates not below the floor, the best first, ties as they came."""
    order, candidates = work.order, work.candidates
    kept = 0
    for c in range(num):
        if candidates[c].score >= floor:
            order[0, kept] = c
            kept += 1
    # Runs of eight by insertion, then merged: what comes is nearly sorted, being last frame's order label by label.
    for first in range(0, kept, 8):
        for i in range(first + 1, min(first + 8, kept)):
            c, j = order[0, i], i - 1
            while j >= first and candidates[order[0, j]].score < candidates[c].score:
                order[0, j + 1] = order[0, j]
                j -= 1
            order[0, j + 1] = c
    side, run = 0, 8
    while run < kept:
        for first in range(0, kept, 2 * run):
            middle, end = min(first + run, kept), min(first + 2 * run, kept)
            i, j = first, middle
            for place in range(first, end):
                if j >= end or (i < middle and candidates[order[side, i]].score >= candidates[order[side, j]].score):
                    order[1 - side, place] = order[side, i]
                    i += 1
                else:
                    order[1 - side, place] = order[side, j]
                    j += 1
        side, run = 1 - side, 2 * run
    return side, min(kept, width)


@inner
def _is_new_history(work, settings, candidate, row):  # type: ignore[no-untyped-def]
    """Whether no better candidate looks the same to the language models from here on."""
    stamp, mask = work.counts[STAMP], len(work.slots) - 1
    slot = mix(work.texts[candidate.text].history ^ candidate.part, (candidate.last << 1) | candidate.breaks) & mask
    while work.slot_stamps[slot] == stamp:
        other = work.candidates[work.slots[slot]]
        if (
            other.part == candidate.part
            and other.last == candidate.last
            and other.breaks == candidate.breaks
            and _same_history(work.texts, other.text, candidate.text, settings.history)
        ):
            return False
        slot = (slot + 1) & mask
    work.slots[slot], work.slot_stamps[slot] = row, stamp
    return True


# ---- room


@entry
def enter_texts(work):  # type: ignore[no-untyped-def]
    """Fill the table of texts, after it has grown."""
    mask = len(work.text_slots) - 1
    for row in range(1, work.counts[TEXTS]):
        slot = mix(work.texts[row].parent, work.texts[row].word) & mask
        while work.text_stamps[slot] == work.counts[EPOCH]:
            slot = (slot + 1) & mask
        work.text_slots[slot], work.text_stamps[slot] = row, work.counts[EPOCH]


@entry
def enter_nodes(work):  # type: ignore[no-untyped-def]
    """Fill the table of nodes, after it has grown."""
    mask = len(work.node_slots) - 1
    for row in range(work.counts[NODES]):
        slot = mix(work.nodes[row].parent, work.nodes[row].char) & mask
        while work.node_stamps[slot] == work.counts[EPOCH]:
            slot = (slot + 1) & mask
        work.node_slots[slot], work.node_stamps[slot] = row, work.counts[EPOCH]


# ---- from candidates to beams


@inner
def _push(work, spans, which, before, label, start, end, logp):  # type: ignore[no-untyped-def]
    row = np.int32(work.counts[which])
    work.counts[which] += 1
    new = spans[row]
    new.before, new.label, new.start, new.end, new.logp = before, label, start, end, logp
    return row


@inner
def _follow(work, settings, parent, candidate, beam, frame, label):  # type: ignore[no-untyped-def]
    """The beam that a candidate becomes: its parent's words and times, taken on by one frame."""
    how = candidate.how
    words, chars = parent.words, parent.chars
    current, label_start, label_end = parent.label, parent.label_start, parent.label_end
    start, end, path_start, path_end = parent.word_start, parent.word_end, parent.path_start, parent.path_end
    if how == REPEAT:
        end, path_end, label_end = np.int32(frame + 1), candidate.path, np.int32(frame + 1)
    elif how != KEEP:
        if settings.keep_chars and current != NONE:
            chars = _push(work, work.chars, CHARS, chars, current, label_start, label_end, 0.0)
        if how != ADD:
            if parent.part != ROOT:
                words = _push(work, work.words, WORDS, words, NONE, start, end, path_end - path_start)
            start, end = np.int32(NONE), np.int32(NONE)
        current = np.int32(NONE)
        if how != END_WORD:
            current, label_start, label_end = label, np.int32(frame), np.int32(frame + 1)
            if start < 0:
                start, path_start = np.int32(frame), parent.path
            end, path_end = np.int32(frame + 1), candidate.path
    beam.text, beam.part, beam.hot = candidate.text, candidate.part, candidate.hot
    beam.last, beam.breaks = candidate.last, candidate.breaks
    beam.words, beam.chars = words, chars
    beam.label, beam.label_start, beam.label_end = current, label_start, label_end
    beam.word_start, beam.word_end = start, end
    beam.logit, beam.path, beam.path_start, beam.path_end = candidate.logit, candidate.path, path_start, path_end


@inner
def _has_room(work, settings, num_beams, num_tokens):  # type: ignore[no-untyped-def]
    """Whether a frame's most possible new rows all fit, with tables at most half full."""
    num = num_beams * num_tokens
    return (
        num <= len(work.candidates)
        and work.counts[TEXTS] + max(num, num_beams) + 2 <= len(work.texts)
        and work.counts[NODES] + num * settings.longest <= len(work.nodes)
        and work.counts[WORDS] + 2 * num_beams <= len(work.words)
        and work.counts[CHARS] + 2 * num_beams <= len(work.chars)
    )


@entry
def run(work, trie, labels, lms, weights, hot, settings, offsets, tokens, logps, first):  # type: ignore[no-untyped-def]
    """Frames from `first` on; the frame it stopped at, which is not the end where `work` has to grow."""
    for t in range(first, len(offsets) - 1):
        num_beams = work.counts[BEAMS]
        frame_tokens, frame_logps = tokens[offsets[t] : offsets[t + 1]], logps[offsets[t] : offsets[t + 1]]
        frame, width, num_tokens = work.counts[FRAME], settings.beam_width, len(frame_tokens)
        is_narrow = not settings.compat and work.counts[TRIED] > settings.max_effort * (frame + 1)
        if is_narrow:
            width, num_tokens = min(width, NARROW_WIDTH), min(num_tokens, NARROW_TOKENS)
            num_beams = min(num_beams, width)
        if not _has_room(work, settings, num_beams, num_tokens):
            return t
        work.counts[NARROWED] |= is_narrow
        work.counts[TRIED] += num_beams * num_tokens
        now, then = work.beams[frame & 1], work.beams[1 - (frame & 1)]
        num = _expand(
            work, trie, labels, lms, weights, hot, settings, now, num_beams, frame_tokens, frame_logps, is_narrow
        )
        highest = _score(work, trie, weights, hot, settings, num)
        in_order, num = _best_first(work, num, highest + settings.beam_prune_logp, width)
        work.counts[STAMP] += 1
        kept = 0
        for place in range(num):
            row = work.order[in_order, place]
            candidate = work.candidates[row]
            if settings.prune_history and not _is_new_history(work, settings, candidate, row):
                continue
            _follow(work, settings, now[candidate.parent], candidate, then[kept], frame, candidate.last)
            kept += 1
        work.counts[BEAMS] = kept
        work.counts[FRAME] += 1
    return len(offsets) - 1


@inner
def _among_best(logps, token):  # type: ignore[no-untyped-def]
    """Whether a label is one of the few most probable of its frame."""
    rank = 0
    for other in range(len(logps)):
        rank += logps[other] > logps[token] or (logps[other] == logps[token] and other < token)
    return rank < NARROW_TOKENS


@entry
def finish(work, trie, labels, lms, weights, hot, settings):  # type: ignore[no-untyped-def]
    """Close every hypothesis's last word and end the sentence. (row of work.order, number) of candidates, best first.

    Hypotheses stay as they are, so that a stream can go on after a look at what it says so far.
    """
    now = work.beams[work.counts[FRAME] & 1]
    work.counts[STAMP] += 1
    num = 0
    for b in range(work.counts[BEAMS]):
        beam = now[b]
        text = _extend(work, trie, lms, weights, hot, settings, beam.text, beam.part, beam.hot)
        num = _offer(work, settings, num, text, ROOT, NONE, NONE, 0, b, KEEP, beam.logit, beam.path)
    highest = -np.inf
    for c in range(num):
        candidate = work.candidates[c]
        text = work.texts[candidate.text]
        score = text.raw
        if settings.compat and settings.num_models:
            # The last word once more, from the text before it, which for pyctcdecode may be an empty word.
            parent = now[candidate.parent]
            spare = len(work.texts) - 1
            score = work.texts[parent.text].raw + word_score(
                work, trie, lms, weights, settings, parent.text, parent.part, spare, True
            )
        else:
            total = 0.0
            for model in range(settings.num_models):
                ending = _end_score(work, lms, weights, model, candidate.text * settings.num_models + model)
                total += weights.share[model] * (weights.alpha[model] * ending * LN10)
            if settings.num_models:
                score += total / weights.total
        candidate.score = candidate.logit + (score + settings.hot_weight * text.num_hot)
        highest = max(highest, candidate.score)
    return _best_first(work, num, highest + settings.beam_prune_logp, settings.beam_width)


@entry
def read_out(work, trie, lms, settings, codes, in_order, num):  # type: ignore[no-untyped-def]
    """The best candidates of `finish`: texts as code points, a newline between two, and their words' and labels' spans.

    Returns texts, (num, 4) sums (logit, score, words, labels), word spans and label spans, those of one text after the
    other, each text's last first, and the language models' states after each text.
    """
    now = work.beams[work.counts[FRAME] & 1]
    sums = np.zeros((num, 4))
    num_codes, num_words, num_labels = 0, 0, 0
    for place in range(num):
        candidate = work.candidates[work.order[in_order, place]]
        parent = now[candidate.parent]
        text, count = candidate.text, 0
        while text != 0:
            word = work.texts[text].word
            length = trie.length[word] if word < trie.num_nodes else work.nodes[word - trie.num_nodes].length
            num_codes += length + 1
            count += 1
            text = work.texts[text].parent
        num_codes += 0 if count else 1
        labels, char = 1 if parent.label != NONE else 0, parent.chars
        while char >= 0:
            labels += 1
            char = work.chars[char].before
        sums[place, 0], sums[place, 1], sums[place, 2], sums[place, 3] = candidate.logit, candidate.score, count, labels
        num_words += count
        num_labels += labels
    texts = np.full(num_codes, np.uint32(10), np.uint32)
    words, spans = np.empty(num_words, SPAN), np.empty(num_labels, SPAN)
    end, w, c = 0, 0, 0
    for place in range(num):
        candidate = work.candidates[work.order[in_order, place]]
        parent = now[candidate.parent]
        text, start, count = candidate.text, end, int(sums[place, 2])
        while text != 0:
            word = work.texts[text].word
            end += 1 + (trie.length[word] if word < trie.num_nodes else work.nodes[word - trie.num_nodes].length)
            text = work.texts[text].parent
        end += 0 if count else 1
        at, text = end - 1, candidate.text  # texts[at] is this text's newline
        while text != 0:
            word = work.texts[text].word
            while word != ROOT:
                at -= 1
                if word < trie.num_nodes:
                    texts[at], word = codes[trie.char[word]], trie.parent[word]
                else:
                    node = work.nodes[word - trie.num_nodes]
                    texts[at], word = codes[node.char], node.parent
            text = work.texts[text].parent
            if text != 0:
                at -= 1
                texts[at] = 32
        span, first = parent.words, w
        if parent.part != ROOT:
            words[w].start, words[w].end = parent.word_start, parent.word_end
            words[w].logp = parent.path_end - parent.path_start
            w += 1
        while span >= 0 and w < first + count:
            words[w] = work.words[span]
            span = work.words[span].before
            w += 1
        if parent.label != NONE:
            spans[c].label, spans[c].start, spans[c].end = parent.label, parent.label_start, parent.label_end
            c += 1
        char = parent.chars
        while char >= 0:
            spans[c] = work.chars[char]
            char = work.chars[char].before
            c += 1
    rows = num * settings.num_models
    states = np.zeros((rows, 5), np.uint32), np.zeros((rows, 5), np.float32), np.zeros(rows, np.int64)
    _copy_states(work, lms, settings, in_order, num, *states)
    return texts, sums, words, spans, states


@inner
def _copy_states(work, lms, settings, in_order, num, words, backoffs, lengths):  # type: ignore[no-untyped-def]
    spare = (len(work.texts) - 1) * settings.num_models
    for place in range(num):
        candidate = work.candidates[work.order[in_order, place]]
        for model in range(settings.num_models):
            row, to = candidate.text * settings.num_models + model, place * settings.num_models + model
            parent = work.beams[work.counts[FRAME] & 1, candidate.parent]
            if settings.compat and parent.part == ROOT:  # pyctcdecode has just scored an empty word
                row = parent.text * settings.num_models + model
                advance(lms[model], work.state_words, work.state_backoffs, work.state_lengths, row, 0, spare)
                row = spare
            for i in range(words.shape[1]):
                words[to, i], backoffs[to, i] = work.state_words[row, i], work.state_backoffs[row, i]
            lengths[to] = work.state_lengths[row]


@inner
def _find_bad(emissions):  # type: ignore[no-untyped-def]
    """The first frame that does not hold log-probabilities, or -1."""
    for t in range(emissions.shape[0]):
        best = emissions[t, 0]
        for label in range(emissions.shape[1]):
            if not emissions[t, label] < np.inf:  # NaN too
                return t
            best = max(best, emissions[t, label])
        if best == -np.inf:
            return t
    return -1


@entry
def sparse(emissions, token_min_logp, floor, ceiling):  # type: ignore[no-untyped-def]
    """Emissions (T, V) as rows of likely labels: offsets (T + 1,), labels, log-probabilities. The first frame that
    is not made of log-probabilities comes fourth, or -1."""
    num_frames, num_labels = emissions.shape
    offsets = np.zeros(num_frames + 1, np.int64)
    bad = _find_bad(emissions)
    if bad >= 0:
        return offsets, np.empty(0, np.int32), np.empty(0, np.float64), bad
    for t in range(num_frames):
        count = 0
        for label in range(num_labels):
            count += emissions[t, label] >= token_min_logp
        offsets[t + 1] = offsets[t] + max(count, 1)
    labels, logps = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float64)
    for t in range(num_frames):
        place = offsets[t]
        best_label = 0
        for label in range(num_labels):
            logp = emissions[t, label]
            if logp > emissions[t, best_label]:
                best_label = label
            if logp >= token_min_logp:
                labels[place], logps[place] = label, min(max(np.float64(logp), floor), ceiling)
                place += 1
        if place == offsets[t]:
            labels[place], logps[place] = best_label, min(max(np.float64(emissions[t, best_label]), floor), ceiling)
    return offsets, labels, logps, -1
