"""What a run took: pauses are nobody's seconds, what overlaps is counted once, and a price is that of the rest."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.commit import Commit, Tally
from pipeline.evaluation.speed import MAX_POINTS, PAUSE_S, speed
from pipeline.run import Run
from pipeline.store import Folder

NIGHT = 1_800_000_000.0


def run_of(path: Path, done: Sequence[tuple[float, float]], session: dict[str, Any] | None = None, **known: Any) -> Run:
    """Units that took some seconds and were done at some time, of 600 s of audio each."""
    run = Run(Folder(str(path)), "run")
    for number, (took_s, at_s) in enumerate(done):
        run.write_part(f"{number}.parquet", b"part")
        stage_s = {"read": took_s / 4, "encode": took_s / 2, "write": took_s / 4}
        told = {"run": "run", "tally": Tally(audio_s=600.0), "stage_s": stage_s, "written_at": NIGHT + at_s} | known
        run.commit(Commit(unit=number, part=f"{number}.parquet", size=4, sha256="", **told))
    if session is not None:
        run.folder.publish("summary.json", json.dumps({"session": session}).encode())
    return run


def test_units_one_after_the_other_take_what_they_take(tmp_path):
    found = speed(run_of(tmp_path, [(10, 10), (10, 20), (10, 30)]))
    assert (found.audio_s, found.wall_s, found.has_start) == (1800.0, 30.0, False)
    assert found.times_real_time == 60.0
    assert found.stage_s == {"read": 7.5, "encode": 15.0, "write": 7.5}
    assert found.cost is found.cost_per_audio_hour is found.price_per_hour is None


def test_pauses_between_sessions_are_left_out_and_short_waits_are_not(tmp_path):
    """The second session was started a day later; between its units the framework waited for half a minute."""
    day = 86_400.0
    found = speed(run_of(tmp_path, [(10, 10), (10, 20), (10, day + 10), (10, day + 50)]), price_per_hour=36.0)
    assert found.wall_s == pytest.approx(20 + 50)
    assert found.cost == pytest.approx(0.7) and found.cost_per_audio_hour == pytest.approx(0.7 / (2400 / 3600))


def test_units_that_overlap_take_their_time_once(tmp_path):
    """Two encoders side by side; a long unit that was at work all the while makes no pause of its neighbours' gap."""
    assert speed(run_of(tmp_path / "a", [(60, 60), (60, 60), (60, 120), (60, 120)])).wall_s == pytest.approx(120)
    assert speed(run_of(tmp_path / "b", [(10, 10), (500, 505), (10, 500)])).wall_s == pytest.approx(505)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 3000)), min_size=1, max_size=12))
def test_seconds_at_work_are_those_with_a_unit_and_the_short_waits(tmp_path_factory, done):
    """Against a walk through the same spans, one after the other."""
    spans = sorted((at_s - took_s, at_s) for took_s, at_s in done)
    (begin, end), total = spans[0], 0.0
    for start, stop in spans[1:]:
        if start - end > PAUSE_S:
            total, begin = total + end - begin, start
        end = max(end, stop)
    found = speed(run_of(tmp_path_factory.mktemp("run"), done)).wall_s
    assert found == pytest.approx(total + end - begin, abs=1e-3)


def test_of_one_session_the_seconds_are_those_from_its_start_to_its_end(tmp_path):
    done = [(10, 10), (10, 20)]
    found = speed(run_of(tmp_path / "a", done, {"wall_s": 55.0, "audio_s": 1200.0}), price_per_hour=3600.0)
    assert (found.wall_s, found.has_start, found.cost) == (55.0, True, 55.0)
    found = speed(run_of(tmp_path / "b", done, {"wall_s": 55.0, "audio_s": 600.0}))  # the last of several
    assert (found.wall_s, found.has_start) == (20.0, False)
    assert speed(run_of(tmp_path / "c", done, None)).wall_s == 20.0


def test_throughput_over_time_has_few_points_and_all_of_the_audio(tmp_path):
    """For its first half the run was twice as fast; a night's pause in the middle is no time."""
    fast, slow = [(1.0, float(at)) for at in range(1, 402)], [(2.0, 40_402.0 + 2 * at) for at in range(200)]
    found = speed(run_of(tmp_path, [*fast, *slow]))
    times, rates = zip(*found.over_time, strict=True)
    assert len(times) == MAX_POINTS and list(times) == sorted(times)
    assert found.wall_s == pytest.approx(401 + 400) and times[-1] == pytest.approx(800)
    assert sum(rate * times[0] for rate in rates) == pytest.approx(600.0 * 600)  # of all commits but the first
    assert rates[:49] == pytest.approx([600.0] * 49, rel=0.15) and rates[-49:] == pytest.approx([300.0] * 49, rel=0.3)


def test_few_commits_tell_no_throughput_and_none_no_seconds(tmp_path):
    assert speed(run_of(tmp_path / "a", [(10, 10), (10, 20), (10, 30)])).over_time == ()
    assert len(speed(run_of(tmp_path / "b", [(10, 10 * number) for number in range(1, 8)])).over_time) == 2
    assert speed(run_of(tmp_path / "c", [(10, 10)] * 9)).over_time == ()  # at one moment
    nothing = speed(run_of(tmp_path / "d", []), price_per_hour=1.0)
    assert nothing.wall_s is nothing.cost is nothing.cost_per_audio_hour is None and nothing.audio_s == 0.0
    early = speed(run_of(tmp_path / "e", [(10, 10)], written_at=0.0), price_per_hour=1.0)
    assert early.wall_s is early.cost is None and early.stage_s["encode"] == 5.0


def test_units_that_were_tried_again_make_no_burst_and_are_no_measure_of_a_run(tmp_path):
    """What counts of them are the seconds of a few recordings, and the audio of all."""
    done = [(10, 10.0 * number) for number in range(1, 41)]
    run = run_of(tmp_path, done)
    steady = speed(run, price_per_hour=1.0)

    def again(number: int) -> None:
        commit, late = run.commits()[number], NIGHT + 5_000 + number
        run.commit(replace(commit, attempt=1, stage_s={"read": 1.0}, written_at=late))

    again(0)
    again(1)
    few = speed(run, price_per_hour=1.0)
    assert few.wall_s == pytest.approx(steady.wall_s, rel=0.06) and few.cost == pytest.approx(steady.cost, rel=0.06)
    assert max(rate for _, rate in few.over_time) < 1.1 * max(rate for _, rate in steady.over_time)
    again(2)
    many = speed(run, price_per_hour=1.0)
    assert many.wall_s is many.cost is many.times_real_time is None and many.over_time == ()
    assert many.audio_s == steady.audio_s


def test_nothing_but_failures_costs_something_and_has_no_price_per_hour(tmp_path):
    found = speed(run_of(tmp_path, [(10, 10)], tally=Tally()), price_per_hour=3600.0)
    assert (found.cost, found.cost_per_audio_hour, found.times_real_time) == (10.0, None, 0.0)
