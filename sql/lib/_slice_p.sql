-- The test of a slice: is it worse than the rest of all images, and than the rest of each larger slice it is part of.
-- Grain: scalar.
-- Parameters: n, n_wrong, wholes (list of structs n, n_wrong: all images, then the slices that it is part of)
-- Edges: NULL if there is nothing to test: a slice of all images, or all or none wrong; the largest of several p.
-- Source: Fisher's exact test, one-sided; a union of hypotheses is rejected when each of them is
create or replace macro _slice_p(n, n_wrong, wholes) as
case
    when wholes[1].n > n and wholes[1].n_wrong > 0 and wholes[1].n_wrong < wholes[1].n then list_max(list_transform(
        wholes,
        lambda _w: _fisher_greater(n_wrong, n, _w.n_wrong - n_wrong, _w.n - n)
    ))
end;
