"""What Lhotse's recordings, supervisions and cuts say, as what of which file is to be heard.

Knows nothing of manifests and of where paths lead. Refuses to run commands.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from pipeline.errors import RecordingError
from pipeline.records import Cut
from pipeline.sources.columns import channel_of, duration_of, flat, number_of, shown, text_of

COMMAND = "a command as audio source, which is never run: write what it gives to a file"
# Fields that are not passed through as columns, because rows have them or they describe the manifest itself.
_OF_RECORDING = {"id", "sources", "sampling_rate", "num_samples", "duration", "channel_ids", "transforms", "custom"}
OF_SUPERVISION = {"id", "start", "duration", "channel", "text", "custom"}
OF_CUT = {"id", "start", "duration", "channel", "supervisions", "features", "recording", "type", "custom"}
_HARMLESS = ("Resample",)  # of what may be done to a recording when it is loaded; it all has one rate here


class AudioSource(NamedTuple):
    """A file of a recording; one with several channels may lie in several."""

    path: str
    channels: tuple[int, ...]


class Recorded(NamedTuple):
    """A recording, as little of it as is needed: millions may be held."""

    id: str
    sources: tuple[AudioSource, ...] = ()
    duration_s: float | None = None
    fault: tuple[str, str | None] | None = None  # why none of it can be read
    columns: dict[str, Any] | None = None

    @classmethod
    def of(cls, record: Any) -> "Recorded":
        if not isinstance(record, dict):
            return cls("", fault=("no recording", None))
        name, duration_s = text_of(record.get("id")) or "", duration_of(record.get("duration"))
        columns = columns_of(record, _OF_RECORDING) or None
        try:
            _refuse_transforms(record.get("transforms"))
            sources = record.get("sources")
            if not isinstance(sources, list) or not sources:
                raise RecordingError("a recording without an audio source")
            return cls(name, tuple(map(_source, sources)), duration_s, None, columns)
        except RecordingError as error:
            return cls(name, (), duration_s, (error.reason, error.detail), columns)

    @classmethod
    def missing(cls, name: str) -> "Recorded":
        return cls(name, fault=("a supervision of no recording in the manifest", shown(name)))

    @property
    def paths(self) -> list[str]:
        return [source.path for source in self.sources]


class Heard(NamedTuple):
    """A row: what of which file, and what is said of it."""

    id: str
    path: str | None = None
    cut: Cut = Cut()
    duration_s: float | None = None
    reference: str | None = None
    columns: dict[str, Any] = {}  # noqa: RUF012  # never changed
    error: RecordingError | None = None


def of_recording(recorded: Recorded) -> Iterator[Heard]:
    """All of it: a row per file."""
    whole = Heard(recorded.id, duration_s=recorded.duration_s, columns=recorded.columns or {})
    return _in_files(whole, recorded, None)


def of_supervision(supervision: dict[str, Any], recorded: Recorded, begins_s: float = 0.0) -> Iterator[Heard]:
    """What it spans, which may be more than the cut that has it and begins there."""
    name = text_of(supervision.get("id")) or recorded.id
    columns = {"recording_id": recorded.id} | columns_of(supervision, OF_SUPERVISION)
    said = Heard(name, reference=text_of(supervision.get("text")), columns=columns)
    return _segment(said, supervision, recorded, begins_s)


def of_cut(cut: dict[str, Any]) -> Iterator[Heard]:
    """Its supervisions, or all of it where it has none."""
    name = text_of(cut.get("id")) or ""
    kind = cut.get("type", "MonoCut")
    recorded = Recorded.of(cut.get("recording"))
    columns = {"cut_id": name} | columns_of(cut, OF_CUT)
    if kind not in ("MonoCut", "MultiCut"):
        fault = RecordingError("a cut that is made of others, or of no recording", shown(kind))
        yield Heard(name, columns=columns, error=fault)
        return
    supervisions = cut.get("supervisions")
    if not supervisions:
        whole = Heard(name, columns={"recording_id": recorded.id} | columns)
        yield from _segment(whole, cut, recorded, 0.0)
        return
    begins_s = number_of(cut.get("start"))
    for supervision in supervisions if isinstance(supervisions, list) else [supervisions]:
        if begins_s is None or not isinstance(supervision, dict):
            fault = RecordingError("a cut without a valid start or supervision", shown(supervision))
            yield Heard(name, columns=columns, error=fault)
            continue
        given = {"channel": cut.get("channel")} | supervision
        for heard in of_supervision(given, recorded, begins_s):
            yield heard._replace(columns=both(heard.columns, columns))


def _segment(row: Heard, times: dict[str, Any], recorded: Recorded, begins_s: float) -> Iterator[Heard]:
    start, length = number_of(times.get("start")), duration_of(times.get("duration"))
    if start is None or length is None:
        what = f"{shown(times.get('start'))}, {shown(times.get('duration'))}"
        yield row._replace(error=RecordingError("segment without a valid start and duration", what))
        return
    # A start before the recording's is its first sample; rounded, because sums of decimal fractions are none.
    start_s = round(max(0.0, begins_s + start), 6)
    length_s = round(begins_s + start + length - start_s, 6)
    if length_s <= 0:
        yield row._replace(error=RecordingError("segment outside its recording", shown(times.get("start"))))
        return
    row = row._replace(cut=Cut(start_s, length_s), duration_s=length_s)
    yield from _in_files(row, recorded, times.get("channel"))


def _in_files(row: Heard, recorded: Recorded, channel: Any) -> Iterator[Heard]:
    """A row for each file that has one of the channels."""
    if recorded.fault:
        yield row._replace(error=RecordingError(*recorded.fault))
        return
    try:
        wanted = _channels(channel)
    except RecordingError as error:
        yield row._replace(error=error)
        return
    there = [channel for source in recorded.sources for channel in source.channels]
    if wanted is not None and (lacking := [number for number in wanted if number not in there]):
        fault = RecordingError("a channel that its recording lacks", f"{lacking[0]} of {shown(there)}")
        yield row._replace(error=fault)
        return
    parts = [(source, [c for c in source.channels if wanted is None or c in wanted]) for source in recorded.sources]
    parts = [(source, here) for source, here in parts if here]
    for source, here in parts:
        name = row.id if len(parts) == 1 else f"{row.id}:{here[0]}"
        part = row._replace(id=name, path=source.path)
        if (
            wanted is not None and len(here) == 1
        ):  # a file counts its channels from 0, whatever the recording calls them
            yield part._replace(cut=row.cut._replace(channel=source.channels.index(here[0])))
        elif len(here) == len(source.channels):
            yield part
        else:
            yield part._replace(error=RecordingError("some of the channels of a file together", shown(here)))


def _channels(value: Any) -> list[int] | None:
    numbers = None if value is None else [channel_of(one) for one in (value if isinstance(value, list) else [value])]
    if numbers is None:
        return None
    wanted = [number for number in numbers if number is not None]
    if not wanted or len(wanted) < len(numbers):
        raise RecordingError("channel is not a whole number", shown(value))
    return wanted


def _source(source: Any) -> AudioSource:
    if not isinstance(source, dict):
        raise RecordingError("a recording without an audio source")
    kind, path = source.get("type"), source.get("source")
    if kind == "command":
        raise RecordingError(COMMAND)
    if kind not in ("file", "url") or not isinstance(path, str) or not path:
        raise RecordingError("an audio source that is neither a file nor a URL", shown(kind))
    channels = source.get("channels", [0])
    numbers = [channel_of(one) for one in channels] if isinstance(channels, list) else []
    known = tuple(number for number in numbers if number is not None)
    if not known or len(known) < len(numbers):
        raise RecordingError("an audio source without channels", shown(channels))
    return AudioSource(path, known)


def _refuse_transforms(transforms: Any) -> None:
    for transform in transforms or () if isinstance(transforms, list | None) else [transforms]:
        name = transform.get("name") if isinstance(transform, dict) else transform
        if name not in _HARMLESS:
            raise RecordingError("a recording that is changed when it is loaded", shown(name))


def both(inner: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """The columns of a supervision with those of its cut, which are `cut_` ones where their names are taken."""
    return inner | {f"cut_{name}" if name in inner else name: value for name, value in outer.items()}


def columns_of(record: dict[str, Any], own: Collection[str]) -> dict[str, Any]:
    """What else it says; of its custom fields, those whose names are taken as `custom_` ones."""
    columns = {name: value for name, value in record.items() if name not in own}
    custom = record.get("custom")
    for name, value in custom.items() if isinstance(custom, dict) else [] if custom is None else [("custom", custom)]:
        columns[f"custom_{name}" if name in columns or name in own else name] = value
    return {name: flat(value) for name, value in columns.items()}
