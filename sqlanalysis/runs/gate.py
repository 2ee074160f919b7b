"""The gate for values: what outputs are called must be what they are.

Probabilities lie in [0, 1] and sum to 1, a confidence lies in [0, 1] and is the probability of its prediction. Logits,
log-probabilities, percents and independent probabilities are recognized and refused with the option that takes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from ..db.statements import fetch
from ..errors import ArgumentError, SchemaError, near_matches

OUTPUTS = ("auto", "probs", "logits", "log_probs", "percent", "sigmoid")
TOLERANCE = 1e-2  # of sums and of confidence: 2-byte floats drift
RANGE_TOLERANCE = 1e-6  # of [0, 1]: no softmax goes beyond
WORDS = {
    "logits": "logits",
    "log_probs": "log-probabilities",
    "percent": "percents",
    "sigmoid": "independent probabilities (sigmoid), or some classes are missing",
    "probs": "probabilities",
}


@dataclass(frozen=True)
class _Facts:
    """Rows of probs, and how many of them are what; range of confidence."""

    n: int
    n_unit: int  # within [0, 1]
    n_probs: int  # … and sum to 1
    n_percent: int
    n_log: int
    n_confidence: int
    least: float | None
    most: float | None

    @property
    def kind(self) -> str:
        """What all rows of probs are."""
        counts = {"probs": self.n_probs, "percent": self.n_percent, "log_probs": self.n_log, "sigmoid": self.n_unit}
        return next((kind for kind, count in counts.items() if count == self.n), "logits")

    @property
    def confidence_kind(self) -> str:
        """What a confidence out of [0, 1] looks like."""
        if self.least is None or self.most is None:
            return "probs"
        if self.least >= -RANGE_TOLERANCE:
            return "probs" if self.most <= 1 + RANGE_TOLERANCE else "percent" if self.most <= 100.01 else "logits"
        return "log_probs" if self.most <= RANGE_TOLERANCE else "logits"


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


def check_outputs(con: duckdb.DuckDBPyConnection, relation: str, outputs: str = "auto", *, origin: str) -> str:
    """Refuse outputs that are not what they are called; reads, writes nothing.

    Args:
        con: from `connect`.
        relation: a table or view with the columns position, row_name (text that names the row in messages), pred,
            confidence and probs, a list without NULL and NaN; each may be NULL.
        outputs: what the caller says that the values are; `auto` takes only probabilities.
        origin: what to call the relation.

    Returns:
        What the values are, a value of `outputs` beside `auto`: convert them accordingly (query `create_converted`),
        then call `check_confidence`.

    Raises:
        SchemaError: the values are something else; the message names a row, and the option that takes them.
    """
    facts = _Facts(
        *fetch(con, "read_output_facts", relation=relation, sum_tolerance=TOLERANCE, range_tolerance=RANGE_TOLERANCE)[0]
    )
    _check_probs(con, relation, facts, outputs, origin)
    _check_confidences(con, relation, facts, outputs, origin)
    return "probs" if outputs == "auto" else outputs


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
    is_other = outputs == "logits" and facts.n > 1 and kind in ("probs", "percent")
    if taken[outputs] < facts.n or is_other:
        row = _example(con, relation, "probs" if is_other else outputs)
        use = "leave outputs= out" if kind == "probs" else f'give outputs="{kind}"'
        raise SchemaError(f'{origin}: outputs="{outputs}", but {row}: these are {WORDS[kind]}; {use}')


def _not_probabilities(con: duckdb.DuckDBPyConnection, relation: str, facts: _Facts, outputs: str, origin: str) -> str:
    wrong, row = facts.n - facts.n_probs, _example(con, relation, "auto")
    start = f"{origin}: the probabilities of an image lie in [0, 1] and sum to 1, but {row}"
    if outputs == "probs" or facts.n_probs > wrong:
        return f"{start}; so in {wrong:,} of {facts.n:,} rows; correct them"
    kind = facts.kind
    return f'{start}; these look like {WORDS[kind]}: outputs="{kind}" takes them (--outputs {kind})'


def _example(con: duckdb.DuckDBPyConnection, relation: str, expected: str) -> str:
    """The first row that is not what was expected, in words."""
    names = {"relation": relation, "sum_tolerance": TOLERANCE, "range_tolerance": RANGE_TOLERANCE, "expected": expected}
    row, values, total = fetch(con, "read_output_example", **names)[0]
    shown = ", ".join(f"{value:.4g}" for value in values[:4]) + (", …" if len(values) > 4 else "")
    return f"{row} has [{shown}], sum {total:.4g}"


def _check_confidences(con: duckdb.DuckDBPyConnection, relation: str, facts: _Facts, outputs: str, origin: str) -> None:
    kind = facts.confidence_kind
    if not facts.n_confidence or facts.least is None or facts.most is None:
        return
    if kind == "probs":
        # A percent that is nowhere above 1 is none. Beside percents in probs, `check_confidence` sees it.
        if outputs == "percent" and not facts.n and 0 < facts.most <= 1:
            raise SchemaError(
                f'{origin}: outputs="percent", but the largest confidence is {facts.most:.4g}: leave outputs= out'
            )
        return
    if outputs in ("percent", "log_probs") and kind == outputs:
        return
    row, value = fetch(con, "read_confidence_example", relation=relation, range_tolerance=RANGE_TOLERANCE)[0]
    start = f"{origin}: a confidence lies in [0, 1], but {row} has {value:.4g}"
    if kind == "logits":
        raise SchemaError(
            f"{start}; a logit alone gives no probability: leave the column out, or give all logits of an image, "
            "as a column logits or one column per class"
        )
    if outputs != "auto":
        raise SchemaError(f'{start} and outputs="{outputs}"; give it as a probability, or leave the column out')
    raise SchemaError(f'{start}; these look like {WORDS[kind]}: outputs="{kind}" takes them (--outputs {kind})')


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
        con, "read_confidence_facts", relation=relation, tolerance=TOLERANCE
    )[0]
    if n:
        raise SchemaError(
            f"{origin}: {row} has confidence {confidence:.4g}, and {probability:.4g} as the probability of its "
            f"prediction, class {pred} (so in {n:,} rows); correct one, or leave the confidence out: probs say it"
        )
    return int(n_other)
