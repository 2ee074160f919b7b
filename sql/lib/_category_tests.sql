-- How far the shares of counted categories have moved: what psi_category and drift share.
-- Grain: one row per feature.
-- Parameters: rel (feature, value, in_ref, in_cur: how often each side has a value), floor_share (least, for psi)
-- Edges: NULL is a category; one of one side counts; a side empty: NULL; p_value is rough where categories are rare.
-- Source: Lin (1991), IEEE Trans. Inf. Theory 37:145-151, in nats; p_value: Pearson's test, scipy's chi2_contingency
create or replace macro _category_tests(rel, floor_share) as table
with _counts as (
    select
        feature,
        value,
        sum(in_ref) as in_ref,
        sum(in_cur) as in_cur,
        sum(sum(in_ref)) over (partition by feature)::bigint as n_ref,
        sum(sum(in_cur)) over (partition by feature)::bigint as n_cur,
    from query_table(rel)
    group by feature, value
),

_shares as (
    select
        *,
        in_ref / nullif(n_ref, 0) as ref_share,
        in_cur / nullif(n_cur, 0) as cur_share,
        greatest(in_ref / nullif(n_ref, 0), floor_share) as ref_floored,
        greatest(in_cur / nullif(n_cur, 0), floor_share) as cur_floored,
    from _counts
)

select
    feature,
    case
        when count(ref_share + cur_share) > 0 then sum((cur_floored - ref_floored) * ln(cur_floored / ref_floored))
    end as psi,
    case
        when count(ref_share + cur_share) > 0 then sqrt(greatest(0, sum(
            case when ref_share > 0 then ref_share * ln(2 * ref_share / (ref_share + cur_share)) else 0 end
            + case when cur_share > 0 then cur_share * ln(2 * cur_share / (ref_share + cur_share)) else 0 end
        ) / 2))
    end as js_distance,
    sum(abs(ref_share - cur_share)) / 2 as total_variation,
    count(*) as categories,
    max(n_ref) as n_ref,
    max(n_cur) as n_cur,
    _chi2_sf(
        max(n_ref) * max(n_cur) * sum((ref_share - cur_share) ** 2 / (in_ref + in_cur)),
        count(*) - 1
    ) as p_value,
from _shares
group by feature;
