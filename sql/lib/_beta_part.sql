-- Regularized incomplete beta function below its mean: probability that a Beta(a, b) variable is at most x.
-- Grain: scalar.
-- Parameters: a, b, x (above 0 and not far above (a + 1) / (a + b + 2), where the fraction converges slowly)
-- Edges: 60 steps suffice for a and b up to 100; above the mean use 1 - _beta_part(b, a, 1 - x).
-- Source: Press et al. (2007), Numerical Recipes, 6.4: continued fraction by the modified Lentz method
create or replace macro _beta_part(a, b, x) as
exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * ln(x) + b * ln(1 - x)) / a / list_reduce( -- noqa: PRS
    -- The state: value of the fraction, ratio of its last numerators, inverse ratio of its last denominators.
    list_prepend([1e0, 1e0, 0e0], list_transform(range(1, 61), lambda _i: [case
        when _i % 2 = 1 then -(a + _i // 2) * (a + b + _i // 2) * x / ((a + _i - 1) * (a + _i))
        else _i // 2 * (b - _i // 2) * x / ((a + _i - 1) * (a + _i))
    end])),
    lambda _state, _step: [
        _state[1] * (1 + _step[1] / _state[2]) / (1 + _step[1] * _state[3]),
        1 + _step[1] / _state[2],
        1 / (1 + _step[1] * _state[3])
    ]
)[1];
