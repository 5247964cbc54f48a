"""A shard's members by the names that the lines of a NeMo manifest have for them.

Knows nothing of the lines.
"""

import posixpath
import re
from collections import defaultdict

from pipeline.shards.tars import Member
from pipeline.sources.tarred import is_recording

_SUB = re.compile(r"-sub\d+(?=(\.[^./]*)?$)")  # of a line that is another cut of a member


class Members:
    """Those of a shard by the names that lines have for them: their own, else another spelling of the path, else, as
    NeMo has it, the base name without the extension, where it is one member's alone.
    """

    def __init__(self, members: list[Member]) -> None:
        self._named = {member.name: member for member in members}  # of several of one name the last, as tar has it
        self._by_path = {posixpath.normpath(name): member for name, member in self._named.items()}
        self._by_stem: dict[str, list[Member]] = defaultdict(list)
        for name, member in self._by_path.items():
            if is_recording(member):
                self._by_stem[_stem(name)].append(member)

    def of(self, path: str) -> Member | None:
        for name in dict.fromkeys((path, _SUB.sub("", path))):
            if member := self._named.get(name) or self._by_path.get(posixpath.normpath(name)):
                return member
        for name in dict.fromkeys((path, _SUB.sub("", path))):
            if len(found := self._by_stem.get(_stem(name), [])) == 1:
                return found[0]
        return None


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]
