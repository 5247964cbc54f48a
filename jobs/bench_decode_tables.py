"""What `bench decode` has found, as tables for people on stdout. Knows nothing of how it was measured."""

from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs import show

if TYPE_CHECKING:  # they import numpy and numba
    from jobs.bench_material import Calibration, Sample
    from jobs.bench_measure import Soak, Speed, Spread, Threads
    from jobs.bench_search import Found

BUNDLED = "bundled"  # what is not simulated, by the name that it is asked for
SEARCHED = "mid"
BUSY = 0.5  # load before we begin


class Report:
    def __init__(self, quiet: bool) -> None:
        self._console, self._quiet = show.console(quiet), quiet

    def setting(self, figures: dict[str, Any]) -> None:
        if self._quiet:
            return
        machine = figures["machine"]
        packages = ", ".join(f"{name} {told}" for name, told in machine["packages"].items())
        rows = [
            ("machine", f"{machine['processor']}, {machine['cpus']} CPUs, load {machine['load']:.1f}"),
            ("software", f"Python {machine['python']}, {packages}"),
        ]
        if text := figures.get("text"):
            words = f"{text['num_train_words']:,} words; {text['num_held_out_words']:,} more are held out"
            rows += [("text", words), ("language model", f"{figures['lm']}, {figures['lm_words']:,} words")]
        if absent := figures.get(BUNDLED, {}).get("absent"):
            rows.append((BUNDLED, f"left out, as there is no {absent[0]}"))
        elif told := figures.get(BUNDLED):
            heard = (
                f"{told['num_recordings']:,} recordings, {told['num_failed']:,} others failed; model {told['model']}"
            )
            rows += [(BUNDLED, heard), ("language model of it", f"{told['lm']}, {told['lm_words']:,} words")]
        show.table([*rows, ("compiled or loaded in", f"{figures['warm_up_s']:.1f} s, which are counted nowhere")])

    def calibrations(self, calibrations: "dict[str, Calibration]", samples: "list[Sample]") -> None:
        table = self._table(
            "What is decoded (and what a simulation aims at)", "", "audio", "labels a frame", "best label"
        )
        table.add_column("greedy WER", justify="right")
        for sample in samples:
            one = calibrations[sample.difficulty]
            table.add_row(
                sample.difficulty,
                f"{sample.audio_s:,.0f} s",
                _aimed(one.num_likely, one.target_num_likely, ".2f"),
                _aimed(one.max_p, one.target_max_p, ".3f"),
                _aimed(one.greedy_wer, one.target_greedy_wer, ".1%"),
            )
        self._console.print(table)

    def speeds(self, speeds: "dict[str, list[Speed]]", missing: list[str], late: list[str]) -> None:
        columns = ("audio s / CPU s", "WER", "times pyctcdecode", "same texts", "same scores")
        table = self._table("One core, beam 100", "", "", *columns)
        for difficulty, of_one in speeds.items():
            for number, speed in enumerate(of_one):
                table.add_row(
                    "" if number else difficulty,
                    speed.decoder,
                    f"{speed.audio_s_per_cpu_s:,.0f}",
                    f"{speed.wer:.2%}",
                    _spread(speed.times_rival) if speed.times_rival else "",
                    "" if speed.same_texts is None else _share(speed.same_texts),
                    "" if speed.same_scores is None else _share(speed.same_scores),
                )
            table.add_section()
        self._console.print(table)
        if missing:
            self._console.print(
                f"Not compared with pyctcdecode, as {' and '.join(missing)} is not installed: `make decoders` does it."
            )
        if late:
            self._console.print(f"Compiled while it was measured, so our figures are too low: {', '.join(late)}.")

    def threads(self, threads: "Threads | None", load: float) -> None:
        told = "Threads: not measured, for there is one CPU."
        if threads is not None:
            told = (
                f"Threads: one {threads.one_audio_s_per_s:,.0f}, two {threads.two_audio_s_per_s:,.0f} audio seconds "
                f"a second of wall time: {_spread(threads.ratio, 2)} times."
            )
        if load > BUSY:
            told += f" Other processes were running (load {load:.1f}), which makes this too low."
        self._console.print(f"\n{told}")

    def soak(self, soak: "Soak") -> None:
        memory = ", ".join(f"{resident / 2**20:,.1f}" for resident in soak.resident_bytes)
        self._console.print(
            f"Soak: {soak.num_utterances:,} utterances, {soak.audio_s / 3600:,.1f} h of audio in {soak.cpu_s:,.0f} CPU "
            f"seconds. MiB before and after each tenth: {memory}. From the first tenth to the last: "
            f"{soak.growth_bytes / 2**20:+.1f} MiB."
        )

    def search(self, found: "Found") -> None:
        from jobs.bench_search import LEAST_SPEED, worth_showing

        columns = ("label least", "prune", "audio s / CPU s", "WER", "95 % interval", "against the default", "narrowed")
        title = f"Search width on {SEARCHED}: those of {len(found.tried)} settings that none beats in both"
        table = self._table(title, "beam", *columns)
        for one in worth_showing(found):
            mark = " (default)" if one.setting == found.default else ""
            mark += " (chosen)" if one.setting == found.chosen else ""
            table.add_row(
                f"{one.setting.beam_width}{mark}",
                f"{one.setting.token_min_logp:g}",
                f"{one.setting.beam_prune_logp:g}",
                f"{one.audio_s_per_cpu_s:,.0f}",
                f"{one.wer:.2%}",
                f"{one.interval[0]:.2%} to {one.interval[1]:.2%}",
                f"{one.against_default[0]:+.2%} to {one.against_default[1]:+.2%}",
                f"{one.narrowed:.1%}",
            )
        self._console.print(table)
        self._console.print(
            f"No setting makes {LEAST_SPEED:,.0f} audio seconds per core second."
            if found.chosen is None
            else f"Lowest WER at {LEAST_SPEED:,.0f} audio seconds per core second: {found.chosen}"
        )
        self._console.print(
            "Some letters have the truth at 1e-5 here, which rewards unlikely labels more than speech may."
        )

    def _table(self, title: str, *columns: str) -> Table:
        self._console.print()
        return show.figures(title, *columns)


def _aimed(found: float, target: float | None, form: str) -> str:
    return f"{found:{form}}" if target is None else f"{found:{form}} ({target:{form}})"


def _spread(spread: "Spread", digits: int = 1) -> str:
    return f"{spread.median:.{digits}f} ({spread.least:.{digits}f} to {spread.most:.{digits}f})"


def _share(share: float) -> str:
    """Never 100 % where one is missing."""
    return "100 %" if share == 1 else f"{min(share, 0.999):.1%}"
