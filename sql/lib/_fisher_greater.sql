-- Fisher's exact test, one-sided: probability of k1 or more of n1 by chance if both sides have the same share.
-- Grain: scalar.
-- Parameters: k1, n1, k2, n2 (k successes of n, twice)
-- Edges: no successes at all, or an empty side, give 1; NULL gives NULL.
-- Source: Fisher (1935), J. R. Stat. Soc. 98:39-82; the upper tail of the hypergeometric distribution by lgamma
create or replace macro _fisher_greater(k1, n1, k2, n2) as
case
    when k1 is not null and n1 is not null and k2 is not null and n2 is not null then list_transform(
        [struct_pack(k := k1 + k2, mean := (k1 + k2)::double * n1 / greatest(n1 + n2, 1))],
        -- Terms beyond k1 and more than 12 standard deviations from the mean do not change the sum.
        lambda _s: least(1e0, list_sum(list_transform(
            range(
                greatest(k1, floor(_s.mean - 12 * sqrt(_s.mean + 1) - 40))::bigint,
                least(n1, _s.k, greatest(k1, _s.mean) + 12 * sqrt(_s.mean + 1) + 40)::bigint + 1
            ),
            lambda _x: exp(
                lgamma(n1 + 1) - lgamma(_x + 1) - lgamma(n1 - _x + 1)
                + lgamma(n2 + 1) - lgamma(_s.k - _x + 1) - lgamma(n2 - _s.k + _x + 1)
                + lgamma(_s.k + 1) + lgamma(n1 + n2 - _s.k + 1) - lgamma(n1 + n2 + 1)
            )
        )))
    )[1]
end;
