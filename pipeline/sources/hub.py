"""Datasets on the Hugging Face hub by name: which of its files a configuration and a split are, at one commit.

Nothing is downloaded but the dataset's card: the files are read where they are, by the sources for what they are.
"""

import logging
import os
import posixpath
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.patience import status_of
from pipeline.sources.entries import Source
from pipeline.sources.found import File, Files, Found, Tell

T = TypeVar("T")

ROOT = "hf://datasets/"
SYNTAX = "ORG/NAME[@REVISION][:CONFIG[:SPLIT]]"
TOKEN = "set HF_TOKEN to a token that may read it, or log in with `hf auth login`"
FIRST_S = 10.0  # the hub is asked for so long before it is said to be out of reach
_REVISION = r"@(?P<revision>refs/(?:convert|pr)/[^/:]+|[^/:]+)"
_NAME = rf"(?P<name>[\w.-]+/[\w.-]+)(?:{_REVISION})?"
_DATASET = re.compile(rf"(?:{ROOT})?{_NAME}(?::(?P<config>[^:/]*))?(?::(?P<splits>[^:/]+))?/?", re.ASCII)
_FILES = re.compile(rf"{ROOT}{_NAME}(?P<path>/.+)?", re.ASCII)


class Named(NamedTuple):
    """What a name says."""

    repository: str
    revision: str | None
    config: str | None  # None: the only one
    splits: list[str]  # none: the only one

    @classmethod
    def parse(cls, url: str) -> "Named":
        found = _DATASET.fullmatch(url)
        if found is None:
            raise UsageError(
                f"{url}: give a dataset of the hub as {SYNTAX}; what lies in it, as {ROOT}ORG/NAME/PATH without "
                "--source hub"
            )
        splits = found["splits"].split("+") if found["splits"] else []
        return cls(found["name"], _unquoted(found["revision"]), found["config"] or None, splits)


def is_name(url: str) -> bool:
    """Whether it is written like the name of a dataset; a path of two steps is, too."""
    return _DATASET.fullmatch(url) is not None


def hub_source(url: str, config: ReadConfig, tell: Tell) -> Source:
    from pipeline.sources.recognise import source_of

    return source_of(hub_found(url, config, tell), config)


def pinned(url: str, config: ReadConfig) -> str:
    """A URL of files in a dataset, at the commit of now: what is added later is no part of a run, nor what changes."""
    found = _FILES.fullmatch(url)
    if found is None:
        return url
    info = _info(url, Named(found["name"], _unquoted(found["revision"]), None, []), config)
    return f"{ROOT}{found['name']}@{info.sha}{found['path'] or ''}"


def hub_found(url: str, config: ReadConfig, tell: Tell) -> Found:
    """The files of the dataset of that name."""
    named = Named.parse(url)
    tell(f"asking the hub for {named.repository}")
    info = _info(url, named, config)
    script = f"{posixpath.basename(named.repository)}.py"
    if any(file.rfilename == script for file in info.siblings or ()):
        raise UsageError(
            f"{url}: its files are found by a program ({script}), which is not run here: nothing from a data set is. "
            f"Try {named.repository}@refs/convert/parquet, the hub's own copy, or a dataset without one"
        )
    urls = _data_files(url, named, info.sha, config)
    root = f"{ROOT}{named.repository}@{info.sha}"
    if elsewhere := next((one for one in urls if not one.startswith(f"{root}/")), None):
        raise UsageError(f"{url}: lists {elsewhere.partition('?')[0]}, which is not in it; give that by its own URL")
    files, path = store.locate(root)
    paths = sorted({files._strip_protocol(one) for one in urls})
    listed = _asked(url, lambda: _listed(files, paths), config.storage_deadline_s)
    return Found(url, files, path, Files.of(listed, tell), len(listed) == 1, tell)


def _listed(files: Any, paths: list[str]) -> list[File]:
    infos = files.find(posixpath.commonpath([posixpath.dirname(path) for path in paths]), detail=True)
    found = (infos.get(path) or files.info(path) for path in paths)
    return [File(info["name"], info["size"], store.version_of(info)) for info in found]


def _unquoted(revision: str | None) -> str | None:
    """A branch with a / in its name has it quoted, as in the hub's URLs."""
    return None if revision is None else unquote(revision)


