"""The phone map: a file that says by which phones of a model a phone of a lexicon is heard.

Two columns and more, `from to [to ...]`: `AH0 ə` renames a phone, `t͡ʃ t ʃ` splits one, `ˈ` alone leaves one out. Knows
nothing of what a model can emit.
"""
# ruff: noqa: RUF002 - signs of the phonetic alphabet are what is meant

from collections.abc import Collection, Mapping, Sequence

from pipeline.errors import UsageError
from pipeline.text.lines import contents, numbered, pieces
from pipeline.text.pronunciations import uncommented

PhoneMap = Mapping[str, tuple[str, ...]]
NUM_EXAMPLES = 3  # phones that a warning names of each


def read_phone_map(location: str) -> PhoneMap:
    """The map in a file by path or URL."""
    return parse_phone_map(contents(location, "phone map"), location)


def parse_phone_map(data: bytes, name: str) -> PhoneMap:
    """Of a file's contents; `name` is what messages call it. It may be empty, as where a lexicon fits without one."""
    found: dict[str, tuple[str, ...]] = {}
    line_of: dict[str, int] = {}
    for number, line in numbered(data, name):
        if not (columns := pieces(uncommented(line))):
            continue
        phone, *to = columns
        if found.setdefault(phone, tuple(to)) != tuple(to):
            raise UsageError(f"{name} line {number}: {phone} is mapped otherwise in line {line_of[phone]}; keep one")
        line_of.setdefault(phone, number)
    return found


def phone_map_text(mapped: PhoneMap) -> bytes:
    """A file's contents."""
    return "".join(f"{line}\n" for line in map_lines(mapped)).encode()


def map_lines(mapped: PhoneMap) -> list[str]:
    return [" ".join((phone, *to)) for phone, to in mapped.items()]


def untouched(mapping: PhoneMap, phones: Collection[str]) -> str | None:
    """A warning where the map says nothing of any phone of a lexicon, as another lexicon's does."""
    if not mapping or not mapping.keys().isdisjoint(phones):
        return None
    its, theirs = (" ".join(sorted(some)[:NUM_EXAMPLES]) for some in (mapping, phones))
    return f"the phone map changes nothing: it maps {its} ..., but the lexicon has {theirs} ...; is it for another one?"


def mapped_phones(phones: Sequence[str], mapping: PhoneMap) -> tuple[str, ...]:
    """What the map does not name stays as it is."""
    return tuple(to for phone in phones for to in mapping.get(phone, (phone,)))
