"""`nightshift build-lexicon WORDS OUT`: how words sound, by espeak or by a lexicon, and what of it fits a model."""

import argparse
import json
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jobs import show
from jobs.phases import Phases
from pipeline.errors import UsageError
from pipeline.progress import clock

if TYPE_CHECKING:
    from pipeline.decode.phones.fit import Fitted
    from pipeline.text.espeak import Phonemizer
    from pipeline.text.in_sentences import Heard
    from pipeline.text.phone_map import PhoneMap
    from pipeline.text.pronunciations import Entry
    from pipeline.text.vocabulary import Vocabulary

AT_ONCE = 2000  # words between two lines of progress: a tenth of a second
NUM_EXAMPLES = 3  # of words left out
ARE_MARKS = "marks, which nobody says"
_MARK = re.compile(r"<[^<>]+>")  # in lists of words: <unk>, <s>, <noise>


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="WORDS",
        help="with --language words, one a line, or a language model (KenLM or ARPA); without it a lexicon; "
        "by path or URL",
    )
    parser.add_argument("output", metavar="OUT", help="the lexicon; gzipped where its name ends in .gz")
    told = "as espeak names it, such as en-us; without it WORDS is a lexicon, whose phones are kept"
    parser.add_argument("--language", metavar="L", help=told)
    told = "sentences, one a line: words get the ways they are said there too, as function words have others than alone"
    parser.add_argument("--text", metavar="FILE", help=told)
    parser.add_argument(
        "--phone-map", metavar="FILE", help="a phone map: lines of a phone and those to write in its place"
    )
    parser.add_argument("--model", metavar="M", help="say what of the lexicon this phone model cannot emit")
    told = "with --model: write the phone map that would mend it, as far as can be guessed"
    parser.add_argument("--write-phone-map", metavar="FILE", help=told)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT and FILE where they exist")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace) -> int:
    from pipeline.decode.phones.fit import examined
    from pipeline.text.phone_map import phone_map_text, read_phone_map, untouched
    from pipeline.text.pronunciations import lexicon_text

    began = time.monotonic()
    if options.text and not options.language:
        raise UsageError("--text is for espeak to say: give --language too")
    if options.write_phone_map and not options.model:
        raise UsageError("--write-phone-map writes what fits a model: give --model too")
    _check_free([options.output, *filter(None, [options.write_phone_map])], options.overwrite)
    vocabulary = _vocabulary(options.model) if options.model else None
    mapping = read_phone_map(options.phone_map) if options.phone_map else {}
    pronounced = _said_by_espeak(options) if options.language else _kept(options.words)
    unmapped = {phone for _, phones in pronounced.entries for phone in phones}
    entries = _mapped(pronounced.entries, mapping)
    fit = examined(entries, vocabulary) if vocabulary else None
    figures = _figures(entries, pronounced) | {"output": options.output, "fit": fit and _fit_figures(fit)}
    figures["bytes"] = _write(options.output, lexicon_text(entries))
    if fit is not None and options.write_phone_map:
        _write(options.write_phone_map, phone_map_text(fit.suggestion))
        figures["map_lines"] = len(fit.suggestion)
    figures["wall_s"] = time.monotonic() - began
    if options.json:
        print(json.dumps(figures))
    else:
        _print(figures, options.write_phone_map)
    map_fault = untouched(mapping, unmapped)
    show.warnings([*filter(None, [map_fault]), *(fit.warnings() if fit else [])])
    return 0


def _check_free(locations: list[str], overwrite: bool) -> None:
    """Before the work, which with a name that cannot be written would be in vain."""
    from pipeline import store

    for location in locations:
        files, path = store.locate(location)
        if files.isdir(path):
            raise UsageError(f"{location}: a folder; name a file")
        if not overwrite and files.exists(path):
            raise UsageError(f"{location} exists; set --overwrite to replace it")
    if len(locations) > 1 and store.overlap(*locations):
        raise UsageError(f"OUT and --write-phone-map are one place, {locations[0]}; name two files")


