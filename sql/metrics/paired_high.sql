-- Upper end of the interval of the difference b - a of two shares of right answers on the same n images.
-- Grain: scalar.
-- Parameters: a_only, b_only (images that only one has right), n, level (0.95 for a 95 % interval)
-- Edges: as paired_low, of which it is the mirror image; never above 1.
-- Source: Agresti & Min (2005), Stat. Med. 24:729-740.
create or replace macro paired_high(a_only, b_only, n, level) as
0 - paired_low(b_only, a_only, n, level);
