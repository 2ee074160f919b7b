-- Exact two-sided sign test: probability of a split at least as uneven if wins and losses are equally likely.
-- Grain: scalar.
-- Parameters: wins, losses
-- Edges: no wins and no losses give 1; ties are not counted by either.
-- Source: binomial test with p = 1/2; McNemar's exact test on discordant pairs
create or replace macro _sign_test(wins, losses) as
case
    when wins is null or losses is null then null
    else list_transform(
        [wins + losses],
        -- Terms more than 40 standard deviations below the middle are 0 in double precision.
        lambda _n: least(1e0, 2 * list_sum(list_transform(
            range(
                greatest(0, least(wins, losses, floor(_n / 2 - 20 * sqrt(_n))))::bigint,
                least(wins, losses)::bigint + 1
            ),
            lambda _k: exp(_binom_logpmf(_k, _n, 0.5e0))
        )))
    )[1]
end;