def _info(url: str, named: Named, config: ReadConfig) -> Any:
    """What the hub knows of a dataset, if it is one that may be read."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        raise UsageError(f"{url}: HF_HUB_OFFLINE is set, and the hub cannot be asked")

    def ask() -> Any:
        info = HfApi().dataset_info(named.repository, revision=named.revision)
        if info.gated:
            HfApi().auth_check(named.repository, repo_type="dataset")
        return info

    return _asked(url, ask, min(FIRST_S, config.storage_deadline_s))


def _data_files(url: str, named: Named, commit: str, config: ReadConfig) -> list[str]:
    """The URLs of a configuration's files, of the split that is named or the only one."""
    configs, by_split = _asked(url, lambda: _configurations(named, commit), config.storage_deadline_s)
    chosen, splits = _chosen(named, configs)
    base = f"{named.repository}@{named.revision}" if named.revision else named.repository
    if chosen is None:
        wanted = "several configurations" if named.config is None else f"no configuration {named.config}"
        raise UsageError(f"{url}: {wanted}; give one of {_few(f'{base}:{name}' for name in configs)}")
    prefix = base if len(configs) == 1 else f"{base}:{chosen}"
    if not by_split:
        raise UsageError(f"{url}: no files in it that `datasets` takes for data")
    choices = _few(f"{prefix}:{name}" for name in by_split)
    if missing := [name for name in splits if name not in by_split]:
        raise UsageError(f"{url}: no split {missing[0]}; give one of {choices}")
    if not splits and len(by_split) != 1:
        raise UsageError(f"{url}: several splits; give one of {choices}, or some with + between them")
    return [one for split in splits or by_split for one in by_split[split]]


def _configurations(named: Named, commit: str) -> tuple[list[str], dict[str, list[str]]]:
    """The names of all, and the files of the chosen one by split, as `datasets` finds them."""
    import datasets

    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)  # a card need not have settings in it
    repository = f"{ROOT}{named.repository}"  # not the folder of that name here
    with tempfile.TemporaryDirectory() as cache:  # of nothing: else, of a hub that fails, what was once loaded is taken
        configs = datasets.get_dataset_config_names(repository, revision=commit, cache_dir=cache)
        chosen, _ = _chosen(named, configs)
        if chosen is None:
            return configs, {}
        builder = datasets.load_dataset_builder(repository, name=chosen, revision=commit, cache_dir=cache)
        return configs, {str(split): list(urls) for split, urls in (builder.config.data_files or {}).items()}


def _chosen(named: Named, configs: list[str]) -> tuple[str | None, list[str]]:
    """Which configuration and which splits; where there is one configuration, a single word is a split."""
    if named.config in configs:
        return named.config, named.splits
    if len(configs) > 1:
        return None, named.splits
    if named.config is None or not named.splits:
        return configs[0], named.splits or (named.config.split("+") if named.config else [])
    return None, named.splits


def _few(names: Iterable[str]) -> str:
    first, *rest = names
    return ", ".join([first, *rest[:19]]) + (f" and {len(rest) - 19:,} more" if len(rest) > 19 else "")


def _asked(url: str, ask: Callable[[], T], deadline_s: float) -> T:
    """An answer of the hub, or why there is none. What the libraries say may hold addresses: it is not passed on."""
    try:
        return store.patiently(ask, deadline_s)
    except Exception as error:
        if isinstance(error, (OSError, ValueError, RuntimeError)) or store.is_temporary(error):
            raise UsageError(f"{url}: {_reason(error)}") from None
        raise


def _reason(error: BaseException) -> str:
    kinds = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    status = next((status for one in _chain(error) if (status := status_of(one)) is not None), None)
    if "GatedRepoError" in kinds:
        return f"a gated dataset. Ask for access on its page on the hub, and {TOKEN}"
    if "RevisionNotFoundError" in kinds:
        return "the dataset has no such revision (a branch, a tag or a commit)"
    if "RepositoryNotFoundError" in kinds:
        return f"no such dataset on the hub, or one that is not public: for that, {TOKEN}"
    if "DataFilesNotFoundError" in kinds or "EmptyDatasetError" in kinds:
        return "the dataset has no files of a kind that holds data"
    if status in (401, 403):
        return f"the hub does not let these credentials in ({status}): {TOKEN}"
    if status is not None:
        return f"the hub fails ({status}); try again later"
    if store.is_temporary(error) or "ConnectionError" in kinds:
        host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
        return f"the hub ({host}) cannot be reached. Without a network, give a copy of the dataset by its folder"
    return f"the hub's answer makes no sense ({type(error).__name__})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was made of."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__
