"""`nightshift transcribe INPUT OUTPUT`: a run, or its resumption. `nightshift transcribe FILE...`: texts on stdout."""

import argparse
import json
import sys
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from jobs import options as shared
from jobs import show
from jobs.errors import GO_ON
from pipeline import store
from pipeline.config import Config, ScoreConfig
from pipeline.errors import UsageError
from pipeline.records import without_query
from pipeline.sources.entries import is_audio
from pipeline.sources.found import find, is_pattern

if TYPE_CHECKING:
    from pipeline.decode.settings import DecodeSettings
    from pipeline.request import Request
    from pipeline.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="INPUT",
        help=f"{shared.INPUT}; then the run directory; or audio files alone",
    )
    shared.add_config_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete the run that is there and start afresh")
    parser.add_argument("--retry-failed", action="store_true", help="try the recordings that failed again")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line of stdout one object")


def run(options: argparse.Namespace) -> int:
    config = shared.config_of(options)
    if all(is_audio(without_query(path)) for path in options.paths):
        if options.overwrite or options.retry_failed or options.keep_emissions:
            raise UsageError(
                "--overwrite, --retry-failed and --keep-emissions are for runs; to start one, name a run directory last"
            )
        return _print_texts(
            _expanded(options.paths, config.read.storage_deadline_s)[: config.read.limit], config, options.json
        )
    if len(options.paths) != 2:
        raise UsageError(
            "give an input and a run directory (nightshift transcribe INPUT OUTPUT), or audio files alone; "
            f"got {' '.join(options.paths)}"
        )
    return _transcribe(options, config)


def _transcribe(options: argparse.Namespace, config: Config) -> int:
    from pipeline.request import Request

    source, target = options.paths
    return drive_and_show(Request(source, target, config, options.overwrite, options.retry_failed), options.json)


def drive_and_show(request: "Request", as_json: bool) -> int:
    """A run, its summary on stdout, and the exit code that it comes to."""
    from pipeline.drive import drive
    from pipeline.progress import Progress

    config = request.config
    try:
        with Progress(config.run.log_every_s) as progress:
            result = drive(request, progress)
    except KeyboardInterrupt:
        print(f"nightshift: interrupted; {GO_ON}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        show.summary(result)
    if result.session is None:
        hint = "; --retry-failed tries those that failed again" if result.tally.num_failed else ""
        print(f"nightshift: the run was complete: nothing was left to do{hint}", file=sys.stderr)
    if not result.tally.num_ok:
        print("nightshift: not one recording was transcribed", file=sys.stderr)
        return 1
    if has_failed_too_often(result, config.run.max_failed_share):
        return 1
    return 0 if result.complete else 1


def has_failed_too_often(result: "Summary", limit: float | None) -> bool:
    """More recordings than a share that was set; that is said."""
    if limit is None or result.failed_share <= limit:
        return False
    told = f"{result.failed_share:.2%} of the recordings failed, more than run.max_failed_share={limit}"
    print(f"nightshift: {told}", file=sys.stderr)
    return True


def _expanded(paths: list[str], deadline_s: float) -> list[str]:
    """With the globs that no shell has expanded, because they are quoted or lie in object storage."""
    expanded = []
    for path in paths:
        files, there = store.locate(path)
        if is_pattern(files, there):
            matching = find(path, deadline_s=deadline_s)
            expanded += [matching.url_of(file) for file in matching.listed]
        else:
            expanded.append(path)
    return expanded


def _idle_scoring(config: Config) -> list[str]:
    names = [key.name for key in fields(config.score) if getattr(config.score, key.name) != key.default]
    told = f"{', '.join(f'score.{name}' for name in names)} without effect: files alone have no references"
    return [told] if names else []


def _compile(settled: "DecodeSettings") -> None:
    """The first time it takes so long that a user would wonder."""
    from pipeline.decode.backends import warm_up
    from pipeline.request import COMPILING

    warm_up(settled, compiling=lambda: print(f"nightshift: {COMPILING}", file=sys.stderr))


def _print_texts(paths: list[str], config: Config, as_json: bool) -> int:
    """In this process, without Ray: what one types first."""
    from pipeline import score
    from pipeline.carry import in_process
    from pipeline.decode.settings import settle
    from pipeline.plan import texts
    from pipeline.records import Recording
    from pipeline.request import doubts
    from pipeline.sources.channels import expand
    from pipeline.sources.entries import Entry, Piece
    from pipeline.text.vocabulary import Vocabulary
    from pipeline.unit import Unit

    vocabulary = Vocabulary.of_model(config.encode.model, config.encode.language)
    settled, scoring = settle(config.decode, vocabulary), score.settle(config.score, vocabulary)
    show.warnings(_idle_scoring(config))
    show.warnings(doubts(replace(config, score=ScoreConfig()), settled, scoring, vocabulary))
    if settled.decoder == "native":
        _compile(settled)
    pieces = expand((Piece([Entry(without_query(path), path)]) for path in paths), config.read)
    entries = (entry for piece in pieces for entry in piece.entries)
    units = (Unit(number, [Recording(id=e.id, uri=e.uri, cut=e.cut)]) for number, e in enumerate(entries))
    named = len(paths) > 1 or config.read.channels == "each"
    num_failed = 0
    for unit in in_process(texts(config, settled), units):
        unit.finish()
        (recording,) = unit.recordings
        num_failed += recording.status == "failed"
        if as_json:
            print(json.dumps(show.as_json(recording), ensure_ascii=False), flush=True)
        elif recording.status == "failed":
            detail = f" ({recording.error_detail})" if recording.error_detail else ""
            print(f"nightshift: {recording.id}: {recording.error}{detail}", file=sys.stderr)
        else:
            name = f"{recording.id}: " if named else ""
            print(f"{name}{recording.text}", flush=True)
    return 1 if num_failed else 0
