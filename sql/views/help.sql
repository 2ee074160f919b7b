-- Every table, view and macro of this file, with what it is.
-- Grain: one row per object.
-- Parameters: none
-- Edges: runs made later appear too; objects without a comment do not.
-- Source: duckdb_functions(), duckdb_views(), duckdb_tables()
create or replace view help as
with _objects as (
    select
        function_name as name,
        case function_type when 'table_macro' then 'metric' else 'function' end as kind,
        array_to_string(parameters, ', ') as parameters,
        comment,
        database_name,
    from duckdb_functions()
    where not internal
    union all
    select
        view_name as name,
        'view' as kind,
        null as parameters,
        comment,
        database_name,
    from duckdb_views()
    where not internal
    union all
    select
        table_name as name,
        'table' as kind,
        null as parameters,
        comment,
        database_name,
    from duckdb_tables()
    where not internal
)

select
    name,
    kind,
    parameters,
    comment as description,
from _objects
where comment is not null
    and database_name = current_database()
order by kind, name;
