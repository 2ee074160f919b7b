-- Mean entropy of the probabilities, in nats: of all answers, of right ones and of wrong ones.
-- Grain: one row per run.
-- Parameters: rel (or a list)
-- Edges: NULL label, pred or probs is left out; 0 ln 0 = 0; NaN gives NaN.
-- Source: Shannon (1948), Bell Syst. Tech. J. 27:379-423.
create or replace macro predictive_entropy(rel) as table
with _answers as (
    select
        run,
        _correct(label, pred) as is_right,
        list_sum(list_transform(
            probs,
            lambda _p: case when _p > 0 then -_p::double * ln(_p::double) else 0e0 end
        )) as entropy,
        isnan(list_max(probs)::double) as has_nan,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and probs is not null
),

_guarded as (
    select
        run,
        is_right,
        case when has_nan then 'nan'::double else entropy end as entropy,
    from _answers
)

select
    count(_guarded.run) as n,
    avg(entropy) as mean_entropy,
    avg(entropy) filter (where is_right) as mean_entropy_right,
    avg(entropy) filter (where not is_right) as mean_entropy_wrong,
    _runs.run,
from (select distinct run from query(_rel(rel))) as _runs
left join _guarded on _runs.run = _guarded.run
group by _runs.run
order by _runs.run;
