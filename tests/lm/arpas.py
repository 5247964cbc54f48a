"""Random language models as ARPA text: nothing of them makes sense but their form."""

import numpy as np

MARKERS = ["<unk>", "<s>", "</s>"]
SYLLABLES = ["ka", "lo", "é", "ßu", "日本", "mi", "'t", "\u00a0x", "ab-c", "z" * 9, "𝄞"]


def vocabulary(num_words: int, rng: np.random.Generator) -> list[str]:
    """Words of one to twenty bytes, so that hashing meets every remainder of its block of eight."""
    words = list(MARKERS)
    while len(words) < num_words:
        word = "".join(rng.choice(SYLLABLES, rng.integers(1, 4)))
        if word not in words:
            words.append(word)
    return words


def random_ngrams(order: int, num: int, rng: np.random.Generator, pruned: bool) -> list[list[tuple[int, ...]]]:
    """Per order: each n-gram's older words are an n-gram; its newer words only unless `pruned`."""
    num_words = max(5, num // 3)
    ngrams: list[list[tuple[int, ...]]] = [[(word,) for word in range(num_words)]]
    for _ in range(1, order):
        last = ngrams[-1]
        known = set(last)
        found: dict[tuple[int, ...], None] = {}
        for _ in range(num if last else 0):
            older = last[rng.integers(len(last))]
            candidates = [ngram for ngram in last if ngram[:-1] == older[1:]]
            odd = pruned and rng.random() < 0.3  # more, and KenLM's own tables run over
            if odd or not candidates:
                newest = int(rng.integers(num_words))
            else:
                newest = candidates[rng.integers(len(candidates))][-1]
            ngram = (*older, newest)
            if older[-1] != 2 and (odd or ngram[1:] in known):  # nothing follows </s>
                found[ngram] = None
        ngrams.append(list(found))
    return ngrams


def random_arpa(order: int = 3, num: int = 60, seed: int = 0, pruned: bool = False, unknown: bool = True) -> str:
    """`num` n-grams per order at most; without `unknown`, <unk> is not listed."""
    rng = np.random.default_rng(seed)
    ngrams = random_ngrams(order, num, rng, pruned)
    words = vocabulary(len(ngrams[0]), rng)
    if not unknown:
        ngrams[0] = ngrams[0][1:]
        ngrams[1:] = [[ngram for ngram in level if 0 not in ngram] for level in ngrams[1:]]
    lines = ["\\data\\", *(f"ngram {n}={len(level)}" for n, level in enumerate(ngrams, 1)), ""]
    for n, level in enumerate(ngrams, 1):
        lines.append(f"\\{n}-grams:")
        for ngram in level:
            log10 = "0" if ngram == (1,) else f"{-rng.uniform(0.01, 6):.{rng.integers(2, 9)}g}"
            fields = [log10, " ".join(words[word] for word in ngram)]
            kind = rng.integers(4) if n < order else 0
            if kind == 1:
                fields.append("0")
            elif kind > 1:
                highest = 0.0 if pruned else 0.3  # a sum above zero loses its sign in KenLM's blanks
                fields.append(f"{rng.uniform(-2, highest):.7g}")
            lines.append("\t".join(fields))
        lines.append("")
    return "\n".join([*lines, "\\end\\", ""])
