-- Error rates of slices with intervals, tested against the rest and corrected for the number of tests.
-- Grain: one row per run and slice of at least min_n images, worst lower bound first.
-- Parameters: rel (run, feature, value, n, n_wrong, wholes as in _slice_p), min_n
-- Edges: p_value NULL stays NULL and is not counted; slices and pairs each have half of the weight; Wilson 95 %.
-- Source: Holm (1979), Scand. J. Stat. 6:65-70; BH weighted by Genovese, Roeder & Wasserman (2006), Biometrika 93:509.
create or replace macro _slice_tests(rel, min_n) as table
with _tests as (
    select
        run,
        feature,
        value,
        n,
        n_wrong,
        len(wholes) as depth,
        wholes[1].n_wrong / nullif(wholes[1].n, 0) as base_rate,
        _slice_p(n, n_wrong, wholes) as p_value,
    from query_table(rel)
    where n >= min_n
),

-- There are many more pairs than slices; without weights the correction for pairs would hide slices. The mean is 1.
_weights as (
    select
        *,
        count(p_value) over (partition by run) as tests,
        tests / nullif(count(p_value) over (partition by run, depth), 0) as share_of_depth,
        share_of_depth / case when share_of_depth > 1 then 2 else 1 end as weight,
    from _tests
),

_positions as (
    select
        *,
        row_number() over (partition by run order by p_value / weight nulls last) as position,
    from _weights
),

_ranked as (
    select
        *,
        n_wrong / nullif(n, 0) as error_rate,
        sum(case when p_value is not null then weight end)
            over (partition by run order by position rows between current row and unbounded following) as weight_left,
    from _positions
)

select
    feature,
    value,
    n,
    n_wrong,
    error_rate,
    wilson_low(n_wrong, n, 0.95) as ci_low,
    wilson_high(n_wrong, n, 0.95) as ci_high,
    error_rate / nullif(base_rate, 0) as lift,
    error_rate - base_rate as diff,
    n_wrong - n * base_rate as excess_errors,
    p_value,
    case
        when p_value is not null
            then least(
                1e0,
                max(p_value / weight * weight_left) over (partition by run order by position rows unbounded preceding)
            )
    end as p_holm,
    case
        when p_value is not null then least(
            1e0,
            min(p_value / weight * tests / position)
                over (partition by run order by position desc rows unbounded preceding)
        )
    end as p_bh,
    run,
from _ranked
order by run asc, ci_low desc, feature asc, value asc;
