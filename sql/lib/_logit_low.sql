-- Lower end of the interval of a share that is normal on the logit scale; upper: 1 - _logit_low(1 - share, …).
-- Grain: scalar.
-- Parameters: share, std_error, level (0.95 for a 95 % interval)
-- Edges: NULL at 0 and 1, where the logit has no value; NaN gives NaN; a level outside 0..1 is an error.
-- Source: Pepe (2003), The Statistical Evaluation of Medical Tests, ch. 5
create or replace macro _logit_low(share, std_error, level) as
case
    when isnan(share) then share
    when share > 0 and share < 1
        then 1 / (1 + (1 - share) / share * exp(_norm_ppf((1 + _level(level)) / 2) * std_error / (share * (1 - share))))
end;
