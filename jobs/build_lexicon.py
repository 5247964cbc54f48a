"""`nightshift build-lexicon WORDS OUT`: how words sound, by espeak or by a lexicon, and what of it fits a model."""

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jobs import show
from jobs.phases import Phases
from pipeline.errors import UsageError
from pipeline.progress import clock

if TYPE_CHECKING:
    from pipeline.decode.phones.fit import Fitted
    from pipeline.text.phone_map import PhoneMap
    from pipeline.text.pronunciations import Entry

AT_ONCE = 2000  # words between two lines of progress: a tenth of a second


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="WORDS",
        help="a file of words, one a line, a language model (KenLM or ARPA) or a lexicon, by path or URL",
    )
    parser.add_argument("output", metavar="OUT", help="the lexicon; gzipped where its name ends in .gz")
    told = "as espeak names it, such as en-us; without it WORDS is a lexicon, whose phones are kept"
    parser.add_argument("--language", metavar="L", help=told)
    parser.add_argument(
        "--phone-map", metavar="FILE", help="a phone map: lines of a phone and those to write in its place"
    )
    parser.add_argument("--model", metavar="M", help="say what of the lexicon this phone model cannot emit")
    told = "with --model: write the phone map that would mend it, as far as can be guessed"
    parser.add_argument("--write-phone-map", metavar="FILE", help=told)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT and FILE where they exist")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace) -> int:
    from pipeline.text.phone_map import phone_map_text, read_phone_map
    from pipeline.text.pronunciations import lexicon_text

    began = time.monotonic()
    if options.write_phone_map and not options.model:
        raise UsageError("--write-phone-map writes what fits a model: give --model too")
    _check_free([options.output, *filter(None, [options.write_phone_map])], options.overwrite)
    entries, left_out = _pronounced(options.words, options.language)
    if options.phone_map:
        entries = _mapped(entries, read_phone_map(options.phone_map))
    fit = _fit(entries, options.model) if options.model else None
    figures = _figures(entries, left_out) | {"output": options.output, "fit": fit and _fit_figures(fit)}
    figures["bytes"] = _write(options.output, lexicon_text(entries))
    if fit is not None and options.write_phone_map:
        _write(options.write_phone_map, phone_map_text(fit.suggestion))
        figures["map_lines"] = len(fit.suggestion)
    figures["wall_s"] = time.monotonic() - began
    if options.json:
        print(json.dumps(figures))
    else:
        _print(figures, options.write_phone_map)
    if fit is not None:
        show.warnings(fit.warnings())
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


def _pronounced(location: str, language: str | None) -> tuple[list["Entry"], Counter[str]]:
    """The lexicon, and how many words were left out by the reason why."""
    from pipeline.decode.options import MARKS
    from pipeline.text.pronunciations import Entry, is_writable

    words, entries = _read(location, language)
    left_out = Counter({"that are marks of language models": len(MARKS.intersection(words))})
    if language is None:
        if entries is None:
            raise UsageError(f"{location} holds words alone: give --language, so that espeak says how they sound")
        if not (spoken := [entry for entry in entries if entry.word not in MARKS]):
            raise UsageError(f"{location}: no words in it but marks of language models")
        return spoken, +left_out
    words = [word for word in words if word not in MARKS]
    writable = [word for word in words if is_writable(word)]
    left_out["not to be written in a lexicon"] = len(words) - len(writable)
    said = _said(writable, language)
    entries = [Entry(word, phones) for word, phones in zip(writable, said, strict=True) if phones]
    left_out["of which espeak says nothing"] = len(writable) - len(entries)
    if not entries:
        raise UsageError(f"{location}: espeak says nothing of any of its words in the language {language}")
    return entries, +left_out


def _read(location: str, language: str | None) -> tuple[list[str], "list[Entry] | None"]:
    """The words, each once; and their pronunciations where it is a lexicon."""
    from pipeline.decode.options import MARKS
    from pipeline.text.lines import contents, numbered, pieces
    from pipeline.text.pronunciations import parse_lexicon, uncommented

    if _is_language_model(location):
        from pipeline.lm.model import LanguageModel

        return [word for word in LanguageModel.open(location).words() if word not in MARKS], None
    data = contents(location, "words")
    lines = {number: columns for number, line in numbered(data, location) if (columns := pieces(uncommented(line)))}
    several = next((number for number, line in lines.items() if len(line) > 1), None)
    alone = next((number for number, line in lines.items() if len(line) == 1), None)
    if several and alone and language:
        raise UsageError(
            f"{location} line {several}: {' '.join(lines[several])!r} are several words, line {alone} is one alone; "
            "a line of a list is a word, that of a lexicon a word and its phones"
        )
    if several:
        entries = parse_lexicon(data, location)
        return list(dict.fromkeys(entry.word for entry in entries)), entries
    if not lines:
        raise UsageError(f"{location}: no words in it")
    return list(dict.fromkeys(line[0] for line in lines.values())), None


