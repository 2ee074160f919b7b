-- How many images McNemar's exact test needs to establish a difference of two shares of right answers.
-- Grain: scalar.
-- Parameters: diff, differing (share of images that only one has right, at least abs(diff)), power, level
-- Edges: no difference, NULL and a power outside 0..1 give NULL.
-- Source: Connor (1987), Biometrics 43:207-211, and 2 / diff for the exact test: its power is then reached or exceeded
create or replace macro _images_to_establish(diff, differing, power, level) as
case
    when diff <> 0 and power > 0 and power < 1 then list_transform(
        [struct_pack(
            gap := abs(diff)::double,
            share := greatest(differing, abs(diff))::double,
            z_level := _norm_ppf((1 + level) / 2),
            z_power := _norm_ppf(power::double)
        )],
        lambda _s: ceil(
            ((_s.z_level * sqrt(_s.share) + _s.z_power * sqrt(_s.share - _s.gap ** 2)) / _s.gap) ** 2 + 2 / _s.gap
        )
    )[1]
end;
