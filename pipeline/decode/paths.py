"""Where words and labels lie in time, compiled: along the one most probable path that a hypothesis carries.

For the searches of letters and of phones. Knows nothing of texts or scores.
"""

from typing import Any

import numpy as np

from pipeline.compiled import inner
from pipeline.decode.lexicon import Row
from pipeline.decode.work import CHARS, NONE, WORDS, Work

KEEP, REPEAT, ADD, END_WORD, START_WORD = range(5)  # how a candidate goes on from its parent


@inner
def follow_path(
    work: Work, keep_chars: bool, parent: Any, candidate: Any, beam: Any, frame: Row, ends_word: bool
) -> None:
    """The words and times of the beam that a candidate becomes: its parent's, taken on by one frame.

    `ends_word`: the parent has a word whose times are complete if another starts or a space comes.
    """
    how, after = candidate.how, np.int32(frame + 1)
    words, chars = parent.words, parent.chars
    label, label_start, label_end = parent.label, parent.label_start, parent.label_end
    start, end, path_start, path_end = parent.word_start, parent.word_end, parent.path_start, parent.path_end
    if how == REPEAT:
        end, path_end, label_end = after, candidate.path, after
    elif how != KEEP:
        if keep_chars and label != NONE:
            chars = _push(work, work.chars, CHARS, chars, label, label_start, label_end, 0.0)
        if how != ADD:
            if ends_word:
                words = _push(work, work.words, WORDS, words, NONE, start, end, path_end - path_start)
            start, end = np.int32(NONE), np.int32(NONE)
        label = np.int32(NONE)
        if how != END_WORD:
            label, label_start, label_end = candidate.last, frame, after
            if start < 0:
                start, path_start = frame, parent.path
            end, path_end = after, candidate.path
    beam.words, beam.chars = words, chars
    beam.label, beam.label_start, beam.label_end = label, label_start, label_end
    beam.word_start, beam.word_end = start, end
    beam.path, beam.path_start, beam.path_end = candidate.path, path_start, path_end


@inner
def _push(
    work: Work,
    spans: Any,
    count: int,
    before: Row,
    label: Row,
    start: Row,
    end: Row,
    logp: float,
) -> Row:
    row = np.int32(work.counts[count])
    work.counts[count] += 1
    new = spans[row]
    new.before, new.label, new.start, new.end, new.logp = before, label, start, end, logp
    return row
