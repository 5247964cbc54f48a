"""The inner loop of the beam search, compiled: CTC prefix beam search with word n-gram language models.

Every frame, every hypothesis is continued with every likely label; those that have become the same are merged, their
probabilities added; the best are kept. In compat mode all is done in pyctcdecode's order, so that results are equal to
the bit; what is different otherwise stands where the word `compat` is. The slow twin is `plain`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.lexicon import BLANK, LETTERS, ROOT, SPACE, Row
from pipeline.decode.options import NARROW_LABELS, NARROW_WIDTH
from pipeline.decode.paths import ADD, END_WORD, KEEP, REPEAT, START_WORD, follow_path
from pipeline.decode.ranking import best_first, log_add
from pipeline.decode.texts import end_score, extend, part_score, same_history, spell, spell_hot, word_score
from pipeline.decode.work import (
    BEAMS,
    BREAKS,
    FRAME,
    NARROWED,
    NONE,
    ROW_BITS,
    ROW_MASK,
    STAMP,
    TRIED,
    Given,
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
    """Frames from `first` on, each with its likely labels; the frame it stopped at, before the end to get more room."""
    settings = given.settings
    for t in range(first, len(offsets) - 1):
        num_beams, frame, width = work.counts[BEAMS], work.counts[FRAME], settings.beam_width
        num_labels = offsets[t + 1] - offsets[t]
        is_narrow = not settings.compat and work.counts[TRIED] > settings.max_effort * (frame + 1)
        if is_narrow:
            width, num_labels = min(width, NARROW_WIDTH), min(num_labels, NARROW_LABELS)
            num_beams = min(num_beams, width)
        if not has_room(work, settings, num_beams, num_labels):
            return t
        work.counts[NARROWED] |= is_narrow
        work.counts[TRIED] += num_beams * num_labels
        now, then = work.beams[frame & 1], work.beams[1 - (frame & 1)]
        here = slice(offsets[t], offsets[t + 1])
        num = _continue(work, given, now, num_beams, labels[here], logps[here], is_narrow)
        highest = _score(work, given, num)
        in_order, num = best_first(work, num, highest + settings.beam_prune_logp, width)
        work.counts[STAMP] += 1
        kept = 0
        for place in range(num):
            row = work.order[in_order, place]
            candidate = work.candidates[row]
            if settings.prune_history and not _is_new_history(work, settings, candidate, row):
                continue
            _follow(work, settings, now[candidate.parent], candidate, then[kept], np.int32(frame))
            kept += 1
        work.counts[BEAMS] = kept
        work.counts[FRAME] += 1
    return len(offsets) - 1


@entry
def finish(work: Work, given: Given) -> tuple[int, int]:
    """Close every hypothesis's last word and end the sentence. Which row of work.order has the candidates, the best
    first, and how many there are.

    Hypotheses stay as they are, so that a stream can go on after a look at what it says so far.
    """
    now = work.beams[work.counts[FRAME] & 1]
    work.counts[STAMP] += 1
    num = 0
    for b in range(work.counts[BEAMS]):
        beam = now[b]
        text = extend(work, given, beam.text, beam.part, beam.hot)
        num = _offer(work, given, num, b, text, ROOT, NONE, NONE, 0, KEEP, beam.logit, beam.path)
    highest = -np.inf
    for c in range(num):
        candidate = work.candidates[c]
        text = work.texts[candidate.text]
        score = text.raw
        if given.settings.num_models:
            if given.settings.compat:
                # From the text before the last word, which for pyctcdecode may be an empty one.
                parent, spare = now[candidate.parent], len(work.texts) - 1
                score = work.texts[parent.text].raw + word_score(work, given, parent.text, parent.part, spare, True)
            else:
                score += end_score(work, given, candidate.text)
        candidate.score = candidate.logit + (score + given.settings.hot_weight * text.num_hot)
        highest = max(highest, candidate.score)
    return best_first(work, num, highest + given.settings.beam_prune_logp, given.settings.beam_width)


# ---- from beams to candidates


@inner
def _continue(
    work: Work,
    given: Given,
    now: Any,
    num_beams: int,
    labels: npt.NDArray[np.int32],
    logps: npt.NDArray[np.float64],
    is_narrow: bool,
) -> int:
    """Every hypothesis with every label of a frame, merged; the number of candidates."""
    compat, is_bpe = given.settings.compat, given.settings.is_bpe
    work.counts[STAMP] += 1
    num = 0
    for i in range(len(labels)):
        if is_narrow and not _is_among_best(logps, i):
            continue
        label, logp = given.labels.same[labels[i]], logps[i]
        kind = given.labels.kind[label]
        for b in range(num_beams):
            beam = now[b]
            text, part, hot, breaks = beam.text, beam.part, beam.hot, beam.breaks
            if kind == BLANK:
                how = KEEP
            elif beam.last == label:
                how = REPEAT
            elif kind == SPACE or (is_bpe and (kind != LETTERS or (work.counts[BREAKS] if compat else breaks) == 1)):
                text = extend(work, given, text, part, hot)
                part, hot, how = np.int32(ROOT), np.int32(ROOT if len(given.hot.is_word) else NONE), END_WORD
                if kind != SPACE:
                    part, hot, how = spell(work, given, part, label), spell_hot(given, hot, label), START_WORD
                    work.counts[BREAKS] = given.labels.breaks[label]
                breaks = np.int32(given.labels.breaks[label])
            else:
                part, hot, how = spell(work, given, part, label), spell_hot(given, hot, label), ADD
                breaks = np.int32(given.labels.breaks[label])
            if compat:
                breaks = np.int32(0)
            logit, path = beam.logit + logp, beam.path + logp
            num = _offer(work, given, num, b, text, part, hot, label, breaks, how, logit, path)
    return num


@inner
def _is_among_best(logps: npt.NDArray[np.float64], i: int) -> bool:
    """Whether a label is one of the few most probable of its frame."""
    rank = 0
    for other in range(len(logps)):
        rank += logps[other] > logps[i] or (logps[other] == logps[i] and other < i)
    return rank < NARROW_LABELS


@inner
def _offer(
    work: Work,
    given: Given,
    num: int,
    parent: int,
    text: Row,
    part: Row,
    hot: Row,
    last: Row,
    breaks: Row,
    how: int,
    logit: float,
    path: float,
) -> int:
    """Add a candidate, or merge it with the one that says the same; the number of candidates there are then."""
    stamp, mask = work.counts[STAMP], len(work.slots) - 1
    slot = mix((np.int64(text) << 32) | part, (last << 1) | breaks) & mask
    while work.slots[slot] >> ROW_BITS == stamp:
        there = work.candidates[work.slots[slot] & ROW_MASK]
        if there.text == text and there.part == part and there.last == last and there.breaks == breaks:
            there.logit = log_add(there.logit, logit)
            # pyctcdecode keeps the times of whichever path came last.
            if given.settings.compat or path > there.path:
                there.parent, there.how, there.path = parent, how, path
            return num
        slot = (slot + 1) & mask
    work.slots[slot] = (stamp << ROW_BITS) | num
    new = work.candidates[num]
    new.text, new.part, new.hot, new.last, new.breaks = text, part, hot, last, breaks
    new.parent, new.how, new.logit, new.path = parent, how, logit, path
    return num + 1


# ---- scoring and pruning


@inner
def _score(work: Work, given: Given, num: int) -> float:
    """Every candidate's score; the highest of them."""
    highest = -np.inf
    for c in range(num):
        candidate = work.candidates[c]
        text_score, unfinished = work.texts[candidate.text].score, 0.0
        if candidate.part != ROOT:
            unfinished = part_score(work, given, candidate.part, candidate.hot)
        if given.settings.num_models:
            candidate.score = candidate.logit + (text_score + unfinished)
        else:
            candidate.score = candidate.logit + text_score + unfinished
        highest = max(highest, candidate.score)
    return highest


