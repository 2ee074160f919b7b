-- Lower end of the Wilson score interval for k successes of n.
-- Grain: scalar.
-- Parameters: k, n, level.
-- Edges: n = 0 gives NULL; k = 0 gives 0.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro wilson_low(k, n, level) as k / n;
