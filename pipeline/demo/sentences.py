"""Text that is on every machine: the prose of installed Python packages as plain upper-case sentences.

Docstrings and comments are read from the files, nothing is imported; what is held out for tests is decided by a hash of
the sentence itself. Knows nothing of language models or audio.
"""

import ast
import gzip
import hashlib
import importlib.metadata
import json
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# What Nightshift's dependencies bring along and has the most prose; a package that is missing is passed over.
PACKAGES = (
    *("numpy", "torch", "ray", "pandas", "pyarrow", "numba", "datasets", "huggingface_hub", "fsspec", "s3fs"),
    *("sympy", "networkx", "mpmath", "aiohttp", "aiobotocore", "rich", "jinja2", "requests", "urllib3", "click"),
    *("filelock", "packaging", "anyio", "jsonschema", "dateutil", "pip", "setuptools"),
)
SKIPPED = {"test", "tests", "testing", "site-packages", "idlelib", "__pycache__"}
HELD_OUT_SHARE = 0.03
MIN_WORDS, MAX_WORDS = 3, 30
MAX_SERVICE_SHARE = 1 / 3  # of all words; botocore's alone would be most of the text

_COMMENT = re.compile(r"^[ \t]*#[:!]?[ \t]?(.*)$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[\"')]*\s+")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z][a-z]*(?:'[a-z]+)*|[A-Z]+")
_SHORT_FORMS = ((re.compile(r"\be\.g\.,?", re.I), "for example"), (re.compile(r"\bi\.e\.,?", re.I), "that is"))
_JOINTS = re.compile(r"(?<=[A-Za-z])(?:[-/]|--|\u2013|\u2014)(?=[A-Za-z])|\s(?:-|--|\u2013|\u2014)\s")
_AROUND = "\"'`*()[]{}<>,.;:!?\u201c\u201d"
_ONE_LETTER_WORDS = {"A", "I"}
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Corpus:
    train: list[str]
    held_out: list[str]  # in the order of their hashes: any first few are a sample of all
    num_train_words: int
    num_held_out_words: int


def corpus() -> Corpus:
    """All sentences of this installation, each once; takes about half a minute."""
    sources = _unique(sentence for text in _source_prose() for sentence in sentences(text))
    num_words = sum(map(_num_words, sources))
    services = _unique(sentence for text in _service_prose() for sentence in sentences(text))
    taken = _up_to(int(num_words * MAX_SERVICE_SHARE / (1 - MAX_SERVICE_SHARE)), services)
    return split([*sources, *taken])


def split(found: Iterable[str]) -> Corpus:
    """Training sentences in their order, and those held out: no sentence is in both, whatever else was found."""
    train: list[str] = []
    held_out: list[str] = []
    for sentence in dict.fromkeys(found):
        (held_out if is_held_out(sentence) else train).append(sentence)
    held_out.sort(key=_hash)
    return Corpus(train, held_out, sum(map(_num_words, train)), sum(map(_num_words, held_out)))


def is_held_out(sentence: str) -> bool:
    return _hash(sentence) < HELD_OUT_SHARE * 2**64


def sentences(text: str) -> Iterator[str]:
    """The sentences of a docstring or comment that are nothing but words; examples, tables and formulas fall out."""
    for paragraph in _PARAGRAPH_END.split(_LIST_ITEM.sub("\n\n", text)):
        if ">>>" in paragraph:
            continue
        for pattern, words in _SHORT_FORMS:
            paragraph = pattern.sub(words, paragraph)
        for piece in _SENTENCE_END.split(" ".join(paragraph.split())):
            if (sentence := normalise(piece)) is not None:
                yield sentence


def normalise(sentence: str) -> str | None:
    """Upper-case words of A-Z and apostrophes, one space apart; None where something in it is not a plain word."""
    words = []
    for token in _JOINTS.sub(" ", sentence.replace("\u2019", "'")).split():
        word = token.strip(_AROUND)
        if not _WORD.fullmatch(word) or (len(word) == 1 and word.upper() not in _ONE_LETTER_WORDS):
            return None
        words.append(word.upper())
    return " ".join(words) if MIN_WORDS <= len(words) <= MAX_WORDS else None


def fingerprint() -> str:
    """Changes when an installed package or this module does: then the text is another."""
    installed = sorted({(d.name, d.version) for d in importlib.metadata.distributions()})
    recipe = Path(__file__).read_bytes() + repr((sys.version_info[:3], installed)).encode()
    return hashlib.sha256(recipe).hexdigest()[:16]


def prose(source: str) -> Iterator[str]:
    """The docstrings of a module and its comments, those on adjoining lines as one text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return  # templates and sources for other versions of Python
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
    block: list[str] = []
    line, last_line, position = 0, -1, 0
    for match in _COMMENT.finditer(source):
        line += source.count("\n", position, match.start())
        position = match.start()
        if line != last_line + 1 and block:
            yield "\n".join(block)
            block = []
        block.append(match[1])
        last_line = line
    yield "\n".join(block)


def _source_roots() -> list[Path]:
    paths = sysconfig.get_paths()
    return [Path(paths["stdlib"]), *(Path(paths["purelib"]) / name for name in PACKAGES)]


def _source_prose() -> Iterator[str]:
    for root in _source_roots():
        for path in sorted(root.rglob("*.py")):
            if SKIPPED.isdisjoint(path.relative_to(root).parts):
                yield from prose(path.read_text(errors="replace"))


def _service_prose() -> Iterator[str]:
    """The documentation in the service descriptions of botocore, which s3fs brings: the most prose there is."""
    root = Path(sysconfig.get_paths()["purelib"]) / "botocore" / "data"
    for path in sorted(root.rglob("service-2.json.gz")):
        yield from _documentation(json.loads(gzip.decompress(path.read_bytes())))


def _documentation(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "documentation" and isinstance(value, str):
                yield _TAG.sub("\n\n", value.replace("<code>", "`").replace("</code>", "`"))
            else:
                yield from _documentation(value)
    elif isinstance(node, list):
        for value in node:
            yield from _documentation(value)


def _unique(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(found))


def _up_to(num_words: int, found: list[str]) -> list[str]:
    """As many sentences as have so many words, chosen by their hashes and left in their order."""
    chosen, count = set(), 0
    for sentence in sorted(found, key=lambda sentence: _hash(f"{sentence} ")):  # not by what decides of holding out
        count += _num_words(sentence)
        if count > num_words:
            break
        chosen.add(sentence)
    return [sentence for sentence in found if sentence in chosen]


def _num_words(sentence: str) -> int:
    return sentence.count(" ") + 1


def _hash(sentence: str) -> int:
    return int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest(), "big")
