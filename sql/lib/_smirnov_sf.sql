-- Exact upper tail of Smirnov's two-sample statistic: probability of such a gap for two samples of one distribution.
-- Grain: scalar.
-- Parameters: n, m (sizes of the samples), gap (largest |m * i - n * j|, i and j of their values being below a point)
-- Edges: n or m 0 or NULL gives NULL; n + m steps over 2 * gap / (n + m) numbers, a second or two at n = m = 10,000.
-- Source: Hodges (1958), Ark. Mat. 3:469-486, along diagonals; scipy's ks_2samp(method='exact')
create or replace macro _smirnov_sf(n, m, gap) as -- noqa: PRS
case when n > 0 and m > 0 and gap = 0 then 1e0 when n > 0 and m > 0 and gap > 0 then list_reduce(
    -- The state after each drawn value: the probability of having reached the gap; 0; the probability of each i below
    -- the gap, lowest first; 0. The zeros are neighbors of the first and the last i.
    list_prepend([0e0, 0e0, 1e0, 0e0], list_transform(
        list_transform(range(1, (n + m)::bigint + 1), lambda _t: struct_pack(
            low := greatest(0, _t - m, floor((_t * n - gap) / (n + m)) + 1),
            high := least(n, _t, ceil((_t * n + gap) / (n + m)) - 1),
            was_low := greatest(0, _t - 1 - m, floor(((_t - 1) * n - gap) / (n + m)) + 1),
            was_high := least(n, _t - 1, ceil(((_t - 1) * n + gap) / (n + m)) - 1),
            drawn := _t - 1,
            undrawn := n + m - _t + 1
        )),
        lambda _b: [
            _b.high - _b.low + 1,
            _b.low - _b.was_low + 1,
            n - _b.low + 2,
            m - _b.drawn + _b.low - 1,
            _b.undrawn,
            _b.was_high - _b.was_low + 3,
            case when _b.low > _b.was_low then (m - _b.drawn + _b.was_low) / _b.undrawn else 0 end,
            case when _b.high = _b.was_high then (n - _b.high) / _b.undrawn else 0 end
        ]::double[]
    )),
    lambda _mass, _step: [_mass[1] + _mass[3] * _step[7] + _mass[_step[6]::bigint] * _step[8], 0]
    || list_transform(range(1, _step[1]::bigint + 1), lambda _k: (
        _mass[_k + _step[2]::bigint] * (_step[3] - _k) + _mass[_k + _step[2]::bigint + 1] * (_step[4] + _k)
    ) / _step[5])
    || [0]
)[1] end;
