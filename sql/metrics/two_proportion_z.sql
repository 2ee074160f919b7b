-- z statistic of the difference between two independent shares, with their pooled variance.
-- Grain: scalar.
-- Parameters: k1, n1, k2, n2 (k successes of n, twice)
-- Edges: n = 0, or all or none successful in both together, gives NULL.
-- Source: the pooled two-sample test of proportions; statsmodels' proportions_ztest
create or replace macro two_proportion_z(k1, n1, k2, n2) as
(k1 / nullif(n1, 0) - k2 / nullif(n2, 0)) / nullif(
    sqrt(greatest(
        (k1 + k2) / nullif(n1 + n2, 0) * (1 - (k1 + k2) / nullif(n1 + n2, 0)) * (1 / nullif(n1, 0) + 1 / nullif(n2, 0)),
        0
    )),
    0
);