def _is_language_model(location: str) -> bool:
    from pipeline.lm.cache import local_copy
    from pipeline.lm.recognise import kind_of

    try:
        kind_of(location, local_copy(location))
    except UsageError:  # of what is none, its lines tell more
        return False
    return True


def _said(words: Sequence[str], language: str) -> list[tuple[str, ...]]:
    """The phones of each word. Where words are in upper case, of its lower case: espeak spells IT and US by letters."""
    from pipeline.text.espeak import Phonemizer

    phonemizer = Phonemizer(language)
    num_upper, num_lower = (sum(map(kind, words)) for kind in (str.isupper, str.islower))
    spoken = [word.lower() for word in words] if num_upper > num_lower else words
    said: list[tuple[str, ...]] = []
    with Phases() as phases:
        for first in range(0, len(words), AT_ONCE):
            phases.tell(f"espeak ({language}): {first:,} of {len(words):,} words")
            said += phonemizer.pronunciations(spoken[first : first + AT_ONCE])
    return said


def _mapped(entries: Sequence["Entry"], mapping: "PhoneMap") -> list["Entry"]:
    from pipeline.text.phone_map import mapped_phones
    from pipeline.text.pronunciations import Entry

    mapped = dict.fromkeys(Entry(word, mapped_phones(phones, mapping)) for word, phones in entries)
    if silenced := [word for word, phones in mapped if not phones]:
        raise UsageError(f"the phone map leaves nothing of {silenced[0]!r}: a lexicon has no word without phones")
    return list(mapped)


def _fit(entries: Sequence["Entry"], model: str) -> "Fitted":
    from pipeline.decode.phones.fit import examined
    from pipeline.models.locate import SETTINGS, checkpoint_directory
    from pipeline.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.from_pretrained(checkpoint_directory(model, SETTINGS))
    if not vocabulary.phonemes:
        raise UsageError(f"{model} writes letters, not phones: it needs no lexicon")
    return examined(entries, vocabulary)


def _write(location: str, data: bytes) -> int:
    from pipeline.store import Folder
    from pipeline.text.pronunciations import packed

    data = packed(data, location)
    try:
        Folder(os.path.dirname(location) or ".").publish(os.path.basename(location), data)
    except OSError as error:
        raise UsageError(f"{location}: cannot be written: {error.strerror or error}") from error
    return len(data)


def _figures(entries: Sequence["Entry"], left_out: Counter[str]) -> dict[str, Any]:
    alike = Counter(phones for _, phones in entries)
    return {
        "words": len({word for word, _ in entries}),
        "pronunciations": len(entries),
        "phones": len({phone for _, phones in entries for phone in phones}),
        "homophone_sets": sum(num > 1 for num in alike.values()),
        "homophones": len({word for word, phones in entries if alike[phones] > 1}),
        "left_out": dict(left_out),
    }


def _fit_figures(fit: "Fitted") -> dict[str, Any]:
    return {
        "words": fit.num_words,
        "missing": [asdict(missing) for missing in fit.missing],
        "unreachable": fit.num_unreachable,
        "narrowed": fit.num_narrowed,
        "mended": fit.num_mended,
    }


def _print(figures: dict[str, Any], map_file: str | None) -> None:
    rows = [
        ("words", f"{figures['words']:,}, said in {figures['pronunciations']:,} ways"),
        ("phones", f"{figures['phones']:,}"),
        ("homophones", f"{figures['homophones']:,} words, {figures['homophone_sets']:,} sounds between them"),
        *(("left out", f"{num:,} words {why}") for why, num in figures["left_out"].items()),
    ]
    if (fit := figures["fit"]) is not None:
        found = fit["words"] - fit["unreachable"]
        rows.append(("fit", f"{found:,} of {fit['words']:,} words can be found with the model"))
    if map_file:
        told = f"{figures['map_lines']:,} lines: guesses, look them through" if figures["map_lines"] else "empty"
        rows.append(("phone map", f"{map_file}, {told}"))
    rows.append(("output", f"{figures['output']}, {figures['bytes']:,} bytes"))
    rows.append(("time", clock(figures["wall_s"])))
    show.table(rows)
