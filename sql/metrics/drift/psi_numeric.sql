-- Population stability index of a number: how far its distribution has moved from a reference.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, expr (a number over the columns of both), bins := 10, floor_share := 1e-4 (least share)
-- Edges: bins are quantiles of rel_ref, equal ones merged, [low, high); NULL and NaN are left out; a side empty: NULL.
-- Source: Yurdakul (2018), Statistical Properties of Population Stability Index; sum of (cur - ref) ln(cur / ref)
create or replace macro psi_numeric(rel_ref, rel_cur, expr, bins := 10, floor_share := 1e-4) as table
with _reference as (
    select (expr)::double as value
    from _one_run_once(rel_ref)
    where not isnan((expr)::double)
),

_current as (
    select (expr)::double as value
    from _one_run_once(rel_cur)
    where not isnan((expr)::double)
),

_edges as (
    select list_distinct(quantile_cont(
        value,
        list_transform(range(1, greatest(bins, 2)), lambda _i: _i / greatest(bins, 2))
    )) as edges
    from _reference
),

_values as (
    select value, 1 as in_ref, 0 as in_cur from _reference
    union all
    select value, 0 as in_ref, 1 as in_cur from _current
),

_counts as (
    select
        len(list_filter(edges, lambda _edge: _edge <= value)) as bin,
        sum(in_ref) as in_ref,
        sum(in_cur) as in_cur,
    from _values
    cross join _edges
    group by 1
),

_shares as (
    select
        in_ref,
        in_cur,
        greatest(in_ref / nullif(sum(in_ref) over (), 0), floor_share) as ref_share,
        greatest(in_cur / nullif(sum(in_cur) over (), 0), floor_share) as cur_share,
    from _counts
),

_result (psi, bins, n_ref, n_cur) as (
    select
        case
            when sum(in_ref) > 0 and sum(in_cur) > 0 then sum((cur_share - ref_share) * ln(cur_share / ref_share))
        end,
        count(*),
        coalesce(sum(in_ref), 0)::bigint,
        coalesce(sum(in_cur), 0)::bigint,
    from _shares
)

from _result;
