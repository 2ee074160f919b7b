-- Share of images whose label is among the k most probable classes, with its Wilson score interval.
-- Grain: one row per run and k, in order of both.
-- Parameters: rel (or a list), ks := [1, 3, 5], level := 0.95
-- Edges: ties go to the lower class; NaN in probs or label outside is wrong; NULL label, pred or probs is left out.
-- Source: Russakovsky et al. (2015), ImageNet Large Scale Visual Recognition Challenge, IJCV 115:211-252.
create or replace macro topk_accuracy(rel, ks := [1, 3, 5], level := 0.95) as table
with _answers as (
    select
        run,
        label,
        probs,
        case when not isnan(list_max(probs)::double) then _p_of(probs, label) end as p_label,
    from _images(rel)
    where label is not null
        and pred is not null
        and probs is not null
),

_ranks as (
    select
        run,
        case
            when p_label is not null
                then 1 + len(list_filter(probs, lambda _p: _p > p_label))
                    + len(list_filter(probs[1:label], lambda _p: _p = p_label))
        end as label_rank,
        count(*) as n,
    from _answers
    group by all
),

_wanted as (
    select
        run,
        unnest(ks) as k,
    from (select distinct run from query(_rel(rel))) as _runs
),

_counts as (
    select
        _wanted.run,
        _wanted.k,
        coalesce(sum(_ranks.n), 0)::bigint as n,
        coalesce(sum(_ranks.n) filter (where _ranks.label_rank <= _wanted.k), 0)::bigint as correct,
    from _wanted
    left join _ranks on _wanted.run = _ranks.run
    group by _wanted.run, _wanted.k
)

select
    k,
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct, n, level) as ci_low,
    wilson_high(correct, n, level) as ci_high,
    run,
from _counts
order by run, k;
