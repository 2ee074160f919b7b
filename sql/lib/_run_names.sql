-- How the relations of a list are called in the column run: as given, without database and schema.
-- Grain: scalar, a list of names.
-- Parameters: names
-- Edges: the names of files stay; so do all where two would be the same without.
-- Source: definition
create or replace macro _run_names(names) as
list_transform(
    [list_transform(names, lambda _name: case
        when regexp_matches(lower(_name), '[/\\]|[.](parquet|csv|tsv|json|jsonl|ndjson|gz|zst)$') then _name
        else regexp_replace(_name, '^(\w+[.]){1,2}(\w+)$', '\2')
    end)],
    lambda _short: case when list_unique(_short) < len(_short) then names else _short end
)[1];
