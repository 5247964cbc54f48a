"""Tuning: the decoding settings with the fewest word errors on the kept emissions of a run with references.

One half of the recordings chooses, the other half tells what the choice is worth, because the best of many settings
looks better than it is on the recordings that chose it. Knows nothing of how results are shown.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline import emissions
from pipeline.decode.settings import DecodeSettings
from pipeline.errors import RecordingError, UsageError
from pipeline.intervals import Interval, Numbers, bootstrap
from pipeline.records import FloatArray
from pipeline.run import Run, vocabulary_of
from pipeline.score import count_words

LEAST = 4  # recordings, two in each half: of a single one an interval would have no width
MAX_CLIMBS = 5  # steps away from the grid
MAX_UNITS = 256  # that the sample is drawn from: 40 hours where they last ten minutes


class Heard(NamedTuple):
    """A recording of the sample."""

    emissions: FloatArray
    seconds: float
    reference: str


@dataclass(frozen=True)
class Setting:
    """What is looked for."""

    beam_width: int
    beam_prune_logp: float
    token_min_logp: float
    alpha: float
    beta: float

    @property
    def effort(self) -> tuple[float, ...]:
        """Orders settings by how much they search."""
        return (self.beam_width, -self.beam_prune_logp, -self.token_min_logp)


@dataclass(frozen=True)
class Plan:
    """Which settings are tried.

    First what is configured, so that nothing worse is chosen. The weights on a grid, beyond it where the best lies at
    its edge, and closer around the best; then widths with the best; then the weights closer once more, because what a
    narrow search lost, beta had to make up for.
    """

    alphas: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5)
    betas: tuple[float, ...] = (-1.0, 0.0, 1.0, 2.0, 3.0)
    refinements: int = 1  # how often the distance around the best is halved
    beam_widths: tuple[int, ...] = (25, 50, 100, 200, 400)
    prunings: tuple[tuple[float, float], ...] = ((-10.0, -5.0), (-15.0, -10.0), (-18.0, -13.0))
    min_speed: float = 0.0  # audio seconds per core-second that the chosen setting must reach


@dataclass(frozen=True, eq=False)
class Trial:
    """A setting and how it did."""

    setting: Setting
    errors: Numbers  # (N,) words, by recording
    words: Numbers  # (N,) in the reference
    speed: float  # audio seconds per core-second

    @property
    def rate(self) -> float:
        return float(self.errors.sum() / self.words.sum())

    @property
    def interval(self) -> Interval:
        return bootstrap(self.errors, self.words)


@dataclass(frozen=True)
class Tuned:
    trials: list[Trial]  # on the half that chooses, best first
    grid: list[Trial]  # those of them that span the grid of alpha and beta
    chosen: Setting
    before: Trial  # what was configured, on the half that tells
    after: Trial  # the choice, on the same

    @property
    def gain(self) -> Interval:
        """How much lower the choice's rate is: an interval that holds zero is no gain."""
        return bootstrap(self.before.errors - self.after.errors, self.before.words)

    @property
    def is_better(self) -> bool:
        """Whether the half that tells can tell that the choice makes fewer errors than what was configured."""
        return self.gain.low > 0


def sample(run: Run, num_recordings: int, seed: int) -> list[Heard]:
    """Some recordings with a reference, drawn at random, in random order."""
    rng, commits = np.random.default_rng(seed), run.commits()
    units = [int(unit) for unit in rng.permutation(sorted(commits))[:MAX_UNITS]]
    listed: list[tuple[int, str, float, str]] = []
    for unit in units:
        table = run.read_part(commits[unit]).select(["id", "status", "duration_s", "reference"])
        for row in table.to_pylist():
            if row["status"] == "ok" and row["reference"] is not None:
                listed.append((unit, row["id"], row["duration_s"], row["reference"]))
    if len(listed) < LEAST:
        raise UsageError(
            f"{run.folder.url}: tuning needs recordings with references, {LEAST} or more, and has found {len(listed)}"
        )
    drawn = [listed[place] for place in rng.permutation(len(listed))[:num_recordings]]
    kept: dict[tuple[int, str], FloatArray] = {}
    for unit in {unit for unit, *_ in drawn}:
        stored = commits[unit].emissions
        assert stored is not None
        wanted = {name for of, name, *_ in drawn if of == unit}
        for name, one in emissions.read(run.folder, stored).items():
            if name in wanted:
                kept[unit, name] = one.emissions
    return [Heard(kept[unit, name], seconds, reference) for unit, name, seconds, reference in drawn]


