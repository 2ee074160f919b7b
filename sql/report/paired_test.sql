-- Is the run better than the baseline on the images that both answered: wins, losses, interval, McNemar's p, sentence.
-- Grain: one row.
-- Parameters: run, baseline
-- Edges: a is the baseline, b the run; diff is b - a; established as verdict says.
-- Source: macros mcnemar, verdict
select
    _tests.n,
    _tests.both_right,
    _tests.a_only,
    _tests.b_only,
    _tests.both_wrong,
    _tests.accuracy_a,
    _tests.accuracy_b,
    _tests.diff,
    _tests.ci_low,
    _tests.ci_high,
    _tests.p_exact,
    _tests.p_mid,
    _said.sentence,
    _said.established,
from mcnemar({{ literal(baseline) }}, {{ literal(run) }}) as _tests
cross join verdict({{ literal(baseline) }}, {{ literal(run) }}) as _said;
