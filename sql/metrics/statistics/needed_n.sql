-- How many labeled images are needed to establish that a run is better than its baseline by a gain of accuracy.
-- Grain: scalar.
-- Parameters: baseline_accuracy, gain (0.01: a point; negative: a drop), power := 0.8, level := 0.95, differing := null
-- Edges: differing: share of images that only one has right; NULL takes independent errors, which needs the most.
-- Source: Connor (1987), Biometrics 43:207-211, for McNemar's exact test: the power is reached or exceeded
create or replace macro needed_n(baseline_accuracy, gain, power := 0.8, level := 0.95, differing := null) as
case
    when baseline_accuracy is null or gain is null then null
    when not baseline_accuracy between 0 and 1 or not baseline_accuracy + gain between 0 and 1
        then error('baseline_accuracy and baseline_accuracy + gain must be from 0 to 1, such as 0.76 and 0.01')
    when gain = 0 then error('gain must not be 0; give the smallest difference that matters, such as 0.01')
    when not (power > 0 and power < 1) then error('power must be between 0 and 1, such as 0.8')
    when not differing between abs(gain) and 1 then error('differing must be from gain to 1: a share of the images')
    else _images_to_establish(
        gain,
        coalesce(
            differing,
            baseline_accuracy * (1 - baseline_accuracy - gain) + (1 - baseline_accuracy) * (baseline_accuracy + gain)
        ),
        power,
        _level(level)
    )::bigint
end;
