"""The figures of `bench encode` as tables for people, on stdout.

Knows nothing of how they were measured.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs import show

if TYPE_CHECKING:  # they import torch
    from jobs.bench_encode_parts import Mel, Seam
    from jobs.bench_encode_rounds import Result
    from jobs.bench_measure import Spread

BUSY = 0.5  # load before we begin


class Tables:
    def __init__(self, quiet: bool) -> None:
        self._console, self._quiet = show.console(quiet), quiet

    def setting(self, figures: dict[str, Any]) -> None:
        if self._quiet:
            return
        machine, model, audio = figures["machine"], figures["model"], figures["recordings"]
        packages = ", ".join(f"{name} {told}" for name, told in machine["packages"].items())
        threads = f", {figures['threads']} torch threads" if figures["device"] == "cpu" else ""
        show.table(
            [
                ("machine", f"{machine['processor']}, {machine['cpus']} CPUs, load {machine['load']:.1f}{threads}"),
                *([("device", machine["gpu"])] if machine["gpu"] else []),
                ("software", f"Python {machine['python']}, {packages}"),
                (
                    "model",
                    f"{model['family']}, {model['size'] or model['directory']}, "
                    f"{model['num_parameters'] / 1e6:,.1f} M parameters",
                ),
                (
                    "recordings",
                    f"{audio['num']:,}, {audio['audio_s']:,.0f} s, from {audio['least_s']:.1f} to "
                    f"{audio['most_s']:.1f} s; {figures['batch_s']:g} s computed at once",
                ),
                (
                    "arithmetic",
                    f"{figures['flops_per_audio_s'] / 1e9:,.1f} GFLOP for a second of audio; a bf16 matrix product "
                    f"makes {figures['peak_bf16_flops'] / 1e9:,.0f} GFLOP a {figures['clock']}",
                ),
            ]
        )

    def speeds(self, results: "Sequence[Result]", figures: dict[str, Any]) -> None:
        title = f"Audio to logits, {figures['rounds']} rounds: median (least-most)"
        ratios = ("x fp32 *", "x same *", "x documented") if any(one.best for one in results) else ()
        table = self._table(title, "", "", f"audio s / {figures['clock']}", "of peak", *ratios)
        for one, name in zip(results, _names(table, results), strict=True):
            table.add_row(
                name,
                one.setting + (" *" if one.best else ""),
                f"{one.audio_s_per_s:,.2f}" if one.audio_s_per_s < 100 else f"{one.audio_s_per_s:,.0f}",
                f"{one.share_of_peak:.0%}",
                *(_spread(times) for times in (one.times_fp32, one.times_same, one.times_documented)[: len(ratios)]),
            )
        self._console.print(table)
        self._told("Of peak: the arithmetic that the unpadded recordings need, over what a bf16 matrix product makes.")
        if ratios:
            self._told(
                "*: the fastest setting of transformers in its precision; much slower ones were measured once. Batches "
                "are padded, as its documentation shows them or of recordings sorted by length; cast: by "
                "torch.autocast. x: speed over that of * in fp32, of * in the same precision, and of the documented "
                "batches."
            )
        if (load := figures["machine"]["load"]) > BUSY:
            self._told(f"Other processes were running (load {load:.1f}): read the ratios rather than the speeds.")
        if late := figures["compiled_late"]:
            self._told(f"Compiled while it was measured, so our figures are too low: {', '.join(late)}.")

    def errors(self, results: "Sequence[Result]", reference: str) -> None:
        title = f"Errors, against {reference} in fp32 with each recording alone"
        table = self._table(title, "", "", "rms", "largest", "frames changed", "texts changed", "characters changed")
        for one, name in zip(results, _names(table, results), strict=True):
            if (errors := one.errors) is None:
                table.add_row(name, one.setting, "not numbers")
                continue
            shares = (errors.changed_frames, errors.changed_texts, errors.changed_chars)
            told = ("" if share is None else f"{share:.2%}" for share in shares)
            table.add_row(name, one.setting, f"{errors.rms:.1e}", f"{errors.largest:.1e}", *told)
        self._console.print(table)
        self._told(
            "Of the standard deviation of the reference's logits; frames whose best label is another; greedy texts."
        )

    def seams(self, seams: "Sequence[Seam]") -> None:
        title = f"Windows in a recording of {seams[0].audio_s:g} s, against the whole"
        table = self._table(title, "window", "overlap", "error rms", "largest", "frames")
        for one in seams:
            table.add_row(
                f"{one.window_s:g} s{' (default)' if one.by_default else ''}",
                f"{one.overlap_s:g} s",
                f"{one.rms:.1e}",
                f"{one.largest:.1e}",
                f"{one.changed_frames:.1%}",
            )
        self._console.print(table)

    def mel(self, mel: "Mel", clock: str) -> None:
        told = f"\nMel features: {mel.audio_s_per_s:,.0f} audio s / {clock}"
        if mel.times_rival is not None:
            told += (
                f", {_spread(mel.times_rival)} times SeamlessM4TFeatureExtractor's {mel.rival_audio_s_per_s:,.0f}; "
                f"largest difference {mel.largest_error:.1e}"
            )
        self._console.print(f"{told}.")

    def _told(self, text: str) -> None:
        self._console.print(text, width=min(self._console.width, 120))

    def _table(self, title: str, *columns: str) -> Table:
        self._console.print()
        return show.figures(title, *columns)


def _names(table: Table, results: "Sequence[Result]") -> Iterator[str]:
    """Who and in what precision, told once; as the rows are added, with a line between such groups."""
    last = ""
    for one in results:
        name = f"{one.who} {one.precision}"
        if last and name != last:
            table.add_section()
        yield "" if name == last else name
        last = name


def _spread(spread: "Spread | None") -> str:
    if spread is None:
        return ""
    digits = 2 if spread.most < 9.995 else 1
    between = f" ({spread.least:.{digits}f}-{spread.most:.{digits}f})" if spread.least < spread.most else ""
    return f"{spread.median:.{digits}f}{between}"