@inner
def _is_new_history(work: Work, settings: Settings, candidate: Any, row: Row) -> bool:
    """Whether no better candidate looks the same to the language models from here on."""
    stamp, mask = work.counts[STAMP], len(work.slots) - 1
    slot = mix(work.texts[candidate.text].history ^ candidate.part, (candidate.last << 1) | candidate.breaks) & mask
    while work.slots[slot] >> ROW_BITS == stamp:
        other = work.candidates[work.slots[slot] & ROW_MASK]
        if (
            other.part == candidate.part
            and other.last == candidate.last
            and other.breaks == candidate.breaks
            and same_history(work, other.text, candidate.text, settings.history)
        ):
            return False
        slot = (slot + 1) & mask
    work.slots[slot] = (stamp << ROW_BITS) | row
    return True


# ---- from candidates to beams


@inner
def _follow(work: Work, settings: Settings, parent: Any, candidate: Any, beam: Any, frame: Row) -> None:
    """The beam that a candidate becomes."""
    follow_path(work, settings.keep_chars, parent, candidate, beam, frame, parent.part != ROOT)
    beam.text, beam.part, beam.hot = candidate.text, candidate.part, candidate.hot
    beam.last, beam.breaks = candidate.last, candidate.breaks
    beam.logit = candidate.logit
