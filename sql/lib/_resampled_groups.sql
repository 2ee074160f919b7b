-- Bootstrap resamples of counted cells in which images of a group are drawn together, as often as their group.
-- Grain: one row per replicate and cell, of zeros not all; the columns of rel less cluster, n replaced, and replicate.
-- Parameters: rel (n, cell: a text that names it, run, cluster, and others), n_resamples, seed
-- Edges: cells without a cluster as in _resampled; a group is drawn a Poisson number of times with mean 1.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62; Field & Welsh (2007), JRSS B 69:369-390
create or replace macro _resampled_groups(rel, n_resamples, seed) as table
with _alone as ( -- noqa: ST03
    select * exclude (cluster)
    from query_table(rel)
    where cluster is null
),

_groups as ( -- noqa: ST03
    select distinct
        1 as n,
        cluster,
        concat_ws(':', 'group', cluster::varchar) as cell,
    from query_table(rel)
    where cluster is not null
),

_drawn as (
    select
        _cells.* exclude (cluster, cell),
        _times.replicate,
        _times.n as times,
    from query_table(rel) as _cells
    inner join _resampled('_groups', n_resamples, seed) as _times on _cells.cluster = _times.cluster
)

from _resampled('_alone', n_resamples, seed)
union all by name
select * exclude (times) replace ((n * times)::bigint as n),
from _drawn;
