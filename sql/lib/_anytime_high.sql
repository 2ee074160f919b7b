-- Upper end of an interval for k successes of n that holds for all n at once, regardless of the number of looks.
-- Grain: scalar.
-- Parameters: k, n, level (0.95: the intervals of all n together miss with probability 0.05 at most)
-- Edges: n = 0 gives NULL; k = n gives exactly 1.
-- Source: Robbins (1970), Ann. Math. Stat. 41:1397-1409; Waudby-Smith & Ramdas (2020), NeurIPS: uniform prior
create or replace macro _anytime_high(k, n, level) as
1 - _anytime_low(n - k, n, level);
