-- Natural logarithm of the probability of k successes in n trials that each succeed with probability p.
-- Grain: scalar.
-- Parameters: k, n, p
-- Edges: impossible k gives minus infinity; p = 0 and p = 1 are exact.
-- Source: binomial distribution, factorials by lgamma
create or replace macro _binom_logpmf(k, n, p) as
case
    when k < 0 or k > n then '-inf'::double
    when k = 0 and p = 0 or k = n and p = 1 then 0e0
    when p <= 0 or p >= 1 then '-inf'::double
    else lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * ln(p) + (n - k) * ln(1 - p)
end;
