-- How far up the tree of classes label and prediction meet: the height of their lowest common ancestor.
-- Grain: one row per run, label and prediction, with how many images have them.
-- Parameters: rel, tree (as hierarchy)
-- Edges: 0 if they are equal; a label or pred below 0 meets at the top; a class that is not in the tree is an error.
-- Source: Bertinetto et al. (2020), Making Better Mistakes, CVPR: height is the longest way down to a class
create or replace macro _lca_heights(rel, tree) as table
with _paths as materialized (
    from _tree_paths(tree)
),

_kind as (
    select
        coalesce(bool_or(typeof(class) = 'VARCHAR'), false) as are_named,
        (select max(height) from _paths) as top,
    from query_table(tree)
),

_cells as materialized (
    select
        run,
        case when are_named then coalesce(label_name, label::varchar) else label::varchar end as label_node,
        case when are_named then coalesce(pred_name, pred::varchar) else pred::varchar end as pred_node,
        label < 0 or pred < 0 as is_outside,
        _correct(label, pred) as is_right,
        any_value(top) as top,
        count(*) as n,
    from _images(rel)
    cross join _kind
    where label is not null
        and pred is not null
    group by run, label_node, pred_node, is_outside, is_right
),

_pairs as (
    select distinct
        label_node,
        pred_node,
    from _cells
    where not is_outside
),

_absent as (
    select min(node) as node
    from (select unnest([label_node, pred_node]) as node from _pairs) as _seen
    where node not in (select node from _paths)
),

_meets as (
    select
        _pairs.label_node,
        _pairs.pred_node,
        min(_above.height) as height,
    from _pairs
    inner join _paths as _above on _pairs.label_node = _above.node
    inner join _paths as _too
        on _pairs.pred_node = _too.node
        and _above.ancestor = _too.ancestor
    group by _pairs.label_node, _pairs.pred_node
)

select
    _cells.run,
    _cells.n,
    _cells.is_right,
    _cells.top,
    _cells.is_outside,
    case
        when _cells.is_outside then _cells.top
        when (_cells.label_node = _cells.pred_node) <> _cells.is_right then error(format(
            'label {} and prediction {} are {} by number, not by name: give a tree of numbers',
            _cells.label_node, _cells.pred_node, case when _cells.is_right then 'equal' else 'different' end
        ))::bigint
        -- A class may have parts that are classes too.
        when _cells.is_right then 0
        when _meets.height is null then error(format(
            'the tree has no node above both {} and {}: give it one top', _cells.label_node, _cells.pred_node
        ))::bigint
        else _meets.height
    end as height,
from _cells
left join _meets
    on _cells.label_node = _meets.label_node
    and _cells.pred_node = _meets.pred_node
where (
    select case
        when node is not null
            then error(format('the tree has no class {}: its column class has to name every class', node))
        else true
    end
    from _absent
);
