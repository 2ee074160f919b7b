-- The query for the rows of one relation or of a list, each with its run; macros read query(_rel(rel)).
-- Grain: scalar, SQL text; one row per row; of a relation without rows one of NULLs, so that its n is 0.
-- Parameters: rel (as query_table; a list gives the rows of all; no name twice)
-- Edges: run is the relation's column run, or its name as given (without database and schema); optional columns: NULL.
-- Source: definition; query_table(list) alone does not say which rows come from which relation
create or replace macro _rel(rel) as
-- Text and not a table macro: with one, a metric of a view over another metric would be recursion to DuckDB.
list_transform(
    [case when typeof(rel) = 'VARCHAR' then [rel]::varchar[] else rel::varchar[] end],
    lambda _names: case
        when len(_names) = 0 then error('the list of relations is empty: give at least one name')
        when list_unique(_names) < len(_names)
            then error(format('a relation is given twice: {}; give each once', array_to_string(_names, ', ')))
        else 'select * exclude (run, _rel), coalesce(run::varchar, _rel) as run from ('
            || array_to_string(list_transform(list_zip(_names, _run_names(_names)), lambda _name: format(
                'select ''{1}'' as _rel, * {2} union all by name '
                || 'select ''{1}'' as _rel, true as _is_empty where not exists (from query_table(''{0}''))',
                replace(_name[1], '''', ''''''),
                replace(_name[2], '''', ''''''),
                -- Arrays of two lengths have no common type, not even with a list.
                case
                    when len(_names) = 1 then format('from query_table(''{}'')', replace(_name[1], '''', ''''''))
                    else format(
                        'replace (probs::double[] as probs, activation::double[] as activation) from ('
                        || 'from query_table(''{}'') '
                        || 'union all by name '
                        || 'select null::double[] as probs, null::double[] as activation where false)',
                        replace(_name[1], '''', '''''')
                    )
                end
            )), ' union all by name ')
            || ' union all by name select null as _rel, null as run, null as image_id, null::varchar as label_name, '
            || 'null::varchar as pred_name, null::varchar as uri, null::boolean as _is_empty where false)'
    end
)[1];
