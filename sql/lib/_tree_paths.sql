-- Every node of a tree of classes with all that it is part of, itself included.
-- Grain: one row per node and ancestor; height is the longest way from the ancestor down to a class without parts.
-- Parameters: tree (class, parent; the top has no parent: NULL or no row)
-- Edges: a class with two parents and a cycle are errors; nodes are text.
-- Source: definition
create or replace macro _tree_paths(tree) as table
with recursive _edges as (
    select
        class::varchar as node,
        max(parent::varchar) as parent,
    from query_table(tree)
    where class is not null
    group by node
    having case
        when min(parent::varchar) < max(parent::varchar) then error(format(
            'class {} has two parents in the tree, {} and {}: a tree has one for each',
            class::varchar, min(parent::varchar), max(parent::varchar)
        ))
        else true
    end
),

_nodes as (
    select node from _edges
    union
    select parent as node from _edges where parent is not null
),

_size as (
    select count(*) as n from _nodes
),

_paths as (
    select
        node,
        node as ancestor,
        0 as steps,
    from _nodes
    union all
    select
        _paths.node,
        _edges.parent as ancestor,
        case
            when _paths.steps < _size.n then _paths.steps + 1
            else error(format('the tree has a cycle: {} is above itself', _edges.node))
        end as steps,
    from _paths
    inner join _edges on _paths.ancestor = _edges.node
    cross join _size
    where _edges.parent is not null
),

_heights as (
    select
        ancestor,
        max(steps) as height,
    from _paths
    group by ancestor
)

select
    _paths.node,
    _paths.ancestor,
    _heights.height,
from _paths
inner join _heights on _paths.ancestor = _heights.ancestor;