def tune(
    run: Run,
    settings: DecodeSettings,
    heard: list[Heard],
    plan: Plan,
    told: Callable[[str], None],
    normalize: Callable[[str], str] = str,
) -> Tuned:
    """Try the plan's settings. `told` hears what is being tried; errors are those of normalised texts."""
    from pipeline.decode.backends import native_search

    heard = [one._replace(reference=normalize(one.reference)) for one in heard]
    half = (len(heard) + 1) // 2
    choosing, telling = heard[:half], heard[half:]
    if not all(any(one.reference.split() for one in part) for part in (choosing, telling)):
        raise UsageError(
            f"{run.folder.url}: half of the {len(heard):,} recordings drawn have no word in any reference: "
            "draw more (--num-recordings) or others (--seed)"
        )
    bench = _Bench(native_search(settings, vocabulary_of(run)), settings, normalize)
    configured = _configured(settings)
    trials: dict[Setting, Trial] = {}

    def try_all(candidates: Iterable[Setting], what: str) -> None:
        new = [setting for setting in dict.fromkeys(candidates) if setting not in trials]
        for number, setting in enumerate(new, 1):
            told(f"{what}, {number} of {len(new)}")
            trials[setting] = bench.run(setting, choosing)

    grid = [dataclasses.replace(configured, alpha=a, beta=b) for a, b in itertools.product(plan.alphas, plan.betas)]
    try_all([configured], "what is configured")
    try_all(grid, "alpha and beta")
    steps = [_step(plan.alphas), _step(plan.betas)]

    def best() -> Setting:
        return _best(trials.values(), plan.min_speed).setting

    def climb(steps: list[float], what: str) -> None:
        for _ in range(MAX_CLIMBS):
            before = best()
            try_all(_around(before, steps), what)
            if best() == before:
                break

    climb(steps, "alpha and beta around the best")
    for halving in range(1, plan.refinements + 1):
        climb([step * 0.5**halving for step in steps], "alpha and beta, closer")
    try_all(_wider(best(), plan), "beam width and pruning")
    climb([step * 0.5**plan.refinements for step in steps], "alpha and beta once more")
    chosen = best()
    told("the other half of the recordings")
    before = bench.run(configured, telling)
    return Tuned(
        trials=sorted(trials.values(), key=_merit),
        grid=[trials[setting] for setting in grid],
        chosen=chosen,
        before=before,
        after=before if chosen == configured else bench.run(chosen, telling),
    )


class _Bench:
    """Decodes the same recordings under one setting after another."""

    def __init__(self, search: Any, settings: DecodeSettings, normalize: Callable[[str], str]) -> None:
        self._search, self._settings, self._normalize = search, settings, normalize
        self._counted: dict[tuple[str, str], int] = {}  # errors by reference and text: most settings agree on most

    def run(self, setting: Setting, heard: list[Heard]) -> Trial:
        weights = [
            dataclasses.replace(model.weights, alpha=setting.alpha, beta=setting.beta)
            for model in self._settings.models
        ]
        options = dataclasses.replace(
            self._settings.search,
            beam_width=setting.beam_width,
            beam_prune_logp=setting.beam_prune_logp,
            token_min_logp=setting.token_min_logp,
            num_best=1,
        )
        search = self._search.reweighted(weights)
        began = time.process_time()  # of all threads together
        found = search.decode(
            [one.emissions for one in heard], options, self._settings.hotwords, self._settings.threads or 1
        )
        spent_s = time.process_time() - began
        texts = ["" if isinstance(one, RecordingError) else one.beams[0].text for one in found]
        errors = [self._errors(one.reference, text) for one, text in zip(heard, texts, strict=True)]
        words = [len(one.reference.split()) for one in heard]
        seconds = sum(one.seconds for one in heard)
        return Trial(setting, np.array(errors), np.array(words), seconds / max(spent_s, 1e-9))

    def _errors(self, reference: str, text: str) -> int:
        if (reference, text) not in self._counted:
            self._counted[reference, text] = count_words(reference, self._normalize(text)).num_errors
        return self._counted[reference, text]


def _configured(settings: DecodeSettings) -> Setting:
    search, weights = settings.search, settings.models[0].weights
    return Setting(search.beam_width, search.beam_prune_logp, search.token_min_logp, weights.alpha, weights.beta)


def _best(trials: Collection[Trial], min_speed: float) -> Trial:
    """The fewest errors of those that are fast enough; of equals the one that searches least, then the first.

    What is configured is the first of all.
    """
    fast_enough = [trial for trial in trials if trial.speed >= min_speed]
    if not fast_enough:
        fastest = max(trial.speed for trial in trials)
        raise UsageError(f"no setting reaches {min_speed:,.0f} times real time on a core; the fastest {fastest:,.0f}")
    return min(fast_enough, key=_merit)


def _merit(trial: Trial) -> tuple[float, ...]:
    return (float(trial.errors.sum()), *trial.setting.effort)


def _step(values: tuple[float, ...]) -> float:
    """The usual distance between two values of a grid."""
    return float(np.median(np.diff(sorted(values)))) if len(values) > 1 else 0.0


def _around(setting: Setting, steps: list[float]) -> Iterator[Setting]:
    for a, b in itertools.product((-1, 0, 1), repeat=2):
        alpha, beta = round(setting.alpha + a * steps[0], 4), round(setting.beta + b * steps[1], 4)
        if alpha >= 0:
            yield dataclasses.replace(setting, alpha=alpha, beta=beta)


def _wider(setting: Setting, plan: Plan) -> Iterator[Setting]:
    for width, (beam_prune, token_min) in itertools.product(plan.beam_widths, plan.prunings):
        yield dataclasses.replace(setting, beam_width=width, beam_prune_logp=beam_prune, token_min_logp=token_min)
