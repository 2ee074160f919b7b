-- Calls of the metrics, on one relation or on two runs.

-- name: metric
-- Call one metric; the relation is the first value.
-- values maps a parameter to SQL text, or to none if its value is bound.
-- SQL text was parsed as one expression before and ends with a line break, which ends a comment too.
from {{ ident(name) }}(
    ?{% for parameter, text in values.items() %},
    {{ ident(parameter) }} := {% if text is none %}?{% else %}{{ text }}{% endif %}
{% endfor %}

);


-- name: list_metrics
-- The metrics of this file in the order of help, with signature and example.
select
    name,
    topic,
    signature,
    description,
    example,
from help
where kind = 'metric';


-- name: read_parameters
-- The parameters of a metric, the relation first, and its signature, empty for a user's own; no row if there is none.
select
    parameters,
    coalesce(regexp_extract(comment, '^[a-z_ ]+: [^\n]*\n([^\n]*)\n', 1), '') as signature,
from duckdb_functions()
where function_type = 'table_macro'
    and function_name = ?
    and not starts_with(function_name, '_')
    and not starts_with(coalesce(comment, ''), 'views: ')
    and not internal
order by database_name <> current_database()
limit 1;


-- name: rounded
-- The rows of the relation `_shown` for people: floats with five significant digits, large ones whole.
select
    *{% if names %} replace (
{% for name in names %}
        case
            when isfinite({{ ident(name) }}) and abs({{ ident(name) }}) < 1e5 then format('{:.5g}', {{ ident(name) }}::double)::double
            when isfinite({{ ident(name) }}) then round({{ ident(name) }}::double)
            else {{ ident(name) }}::double
        end as {{ ident(name) }}{{ ',' if not loop.last }}
{% endfor %}
    ){% endif %}

from _shown;


-- name: relation_splits
-- Splits of the rows of a relation.
select distinct split::varchar as split
from query_table(?)
where split is not null
order by split;


-- name: selected_rows
-- The rows of a relation, or of a list, of one split and for which an expression is true.
-- Each row says of which run it is, so that a metric of these rows does too.
select * exclude (_is_empty)
from query(_rel(?)) -- noqa: LT01
where _is_empty is null
{% if of_split %}
    and split = ?
{% endif %}
{% if where %}
    and ({{ where }})
{% endif %};


-- name: relation_columns
-- The columns of a relation that a metric can read, or of a list of them, and no rows.
from query_table(?)
limit 0;


-- name: list_unknown_functions
-- Which of the names called in a statement are not a function of DuckDB or of this file.
-- Keywords and types that look like a call, such as `in (` or `values (`, do not count.
with _called as (
    select unnest(?::varchar []) as name
)

select name
from _called
where name not in (select function_name from duckdb_functions())
    and name not in (select keyword_name from duckdb_keywords())
    and name not in (select type_name from duckdb_types());


-- name: read_comparable
-- Whether two runs can be compared (view comparable); no row for a run and itself.
select
    reason,
    n_both,
    sample,
from comparable
where run = ?
    and baseline = ?;


-- name: create_compared
-- The columns of one run that a comparison reads, read once; groups is SQL, for the groups of its images.
create or replace temp table {{ ident(name) }} as
select
    image_id,
    uri,
    label,
    label_name,
    pred,
    pred_name,
    confidence,
    {{ groups }} as image_group,
from {{ ident(run) }};


-- name: create_compared_by_duplicates
-- The columns of one run that a comparison reads, near duplicates being the groups of its images.
create or replace temp table {{ ident(name) }} as
select
    image_id,
    label,
    pred,
    group_id as image_group,
from _duplicate_members({{ literal(run) }}, {{ literal(run ~ '_neighbors') }});


-- name: compare
-- Call one metric of two runs on the tables of create_compared, under the names of the runs.
with
{% for run, table in tables.items() %}
{{ ident(run) }} as ( -- noqa: ST03
    from {{ ident(table) }}
){{ "," if not loop.last }}

{% endfor %}
from {{ ident(name) }}(
{% for run in tables %}
    {{ literal(run) }}{{ "," if not loop.last or values or grouped }}
{% endfor %}
{% for value in values %}
    {{ ident(value) }} := ${{ value }}{{ "," if not loop.last or grouped }}
{% endfor %}
{% if grouped %}
    groups := image_group
{% endif %}
);


-- name: compare_scores
-- As compare, of a macro with rows like paired_bootstrap; accuracy has the interval and the p of verdict.
with
{% for run, table in tables.items() %}
{{ ident(run) }} as ( -- noqa: ST03
    from {{ ident(table) }}
){{ "," if not loop.last }}

{% endfor %}
select
    scores.metric,
    scores.value_run,
    scores.value_baseline,
    scores.diff,
    case when scores.metric = 'accuracy' then verdict.ci_low else scores.ci_low end as ci_low,
    case when scores.metric = 'accuracy' then verdict.ci_high else scores.ci_high end as ci_high,
    case when scores.metric = 'accuracy' then verdict.p_exact else scores.p_two_sided end as p_two_sided,
from {{ ident(name) }}(
{% for run in tables %}
    {{ literal(run) }}{{ "," if not loop.last or values or grouped }}
{% endfor %}
{% for value in values %}
    {{ ident(value) }} := ${{ value }}{{ "," if not loop.last or grouped }}
{% endfor %}
{% if grouped %}
    groups := image_group
{% endif %}
) as scores
cross join verdict({% for run in tables %}{{ literal(run) }}, {% endfor %}level := $level{% if grouped %}, groups := image_group{% endif %}) as verdict
order by scores.metric;


-- name: drop_compared
-- Drop a table of create_compared.
drop table if exists temp.{{ ident(name) }};