@dataclass(frozen=True)
class _Pronounced:
    entries: list["Entry"]
    left_out: dict[str, list[str]]  # words by the reason why
    heard: "Heard | None" = None  # in sentences


def _kept(location: str) -> _Pronounced:
    """A lexicon's own phones."""
    from pipeline.decode.options import MARKS
    from pipeline.text.lines import contents
    from pipeline.text.pronunciations import parse_lexicon

    if _is_language_model(location):
        raise UsageError(f"{location} is a language model: give --language, so that espeak says how its words sound")
    entries = parse_lexicon(contents(location, "lexicon"), location)
    if not (spoken := [entry for entry in entries if entry.word not in MARKS]):
        raise UsageError(f"{location}: no words in it but marks of language models")
    return _Pronounced(spoken, {ARE_MARKS: list(dict.fromkeys(word for word, _ in entries if word in MARKS))})


def _said_by_espeak(options: argparse.Namespace) -> _Pronounced:
    from pipeline.text.espeak import Phonemizer
    from pipeline.text.in_sentences import heard, in_capitals
    from pipeline.text.lines import contents, numbered
    from pipeline.text.pronunciations import Entry, is_writable

    phonemizer = Phonemizer(options.language)
    lines = [line for _, line in numbered(contents(options.text, "text"), options.text)] if options.text else []
    listed = _words(options.words)
    words = [word for word in listed if is_writable(word) and not _MARK.fullmatch(word)]
    left_out = {
        ARE_MARKS: [word for word in listed if _MARK.fullmatch(word)],
        "a lexicon cannot hold them (white space, a comment's sign, a number in brackets)": [
            word for word in listed if not is_writable(word)
        ],
    }
    spoken = [word.lower() for word in words] if in_capitals(words) else words
    with Phases() as phases:
        alone = _alone(spoken, phonemizer, phases)
        found = None
        if options.text:
            named = f"espeak ({options.language}), sentences"
            found = heard(spoken, lines, phonemizer, lambda *done: phases.tell("{}: {:,} of {:,}".format(named, *done)))
            phases.tell(f"{named} are done: {found.num_parts:,} parts of them")
    entries = [
        Entry(word, phones)
        for word, key, own in zip(words, spoken, alone, strict=True)
        for phones in (found.said(key, own) if found else [own])
        if own
    ]
    left_out["espeak says nothing"] = [word for word, own in zip(words, alone, strict=True) if not own]
    if not entries:
        raise UsageError(f"{options.words}: espeak says nothing of any of its words in the language {options.language}")
    return _Pronounced(entries, left_out, found)


def _words(location: str) -> list[str]:
    """Of a list or of a language model, each once."""
    from pipeline.decode.options import MARKS
    from pipeline.text.lines import contents, numbered, pieces
    from pipeline.text.pronunciations import uncommented

    if _is_language_model(location):
        from pipeline.lm.model import LanguageModel

        return [word for word in LanguageModel.open(location).words() if word not in MARKS]
    words: dict[str, None] = {}
    for number, line in numbered(contents(location, "words"), location):
        if len(columns := pieces(uncommented(line))) > 1:
            raise UsageError(
                f"{location} line {number}: {' '.join(columns)!r} is more than a word; with --language a line is one "
                "word (without it WORDS is a lexicon, whose phones are kept; sentences are for --text)"
            )
        words |= dict.fromkeys(columns)
    if not words:
        raise UsageError(f"{location}: no words in it")
    return list(words)


def _is_language_model(location: str) -> bool:
    from pipeline.lm.cache import local_copy
    from pipeline.lm.recognise import kind_of

    try:
        kind_of(location, local_copy(location))
    except UsageError:  # of what is none, its lines tell more
        return False
    return True


def _alone(words: Sequence[str], phonemizer: "Phonemizer", phases: Phases) -> list[tuple[str, ...]]:
    """The phones of each word said alone."""
    said: list[tuple[str, ...]] = []
    for first in range(0, len(words), AT_ONCE):
        phases.tell(f"espeak ({phonemizer.language}): {first:,} of {len(words):,} words")
        said += phonemizer.pronunciations(words[first : first + AT_ONCE])
    phases.tell(f"espeak ({phonemizer.language}) is done: {len(words):,} of {len(words):,} words")
    return said


