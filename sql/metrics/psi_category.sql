-- How far the shares of categories have moved from a reference: stability index, Jensen-Shannon, total variation.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, expr (any SQL over the columns of both), floor_share := 1e-4 (least share, for psi)
-- Edges: NULL is a category; a category of one side counts; one side empty gives NULL.
-- Source: Lin (1991), IEEE Trans. Inf. Theory 37:145-151; js_distance is the root of the divergence in nats, as scipy's
create or replace macro psi_category(rel_ref, rel_cur, expr, floor_share := 1e-4) as table
with _values as (
    select
        expr as value,
        1 as in_ref,
        0 as in_cur,
    from query_table(rel_ref)
    union all
    select
        expr as value,
        0 as in_ref,
        1 as in_cur,
    from query_table(rel_cur)
),

_counts as (
    select
        value,
        sum(in_ref) as in_ref,
        sum(in_cur) as in_cur,
    from _values
    group by value
),

_shares as (
    select
        in_ref / nullif(sum(in_ref) over (), 0) as ref_share,
        in_cur / nullif(sum(in_cur) over (), 0) as cur_share,
        greatest(in_ref / nullif(sum(in_ref) over (), 0), floor_share) as ref_floored,
        greatest(in_cur / nullif(sum(in_cur) over (), 0), floor_share) as cur_floored,
    from _counts
)

select
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
from _shares;
