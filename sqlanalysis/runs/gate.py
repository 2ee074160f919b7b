"""The gate for values: what outputs are called must be what they are.

Probabilities lie in [0, 1] and sum to 1, a confidence lies in [0, 1] and is the probability of its prediction. Logits,
log-probabilities, percents and independent probabilities are recognized and refused with the option that takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from ..db.statements import fetch
from ..errors import ArgumentError, SchemaError, near_matches

OUTPUTS = ("auto", "probs", "logits", "log_probs", "percent", "sigmoid")
TOLERANCE = 1e-2  # of sums and of confidence: 2-byte floats drift
RANGE_TOLERANCE = 1e-6  # of [0, 1]: no softmax goes beyond
_WITHIN = TOLERANCE + RANGE_TOLERANCE  # 0.99 and 1.01 are within, whatever 4-byte floats make of them
_CURES = {  # of what no option takes: softmax would make other probabilities of them, without an error
    "log10": 'multiply them by ln 10 = 2.302585 and give outputs="log_probs" (--outputs log_probs)',
    "minus_log": 'change their sign and give outputs="log_probs" (--outputs log_probs)',
    "shares": 'divide them by it; if they are logits, outputs="logits" takes them (--outputs logits)',
}
OPTIONS = {kind: f'outputs="{kind}" takes them (--outputs {kind})' for kind in OUTPUTS} | _CURES
WORDS = {
    "logits": "logits",
    "log_probs": "log-probabilities",
    "percent": "percents",
    "sigmoid": "independent probabilities (sigmoid), or some classes are missing",
    "probs": "probabilities",
    "log10": "logarithms of probabilities to base 10",
    "minus_log": "negative log-probabilities",
    "shares": "probabilities times a number, which is the sum of every row",
}


@dataclass(frozen=True)
class _Facts:
    """Rows of probs, and how many of them are what; range of confidence."""

    n: int
    n_unit: int  # within [0, 1]
    n_probs: int  # … and sum to 1
    n_percent: int
    n_log: int
    n_log10: int
    n_minus_log: int
    n_positive: int
    least_sum: float | None
    most_sum: float | None
    n_confidence: int
    n_above: int
    n_below: int
    least: float | None
    most: float | None

    @property
    def kind(self) -> str:
        """What all rows of probs are."""
        counts = {"probs": self.n_probs, "percent": self.n_percent, "log_probs": self.n_log, "sigmoid": self.n_unit}
        # One row can be so by chance.
        if self.n > 1:
            least, most = self.least_sum or 0.0, self.most_sum or 0.0
            is_even = least > 0 and most - least <= TOLERANCE * most
            counts |= {"log10": self.n_log10, "minus_log": self.n_minus_log, "shares": self.n_positive * is_even}
        return next((kind for kind, count in counts.items() if count == self.n), "logits")

    @property
    def confidence_kind(self) -> str:
        """What a confidence out of [0, 1] looks like; `wrong`: most are within."""
        n_out = self.n_above + self.n_below
        if not n_out or self.least is None or self.most is None:
            return "probs"
        if self.most <= RANGE_TOLERANCE:
            return "log_probs"
        if 2 * n_out <= self.n_confidence:
            return "wrong"
        return "percent" if self.least >= -RANGE_TOLERANCE and self.most <= 100.01 else "logits"


def check_choice(outputs: str) -> str:
    """The value of an option `outputs`.

    Raises:
        ArgumentError: there is no such value.
    """
    if outputs not in OUTPUTS:
        raise ArgumentError(
            f"outputs is one of {', '.join(OUTPUTS)}, not {outputs!r}{near_matches(str(outputs), OUTPUTS)}"
        )
    return outputs


def check_outputs(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    outputs: str = "auto",
    *,
    origin: str,
) -> tuple[str, str]:
    """Refuse outputs that are not what they are called; reads, writes nothing.

    Args:
        con: from `connect`.
        relation: a table or view with the columns position, row_name (text that names the row in messages), pred,
            confidence and probs, a list without NULL and NaN; each may be NULL.
        outputs: what the caller says that the values are; `auto` takes only probabilities.
        origin: what to call the relation.

    Returns:
        What the values are, and what the confidence is, values of `outputs` beside `auto`: convert them accordingly
        (query `create_converted`), then call `check_confidence`.

    Raises:
        SchemaError: the values are something else; the message names a row, and the option that takes them.
    """
    facts = _Facts(
        *fetch(con, "read_output_facts", relation=relation, sum_tolerance=_WITHIN, range_tolerance=RANGE_TOLERANCE)[0]
    )
    _check_probs(con, relation, facts, outputs, origin)
    kind = _check_confidences(con, relation, facts, outputs, origin)
    return "probs" if outputs == "auto" else outputs, kind


def _check_probs(con: duckdb.DuckDBPyConnection, relation: str, facts: _Facts, outputs: str, origin: str) -> None:
    kind = facts.kind
    if not facts.n:
        return
    if outputs in ("auto", "probs"):
        if kind != "probs":
            raise SchemaError(_not_probabilities(con, relation, facts, outputs, origin))
        return
    taken = {"logits": facts.n, "log_probs": facts.n_log, "percent": facts.n_percent, "sigmoid": facts.n_unit}
    # Softmax of probabilities is again a list of probabilities, and wrong. One row may sum to 1 by chance.
    is_other = outputs == "logits" and facts.n > 1 and kind in ("probs", "percent", "log10", "minus_log")
    if taken[outputs] < facts.n or is_other:
        row = _example(con, relation, "probs" if is_other else outputs)
        use = "leave outputs= out" if kind == "probs" else _CURES.get(kind, f'give outputs="{kind}"')
        raise SchemaError(f'{origin}: outputs="{outputs}", but {row}: these are {WORDS[kind]}; {use}')


def _not_probabilities(con: duckdb.DuckDBPyConnection, relation: str, facts: _Facts, outputs: str, origin: str) -> str:
    wrong, row = facts.n - facts.n_probs, _example(con, relation, "auto")
    start = f"{origin}: the probabilities of an image lie in [0, 1] and sum to 1, but {row}"
    if outputs == "probs" or facts.n_probs > wrong:
        return f"{start}; so in {wrong:,} of {facts.n:,} rows; correct them"
    kind = facts.kind
    return f"{start}; these look like {WORDS[kind]}: {OPTIONS[kind]}"


def _example(con: duckdb.DuckDBPyConnection, relation: str, expected: str) -> str:
    """The first row that is not what was expected, in words."""
    names = {"relation": relation, "sum_tolerance": _WITHIN, "range_tolerance": RANGE_TOLERANCE, "expected": expected}
    row, values, total = fetch(con, "read_output_example", **names)[0]
    shown = ", ".join(f"{value:.4g}" for value in values[:4]) + (", …" if len(values) > 4 else "")
    return f"{row} has [{shown}], sum {total:.4g}"


def _check_confidences(con: duckdb.DuckDBPyConnection, relation: str, facts: _Facts, outputs: str, origin: str) -> str:
    """What the confidence is: probs, or what `outputs` says."""
    kind = facts.confidence_kind
    # Of many classes the best may have less than one percent; beside probs, `check_confidence` sees what is wrong.
    if kind == "wrong" and outputs == "percent" and facts.n and not facts.n_below and (facts.most or 0) <= 100.01:
        kind = "percent"
    if kind == "probs" and outputs == "percent" and not facts.n and 0 < (facts.most or 0) <= 1:
        raise SchemaError(
            f'{origin}: outputs="percent", but the largest confidence is {facts.most:.4g}: leave outputs= out'
        )
    if kind == "probs" or (kind == outputs and outputs in ("percent", "log_probs")):
        return kind
    row, value = fetch(con, "read_confidence_example", relation=relation, range_tolerance=RANGE_TOLERANCE)[0]
    start = f"{origin}: a confidence lies in [0, 1], but {row} has {value:.4g}"
    if kind == "wrong":
        n = facts.n_above + facts.n_below
        hint = ", which is no table of percents: leave outputs= out" * (outputs == "percent")
        raise SchemaError(
            f"{start}; so in {n:,} of {facts.n_confidence:,} rows{hint}; correct them, or leave the column out"
        )
    if kind == "logits":
        raise SchemaError(
            f"{start}; a logit alone gives no probability: leave the column out, or give all logits of an image, "
            "as a column logits or one column per class"
        )
    if outputs != "auto":
        raise SchemaError(f'{start} and outputs="{outputs}"; give it as a probability, or leave the column out')
    raise SchemaError(f"{start}; these look like {WORDS[kind]}: {OPTIONS[kind]}")


def check_lone_confidence(
    con: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str], column: str, *, origin: str
) -> list[str]:
    """Whether a confidence without probabilities beside it is at least what the most probable class has.

    Args:
        con: from `connect`.
        relation: as for `check_confidence`.
        names: of the classes.
        column: what the confidence is called.
        origin: what to call the relation.

    Returns:
        A note where one is below 1 / number of classes, which a model with more classes can give.

    Raises:
        SchemaError: of two classes, one is below 0.5: it may be the probability of the other.
    """
    least = (1 - _WITHIN) / max(len(names), 1)
    rows = fetch(con, "read_low_confidence", relation=relation, least=least)
    n, n_confidence, row, confidence, pred, n_preds = rows[0]
    if not n:
        return []
    start = f"{row} has {column} {confidence:.4g} for its prediction, class {pred} ({names[pred]!r})"
    share = f"in {n:,} of {n_confidence:,} rows"
    as_it_is = f'columns={{"confidence": "{column}"}} (--columns confidence={column})'
    if len(names) != 2:
        return [
            f"{start}, but the most probable of {len(names)} classes has at least {1 / len(names):.4g} (so {share}): "
            f"is it the probability of the prediction, by a model with more classes? {as_it_is} says so"
        ]
    other = names[1 - pred]
    cure = (
        f'columns={{"positive": "{column}"}} (--columns positive={column}) takes that'
        if n_preds == 1 and pred == 0
        else f"then write one column per class, called {names[0]} and {names[1]}"
    )
    raise SchemaError(
        f"{origin}: {start}, but the more probable of two classes has at least 0.5 (so {share}): {column} may be the "
        f"probability of class {1 - pred} ({other!r}) in every row: {cure}; or that of the prediction, made with "
        f"another threshold than 0.5: {as_it_is} takes that"
    )


def check_confidence(con: duckdb.DuckDBPyConnection, relation: str, *, origin: str) -> int:
    """Refuse a confidence that is not the probability of its prediction, once both are probabilities.

    Args:
        con: from `connect`.
        relation: columns position, row_name, pred, confidence, probs, and unscaled: the probabilities before they
            were made to sum to 1.
        origin: what to call the relation.

    Returns:
        In how many rows the prediction is not the class of the largest probability.

    Raises:
        SchemaError: they differ; the message names the first row.
    """
    n, row, confidence, probability, pred, n_other = fetch(
        con, "read_confidence_facts", relation=relation, tolerance=_WITHIN
    )[0]
    if n:
        raise SchemaError(
            f"{origin}: {row} has confidence {confidence:.4g}, and {probability:.4g} as the probability of its "
            f"prediction, class {pred} (so in {n:,} rows); correct one, or leave the confidence out: probs say it"
        )
    return int(n_other)
