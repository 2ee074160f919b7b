-- The rank of a class by probability, from 1: with label_rank(probs, label) <= 5 an answer is right among the top 5.
-- Grain: scalar.
-- Parameters: xs (list or array of probabilities), cls (0-based)
-- Edges: ties go to the lower class; NULL gives NULL; NaN in xs, or a class that is not in it, is after the last.
-- Source: definition, as topk_accuracy
create or replace macro label_rank(xs, cls) as
case
    when xs is null or cls is null then null
    when isnan(list_max(xs)::double) or cls < 0 or cls >= len(xs) then len(xs) + 1
    else list_transform(
        [_p_of(xs, cls)],
        lambda _p: 1 + len(list_filter(xs, lambda _x: _x > _p)) + len(list_filter(xs[1:cls], lambda _x: _x = _p))
    )[1]
end;
