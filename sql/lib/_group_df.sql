-- Degrees of freedom of a cluster-robust interval: the effective number of groups, less one.
-- Grain: scalar.
-- Parameters: n (images), sizes (sum of the squared sizes of the groups)
-- Edges: one group gives NULL; at least 0.5: the interval is as good as unbounded; equal groups: their number - 1.
-- Source: Kish (1965), Survey Sampling; Carter, Schnepel & Steigerwald (2017), Rev. Econ. Stat. 99:698-709
create or replace macro _group_df(n, sizes) as
case when sizes < n::double * n then greatest(0.5e0, n::double * n / sizes - 1) end;