def _mapped(entries: Sequence["Entry"], mapping: "PhoneMap") -> list["Entry"]:
    from pipeline.text.phone_map import mapped_phones
    from pipeline.text.pronunciations import Entry

    mapped = dict.fromkeys(Entry(word, mapped_phones(phones, mapping)) for word, phones in entries)
    if silenced := [word for word, phones in mapped if not phones]:
        raise UsageError(f"the phone map leaves nothing of {silenced[0]!r}: a lexicon has no word without phones")
    return list(mapped)


def _vocabulary(model: str) -> "Vocabulary":
    from pipeline.models.locate import SETTINGS, checkpoint_directory
    from pipeline.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.from_pretrained(checkpoint_directory(model, SETTINGS))
    if not vocabulary.phonemes:
        raise UsageError(f"{model} writes letters, not phones: it needs no lexicon")
    return vocabulary


def _write(location: str, data: bytes) -> int:
    from pipeline.store import Folder
    from pipeline.text.pronunciations import packed

    data = packed(data, location)
    try:
        Folder(os.path.dirname(location) or ".").publish(os.path.basename(location), data)
    except OSError as error:
        raise UsageError(f"{location}: cannot be written: {error.strerror or error}") from error
    return len(data)


def _figures(entries: Sequence["Entry"], pronounced: _Pronounced) -> dict[str, Any]:
    heard = pronounced.heard
    alike = Counter(phones for _, phones in entries)
    return {
        "words": len({word for word, _ in entries}),
        "pronunciations": len(entries),
        "phones": len({phone for _, phones in entries for phone in phones}),
        "homophone_sets": sum(num > 1 for num in alike.values()),
        "homophones": len({word for word, phones in entries if alike[phones] > 1}),
        "left_out": {
            why: {"words": len(words), "examples": words[:NUM_EXAMPLES]}
            for why, words in pronounced.left_out.items()
            if words
        },
        "text": heard and {"parts": heard.num_parts, "unmatched": heard.num_unmatched, "words": len(heard.ways)},
    }


def _fit_figures(fit: "Fitted") -> dict[str, Any]:
    return {
        "words": fit.num_words,
        "missing": [asdict(missing) for missing in fit.missing],
        "unreachable": fit.num_unreachable,
        "narrowed": fit.num_narrowed,
        "mended": fit.num_mended,
    }


def _told_left_out(why: str, words: int, examples: list[str]) -> str:
    named = ", ".join(examples).encode("utf-8", "backslashreplace").decode()  # a language model's may be any bytes
    return f"{words:,} word{'s' * (words != 1)} ({named}{', ...' * (words > len(examples))}): {why}"


def _print(figures: dict[str, Any], map_file: str | None) -> None:
    rows = [
        ("words", f"{figures['words']:,}, said in {figures['pronunciations']:,} ways"),
        ("phones", f"{figures['phones']:,}"),
        ("homophones", f"{figures['homophones']:,} words, {figures['homophone_sets']:,} sounds between them"),
        *(("left out", _told_left_out(why, **which)) for why, which in figures["left_out"].items()),
    ]
    if (text := figures["text"]) is not None:
        told = f"{text['words']:,} words heard in {text['parts']:,} parts of sentences"
        rows.append(("text", f"{told}, {text['unmatched']:,} not used: words run together or numbers"))
    if (fit := figures["fit"]) is not None:
        found = fit["words"] - fit["unreachable"]
        rows.append(("fit", f"{found:,} of {fit['words']:,} words can be found with the model"))
    if map_file:
        told = f"{figures['map_lines']:,} lines: guesses, look them through" if figures["map_lines"] else "empty"
        rows.append(("phone map", f"{map_file}, {told}"))
    rows.append(("output", f"{figures['output']}, {figures['bytes']:,} bytes"))
    rows.append(("time", clock(figures["wall_s"])))
    show.table(rows)
