-- The lowest confidence threshold at which the lower end of the Wilson interval reaches a target accuracy.
-- Grain: one row per run.
-- Parameters: rel (or a list), target_accuracy := 0.99, level := 0.95
-- Edges: as at_threshold; never reached: threshold NULL, 0 answered; chosen here, so confirm it on other images there.
-- Source: Geifman & El-Yaniv (2017), Selective Classification for Deep Neural Networks, NeurIPS; Wilson (1927)
create or replace macro threshold_for(rel, target_accuracy := 0.99, level := 0.95) as table
-- Wilson's interval inverts the score test: its lower end reaches the target if and only if the score of the target
-- reaches the normal quantile.
with _passed as (
    select
        steps.run as passed_run,
        min(steps.threshold)::double as threshold,
    from _coverage_steps(rel) as steps
    cross join (select _norm_ppf((1 + level) / 2) as quantile) as normal
    where target_accuracy < 1
        and steps.kept - steps.wrong - target_accuracy * steps.kept
        >= normal.quantile * sqrt(steps.kept * target_accuracy * (1 - target_accuracy))
    group by steps.run
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
