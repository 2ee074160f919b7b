"""Answer images in a random order until a rule is settled: `predict(…, until_width=…)` or `until_better_than=…`.

The order depends on a seed and on the ids of the images, so that another process resumes it. The rule is looked at
after fixed numbers of images. Its interval holds at every number (`core.anytime`), so that looking often costs no error
rate. `runs.sample` holds how far the rule is settled, as long as images that were asked for are not answered.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from ..core.anytime import LEVEL, accuracy_interval, difference_interval
from ..core.results import Result
from ..db.statements import execute, fetch
from ..errors import ArgumentError, NotFoundError, SchemaError
from . import run as runs
from .run import Run

FIRST_LOOK, GROWTH = 64, 8  # images before the first look; each look waits for an eighth more
_SAME = ("dataset", "label_space", "class_policy")  # what two runs must have in common for a comparison


@dataclass(frozen=True, repr=False)
class Sample(Result):
    """Images of a run that were drawn at random until a rule was settled; stored in `runs.sample` as JSON.

    `rule` is "until_width", with the width in `width`, or "until_better_than", with the other run in `baseline`. Of
    `n_images` that count (labeled, and answered by the baseline), `n_drawn` were drawn, and `n` of these have an
    answer. `estimate` is the accuracy, or the accuracy less that of the baseline, and `ci_low` to `ci_high` its
    interval: with probability `level` it holds the value at every number of images at once. `settled`: the interval is
    narrow enough, or excludes 0.
    """

    rule: str
    seed: int
    width: float | None = None
    baseline: str | None = None
    level: float = LEVEL
    n_images: int = 0
    n_drawn: int = 0
    n: int = 0
    estimate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    settled: bool = False

    def __str__(self) -> str:
        """What was drawn, and why no more: "1,024 of 5,000 labeled images, drawn at random (seed 0), …"."""
        what = "labeled images" if self.baseline is None else f"labeled images that {self.baseline} has answered"
        drawn = f"{self.n_drawn:,} of {self.n_images:,} {what}, drawn at random (seed {self.seed})"
        if self.estimate is None or self.ci_low is None or self.ci_high is None:
            return f"{drawn}, none with an answer yet"
        verdict = self._verdict(self.estimate, self.ci_low, self.ci_high)
        return f"{drawn}, {verdict} ({self.level:.0%} any-time interval)"

    def _verdict(self, estimate: float, low: float, high: float) -> str:
        if self.baseline is None:
            known = f"the accuracy was known to {100 * (self.width or 0):g} points"
            found = f"{estimate:.2%}, {low:.2%} to {high:.2%}"
        else:
            word = "better or worse" if not self.settled else "better" if low > 0 else "worse"
            known = f"it was settled that the run is {word} than {self.baseline}"
            found = f"{100 * estimate:+.2f} points, {100 * low:+.2f} to {100 * high:+.2f}"
        return f"stopped when {known}: {found}" if self.settled else f"before {known}: {found}"


def wanted(until_width: float | None, until_better_than: str | None, seed: int) -> Sample | None:
    """The rule that is asked for, with nothing drawn yet; None without a rule.

    Raises:
        ArgumentError: two rules, or a width that is not a share between 0 and 1.
    """
    if until_better_than is not None:
        if until_width is not None:
            raise ArgumentError("until_width= and until_better_than= are two rules; give one of them")
        return Sample("until_better_than", seed, baseline=until_better_than)
    if until_width is None:
        return None
    if not 0 < until_width < 1:
        raise ArgumentError(
            f"until_width={until_width!r} is not a share between 0 and 1; it is the width of the interval of the "
            "accuracy, such as until_width=0.02 for 2 points"
        )
    return Sample("until_width", seed, width=float(until_width))


def read(con: duckdb.DuckDBPyConnection, run: str) -> Sample | None:
    """How far the rule of a run is settled; None for a run without a rule, or with all its images."""
    text = runs.require(con, run).sample
    return None if text is None else Sample(**json.loads(text))


def write(sample: Sample) -> str:
    """A sample as `runs.sample` keeps it."""
    return json.dumps(dataclasses.asdict(sample))


def draw(con: duckdb.DuckDBPyConnection, sample: Sample, run: Run, *, overwrite: bool) -> None:
    """Put the selected images that count in a random order; call after `job.select`.

    Raises:
        NotFoundError: no baseline, or no image that counts.
        SchemaError: the baseline is not comparable, or the run has answers that were not drawn like this.
    """
    if sample.baseline is not None:
        _check_baseline(con, sample, run, sample.baseline)
    if not overwrite and run.run in runs.known(con):
        _check_resume(con, sample, run)
    execute(con, "rank_selected", {"seed": sample.seed}, baseline=sample.baseline)
    last = fetch(con, "read_last_image")[0][0]
    execute(con, "create_selected", dataset=run.dataset, last=last, is_chosen=True)
    if not fetch(con, "count_ranked")[0][0]:
        also = "" if sample.baseline is None else f" and an answer of {sample.baseline!r}"
        raise NotFoundError(f"{sample.rule}= needs images with a label{also}; of the selected ones none has")


def _check_baseline(con: duckdb.DuckDBPyConnection, sample: Sample, run: Run, baseline: str) -> None:
    if baseline == run.run:
        raise ArgumentError(f"{baseline!r} is its own baseline; name another run")
    other = runs.require(con, baseline)
    differing = [
        f"{field} {getattr(other, field)} and {getattr(run, field)}"
        for field in _SAME
        if getattr(other, field) != getattr(run, field)
    ]
    if differing:
        raise SchemaError(f"{baseline!r} and {run.run!r} are not comparable: {'; '.join(differing)}")
    status, drawn = fetch(con, "read_run_status", [baseline])[0][0], read(con, baseline)
    # Images that a run has answered so far are no random ones, except where a rule drew them.
    if status not in ("finished", "sampled"):
        raise SchemaError(f"baseline {baseline!r} is {status}, not finished; resume it first")
    # Its rule stopped after looking at its answers; in the same order the interval allows for that, in another not.
    if drawn is not None and drawn.seed != sample.seed:
        raise SchemaError(f"baseline {baseline!r} is a sample drawn with seed {drawn.seed}: give seed={drawn.seed}")


def _check_resume(con: duckdb.DuckDBPyConnection, sample: Sample, run: Run) -> None:
    earlier, drawn = runs.require(con, run.run), read(con, run.run)
    n_images, n_ok, n_errors = fetch(con, "read_run_size", [run.run])[0]
    if drawn is None:
        if n_ok + n_errors in (0, n_images):
            return
        raise SchemaError(
            f"run {run.run!r} has answers for {n_ok + n_errors:,} of {n_images:,} images that were not drawn at random"
            f"; resume it without {sample.rule}=, or start from scratch: overwrite=True"
        )
    if drawn.seed != sample.seed:
        raise SchemaError(f"run {run.run!r} was drawn with seed {drawn.seed}; resume it with seed={drawn.seed}")
    if earlier.selection != run.selection:
        raise SchemaError(
            f"run {run.run!r} was drawn from {earlier.selection or 'all images'}, not from "
            f"{run.selection or 'all images'}; resume it with the same where= and split=, or without {sample.rule}="
        )


class Drawing:
    """A rule that is being settled.

    Attributes:
        sample: how far; replaced after each look.
    """

    def __init__(self, sample: Sample, batch_size: int) -> None:
        self.sample, self._batch_size = sample, batch_size

    def looks(self, con: duckdb.DuckDBPyConnection, run: str) -> Iterator[int]:
        """How many images of the random order to answer next, until the rule is settled or all are answered.

        The caller answers them before it asks for the next number. A look that an earlier call went beyond is left
        out: the rule was not settled then.
        """
        n_images, n_answered = fetch(con, "count_drawn", run=run)[0]
        for n_drawn in schedule(n_images, self._batch_size):
            if n_drawn < n_answered:
                continue
            yield n_drawn
            self.sample = _look(con, run, dataclasses.replace(self.sample, n_images=n_images, n_drawn=n_drawn))
            execute(con, "update_run_sample", [write(self.sample), run])
            if self.sample.settled:
                return


def schedule(n_images: int, batch_size: int) -> Iterator[int]:
    """After how many images to look: full batches, an eighth more each time, and at last all images."""
    n_drawn = 0
    while n_drawn < n_images:
        least = max(n_drawn + n_drawn // GROWTH, n_drawn + FIRST_LOOK)
        n_drawn = min(-(-least // batch_size) * batch_size, n_images)
        yield n_drawn


def _look(con: duckdb.DuckDBPyConnection, run: str, sample: Sample) -> Sample:
    drawn = {"n_drawn": sample.n_drawn}
    if sample.baseline is None:
        width = sample.width or 0.0
        n, n_right = fetch(con, "read_drawn_answers", drawn, run=run)[0]
        low, high = accuracy_interval(n_right, n, width, sample.level)
        difference, settled = n_right, high - low <= width
    else:
        n, run_only, baseline_only = fetch(con, "read_drawn_pairs", drawn, run=run, baseline=sample.baseline)[0]
        low, high = difference_interval(run_only, baseline_only, n, sample.level)
        difference, settled = run_only - baseline_only, low > 0 or high < 0
    estimate = difference / n if n else None
    return dataclasses.replace(sample, n=n, estimate=estimate, ci_low=low, ci_high=high, settled=settled)
