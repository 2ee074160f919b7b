-- The lowest confidence threshold above which a target accuracy is established, tested in a fixed order from the top.
-- Grain: one row per run.
-- Parameters: rel (or a list), target_accuracy := 0.99, level := 0.95 (missed with probability (1 - level) / 2 at most)
-- Edges: as at_threshold; not established: threshold NULL, 0 answered; ci_low reaches the target, with a margin.
-- Source: Angelopoulos et al. (2021), Learn then Test, fixed sequences with several starts; Wilson (1927) score test
create or replace macro threshold_for(rel, target_accuracy := 0.99, level := 0.95) as table
with _steps as (
    select
        run,
        threshold,
        kept,
        wrong,
        max(kept) over (partition by run) as n,
    from _coverage_steps(rel)
    where target_accuracy < 1
        and threshold is not null
        and _level(level) > 0
),

-- Fewer images than `least` cannot establish the target even if all are right. The order of the tests must not depend
-- on what is right: they come after every tenth more images, and every seventh of them starts a sequence of its own.
_order as (
    select
        *,
        greatest(1, _norm_ppf((1 + level) / 2) ** 2 * target_accuracy / (1 - target_accuracy)) as least,
        floor(ln(kept / least) / ln(1.1))::bigint as part,
        floor(ln(n / least) / ln(1.1))::bigint // 7 + 1 as sequences,
    from _steps
),

_tests as (
    select
        run,
        part // 7 as sequence,
        max(kept) as kept,
        arg_max(threshold, kept) as threshold,
        -- Wilson's interval inverts this test: its lower end reaches the target where the score reaches the quantile.
        arg_max(
            kept - wrong - target_accuracy * kept
            >= _norm_ppf(1 - (1 - level) / 2 / sequences)
            * sqrt(kept * greatest(target_accuracy, 0) * (1 - target_accuracy)),
            kept
        ) as is_passed,
    from _order
    where part >= 0
    group by run, part
),

_results as (
    select
        *,
        -- Each sequence ends at the first test that is not passed, so a pass counts if no failure lies between it and
        -- the start of some sequence.
        row_number() over (partition by run, sequence order by kept) = 1 as is_start,
        count(*) filter (where not is_passed) over (partition by run order by kept) as failures,
    from _tests
),

_reached as (
    select
        run,
        threshold,
        bool_or(is_start) over (partition by run, failures) as is_established,
    from _results
    where is_passed
),

_passed as (
    select
        run as passed_run,
        min(threshold)::double as threshold,
    from _reached
    where is_established
    group by run
)

select
    _passed.threshold,
    answered.n,
    answered.n_answered,
    answered.n_abstained,
    answered.coverage,
    answered.accuracy,
    answered.ci_low,
    answered.ci_high,
    answered.run,
from at_threshold(
    rel, (select chosen.threshold from _passed as chosen where chosen.passed_run = run), level := level
) as answered
left join _passed on answered.run = _passed.passed_run
order by answered.run;
