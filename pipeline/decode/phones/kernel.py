"""The inner loop of the search for words in phones, compiled: CTC prefix beam search through a lexicon's trie.

A hypothesis is a text of finished words, a node of the trie, and the last label. Every frame, every hypothesis is
continued with every likely label, the most probable first; where a word ends, hypotheses follow that have it in their
text, one per homophone, and one that goes on to longer words. What falls behind the best is not taken up, hypotheses
that have become the same are merged, the best are kept. The slow twin is `plain`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.lexicon import ROOT, Row
from pipeline.decode.options import BURST, FLOOR, NARROW_LABELS, NARROW_WIDTH
from pipeline.decode.paths import ADD, KEEP, REPEAT, START_WORD, follow_path
from pipeline.decode.phones.tree import child_of
from pipeline.decode.phones.work import Given
from pipeline.decode.ranking import best_first, log_add
from pipeline.decode.texts import end_score, extend, same_states
from pipeline.decode.work import (
    ALIKE,
    BEAMS,
    FRAME,
    MORE,
    NARROWED,
    NONE,
    ROW_BITS,
    ROW_MASK,
    STAMP,
    TEXTS,
    TRIED,
    Settings,
    Work,
    has_room,
    mix,
)


@entry
def run(
    work: Work,
    given: Given,
    offsets: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int32],
    logps: npt.NDArray[np.float64],
    first: int,
) -> int:
    """Frames from `first` on, each with its likely labels, whose order it changes; the frame it stopped at, before
    the end to get more room.
    """
    settings = given.settings
    for t in range(first, len(offsets) - 1):
        num_beams, frame, width = work.counts[BEAMS], work.counts[FRAME], settings.beam_width
        num_labels = offsets[t + 1] - offsets[t]
        is_narrow = work.counts[TRIED] > settings.max_effort * (frame + 1)
        if is_narrow:
            width, num_labels = min(width, NARROW_WIDTH), min(num_labels, NARROW_LABELS)
        if not has_room(work, settings, num_beams, num_labels):
            return t
        tried = work.counts[TRIED]
        work.counts[TRIED] += num_beams * num_labels
        now, then = work.beams[frame & 1], work.beams[1 - (frame & 1)]
        here = slice(offsets[t], offsets[t + 1])
        _most_probable_first(labels[here], logps[here])
        work.counts[STAMP] += 1
        work.counts[ALIKE] = 0
        num, highest = 0, -np.inf
        for i in range(num_labels + 1):
            if i == num_labels and num > 0:
                break  # else no word goes on as this frame says, and it is no blank: take it for one
            label, logp = (labels[here][i], logps[here][i]) if i < num_labels else (given.blank, FLOOR)
            num, highest = _continue(work, given, now, num_beams, given.same[label], logp, num, highest, tried)
            if num < 0:  # out of rows, which nobody could know before: the frame is tried anew with more
                work.counts[TRIED] = tried
                return t
        work.counts[NARROWED] |= is_narrow or work.counts[TRIED] > tried + BURST * settings.max_effort
        num = _best(work, given, num, width)
        for place in range(num):
            candidate = work.candidates[work.order[0, place]]
            _follow(work, settings, now[candidate.parent], candidate, then[place], np.int32(frame))
        work.counts[BEAMS] = num
        work.counts[FRAME] += 1
    return len(offsets) - 1


@entry
def finish(work: Work, given: Given) -> tuple[int, int]:
    """End the sentence. Which row of work.order has the candidates, the best first, and how many there are.

    Hypotheses in the middle of a word count only where all are, and then without it. They stay as they are.
    """
    now = work.beams[work.counts[FRAME] & 1]
    work.counts[STAMP] += 1
    num, any_ended = 0, False
    for b in range(work.counts[BEAMS]):
        any_ended |= now[b].part == ROOT
    for b in range(work.counts[BEAMS]):
        beam = now[b]
        if beam.part == ROOT or not any_ended:
            rest = work.texts[beam.text].score + end_score(work, given, beam.text)
            num = _offer(work, given, num, b, beam.text, ROOT, NONE, KEEP, beam.logit, beam.path, rest)
    highest = -np.inf
    for c in range(num):
        highest = max(highest, work.candidates[c].score)
    return best_first(work, num, highest + given.settings.beam_prune_logp, given.settings.beam_width)


@inner
def _most_probable_first(labels: npt.NDArray[np.int32], logps: npt.NDArray[np.float64]) -> None:
    """Of equals the lower label, as labels ascend; in place."""
    for i in range(1, len(labels)):
        label, logp, j = labels[i], logps[i], i - 1
        while j >= 0 and logps[j] < logp:
            labels[j + 1], logps[j + 1] = labels[j], logps[j]
            j -= 1
        labels[j + 1], logps[j + 1] = label, logp


@inner
def _continue(
    work: Work, given: Given, now: Any, num_beams: int, label: Row, logp: float, num: int, highest: float, tried: int
) -> tuple[int, float]:
    """Every hypothesis with one label of a frame. The number of candidates there are then, -1 where rows are missing;
    and the highest score. `tried` is what had been before this frame, of which many homophones may make too much.
    """
    trie, prune = given.trie, given.settings.beam_prune_logp
    entered, below = given.ahead
    for b in range(num_beams):
        beam = now[b]
        logit, path = beam.logit + logp, beam.path + logp
        if logit + beam.rest < highest + prune:
            continue
        part, how, rest, num_words = beam.part, KEEP if label == given.blank else REPEAT, beam.rest, 0
        if label != given.blank and label != beam.last:
            part = child_of(trie, beam.part, label)
            text_score = work.texts[beam.text].score
            if part < 0 or logit + (text_score + entered[part]) < highest + prune:
                continue
            how, rest = START_WORD if beam.part == ROOT else ADD, text_score + below[part]
            num_words = trie.words_first[part + 1] - trie.words_first[part]
            if num_words > 0:
                if work.counts[TRIED] > tried + BURST * given.settings.max_effort:
                    num_words = 1
                work.counts[TRIED] += num_words
                needed = work.counts[TRIED] - tried
                if needed > len(work.candidates) or work.counts[TEXTS] + num_words + 2 > len(work.texts):
                    work.counts[MORE] = needed
                    return -1, highest
        if (how < ADD or trie.first[part] < trie.first[part + 1]) and logit + rest >= highest + prune:
            num = _offer(work, given, num, b, beam.text, part, label, how, logit, path, rest)
            highest = max(highest, logit + rest)
        for place in range(trie.words_first[part], trie.words_first[part] + num_words):
            word = trie.words[place]
            text = extend(work, given, beam.text, word, word if len(given.hot.is_word) else np.int32(NONE))
            rest = work.texts[text].score + below[ROOT]
            if logit + rest >= highest + prune:
                num = _offer(work, given, num, b, text, np.int32(ROOT), label, how, logit, path, rest)
                highest = max(highest, logit + rest)
    return num, highest


@inner
def _offer(
    work: Work,
    given: Given,
    num: int,
    parent: int,
    text: Row,
    part: Row,
    last: Row,
    how: int,
    logit: float,
    path: float,
    rest: float,
) -> int:
    """Add a candidate, or merge it with the one that says the same; the number of candidates there are then."""
    stamp, mask = work.counts[STAMP], len(work.slots) - 1
    # What is alike meets here, so that it is seen; where it is to stay, it need not.
    history = work.texts[text].history if given.settings.prune_history else np.int64(text)
    slot = mix(history ^ part, last) & mask
    while work.slots[slot] >> ROW_BITS == stamp:
        there = work.candidates[work.slots[slot] & ROW_MASK]
        if there.part == part and there.last == last:
            if there.text == text:
                there.logit = log_add(there.logit, logit)
                there.score = there.logit + rest
                if path > there.path:
                    there.parent, there.how, there.path = parent, how, path
                return num
            work.counts[ALIKE] += work.texts[there.text].history == work.texts[text].history
        slot = (slot + 1) & mask
    work.slots[slot] = (stamp << ROW_BITS) | num
    new = work.candidates[num]
    new.text, new.part, new.last, new.parent, new.how = text, part, last, parent, how
    new.logit, new.path, new.rest, new.score = logit, path, rest, logit + rest
    return num + 1


@inner
def _best(work: Work, given: Given, num: int, width: int) -> int:
    """The candidates that are kept, in the order they came, to work.order[0]; how many."""
    order, candidates = work.order, work.candidates
    highest = -np.inf
    for c in range(num):
        highest = max(highest, candidates[c].score)
    kept = 0
    for c in range(num):
        if candidates[c].score >= highest + given.settings.beam_prune_logp:
            order[0, kept] = c
            kept += 1
    if given.settings.prune_history and work.counts[ALIKE] > 0:
        kept = _best_of_alike(work, given, kept)
    if kept <= width:
        return kept
    for place in range(kept):
        order[1, place] = order[0, place]
    least = _score_at(work, kept, width - 1)
    ties = width  # at the least score
    for place in range(kept):
        ties -= candidates[order[0, place]].score > least
    num, kept = kept, 0
    for place in range(num):
        c = order[0, place]
        if candidates[c].score > least or (candidates[c].score == least and ties > 0):
            ties -= candidates[c].score == least
            order[0, kept] = c
            kept += 1
    return kept


@inner
def _best_of_alike(work: Work, given: Given, num: int) -> int:
    """Of candidates that say the same to the language models from here on the best, in work.order[0]; how many."""
    order, candidates = work.order, work.candidates
    work.counts[STAMP] += 1
    stamp, mask = work.counts[STAMP], len(work.slots) - 1
    for place in range(num):
        c = order[0, place]
        new = candidates[c]
        slot = mix(work.texts[new.text].history ^ new.part, new.last) & mask
        while work.slots[slot] >> ROW_BITS == stamp:
            other = order[0, work.slots[slot] & ROW_MASK]
            there = candidates[other]
            if there.part == new.part and there.last == new.last and same_states(work, given, there.text, new.text):
                if new.score > there.score:
                    order[0, work.slots[slot] & ROW_MASK] = c
                order[0, place] = NONE
                break
            slot = (slot + 1) & mask
        else:
            work.slots[slot] = (stamp << ROW_BITS) | place
    kept = 0
    for place in range(num):
        if order[0, place] >= 0:
            order[0, kept] = order[0, place]
            kept += 1
    return kept


@inner
def _score_at(work: Work, num: int, rank: int) -> Any:
    """The score at a rank, the best being 0, of the candidates in work.order[1], whose order it changes."""
    row, candidates = work.order[1], work.candidates
    low, high = 0, num - 1
    while low < high:
        pivot, i, j = candidates[row[(low + high) // 2]].score, low, high
        while i <= j:
            while candidates[row[i]].score > pivot:
                i += 1
            while candidates[row[j]].score < pivot:
                j -= 1
            if i <= j:
                row[i], row[j] = row[j], row[i]
                i, j = i + 1, j - 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return candidates[row[rank]].score


@inner
def _follow(work: Work, settings: Settings, parent: Any, candidate: Any, beam: Any, frame: Row) -> None:
    """The beam that a candidate becomes."""
    follow_path(work, settings.keep_chars, parent, candidate, beam, frame, parent.word_start >= 0)
    beam.text, beam.part, beam.last = candidate.text, candidate.part, candidate.last
    beam.logit, beam.rest = candidate.logit, candidate.rest
