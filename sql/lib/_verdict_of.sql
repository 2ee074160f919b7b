-- The columns of verdict, then how many images both, either or none of the runs has right.
-- Grain: one row.
-- Parameters: rel (a relation as _pair_cells), run_name, baseline_name (which the sentence shows), level
-- Edges: as verdict.
-- Source: _pair_tests; balanced accuracy: variance by class, each with two images of the overall share, or by groups
create or replace macro _verdict_of(rel, run_name, baseline_name, level) as table
with _tests as (
    select
        *,
        coalesce(p_exact <= 1 - level and (ci_low > 0 or ci_high < 0), false) as established,
    from _pair_tests(rel, level)
),

_members as (
    select
        label,
        cluster,
        sum(n) as n,
        sum(n * (correct_run::integer - correct_baseline::integer)) as gained,
        sum(n * (correct_run <> correct_baseline)::integer) as differing,
    from query_table(rel)
    where label >= 0
    group by label, cluster
),

_classes as (
    select
        label,
        sum(n)::bigint as n,
        sum(gained)::bigint as gained,
        sum(differing)::bigint as differing,
    from _members
    group by label
),

-- What the images of a group add to the balanced difference, squared; those without a group each for itself. Nothing
-- is centered within a class, nor is it below: a class may lie in few groups.
_groups as (
    select
        case
            when _members.cluster is null then sum(_members.differing / _classes.n / _classes.n)
            else sum(_members.gained / _classes.n) ** 2
        end as square,
    from _members
    inner join _classes on _members.label = _classes.label
    group by _members.cluster
),

-- In a class of few images none may differ by chance, so that its own share would claim that nothing varies.
_balanced as (
    select
        avg(_classes.gained / _classes.n) as balanced_diff,
        sqrt(sum(
            (_classes.differing + 2 * (_tests.run_only + _tests.baseline_only + 1) / (_tests.n + 2))
            / (_classes.n + 2) / _classes.n
        )) / count(*) as std_error,
    from _classes
    cross join _tests
),

_widths as (
    select
        balanced_diff,
        case
            when df is null then z * std_error * sqrt(deff)
            -- As in _agresti_min_end, an image is added in which the runs differ, here with the weight of its group.
            else _t_from_z(z, df) * greatest(std_error, sqrt(squares + (deff / n) ** 2))
        end as half_width,
    from _balanced
    cross join _tests
    cross join (select _norm_ppf((1 + level) / 2) as z) as _normal
    cross join (select sum(square) / (select count(*) from _classes) ** 2 as squares from _groups) as _squares
),

_figures as (
    select
        *,
        case when half_width is not null then greatest(-1, balanced_diff - half_width) end as balanced_low,
        case when half_width is not null then least(1, balanced_diff + half_width) end as balanced_high,
        -- Only where it disagrees: with classes of one size both differences are the same.
        coalesce((balanced_low > 0 or balanced_high < 0) and diff * balanced_diff <= 0, false) as is_opposed,
        _point_digits(ci_low, ci_high) as digits,
        _point_digits(balanced_low, balanced_high) as balanced_digits,
        (run_only + baseline_only + 2) / (n + 4) as share,
        ceil(deff * _images_to_establish(diff, share, 0.8, level)) as enough,
        case when not established and enough > n then enough end as needed_n,
        run_name::varchar as name_run,
        baseline_name::varchar as name_baseline,
        format('{:.10g} % interval', (100 * level)::double) as interval_text,
        case when n_groups < n then format(' in {:,} groups', n_groups) else '' end as in_groups,
    from _tests
    cross join _widths
),

_texts as (
    select
        *,
        -- Of an established difference its size is shown, without the sign, and its interval from small to large.
        format('{} {} to {}',
            interval_text,
            _points(case when established and diff < 0 then -ci_high else ci_low end, digits),
            _points(case when established and diff < 0 then -ci_low else ci_high end, digits)
        ) as accuracy_interval,
        format('{} {} to {}',
            interval_text, _points(balanced_low, balanced_digits), _points(balanced_high, balanced_digits)
        ) as balanced_interval,
        case when diff > 0 then 'better' else 'worse' end as word,
        case when diff > 0 then '+' else '' end || _points(diff, digits) as signed,
        case when balanced_diff > 0 then '+' else '' end || _points(balanced_diff, balanced_digits) as balanced_signed,
        case
            when not established and is_opposed then format(
                '; but balanced accuracy, which counts every class alike, differs by {} points ({})',
                balanced_signed, balanced_interval
            )
            when established and diff * balanced_diff < 0 then format(
                '; balanced accuracy, which counts every class alike, does not confirm it: {} points ({})',
                balanced_signed, balanced_interval
            )
            else ''
        end as balanced_text,
        case
            when round(100 * ci_low, digits) < 0 and round(100 * ci_high, digits) > 0 then format(
                'a gain of up to {} or a loss of up to {} points is still possible',
                _points(ci_high, digits), _points(-ci_low, digits)
            )
            when round(100 * ci_high, digits) > 0
                then format('a gain of up to {} points or none is still possible', _points(ci_high, digits))
            else format('a loss of up to {} points or none is still possible', _points(-ci_low, digits))
        end as possible,
        coalesce(needed_n, ceil(deff * _images_to_establish(0.01, share, 0.8, level))) as images,
        format(
            'about {:,} images{} would settle {}',
            round(images, (1 - floor(log10(images)))::integer)::bigint,
            case when in_groups <> '' then ' in groups like these' else '' end,
            case when needed_n is null then 'a difference of one point' else 'a difference of this size' end
        ) as settled,
    from _figures
)

select
    case
        when coalesce(n, 0) = 0 then format(
            '{} against {}: nothing to compare, no labeled image that both have answered', name_run, name_baseline
        )
        when deff is null then format(
            '{} against {}: {} points of accuracy, for which there is no interval: all {:,} images are in one group',
            name_run, name_baseline, format('{:+.1f}', (100 * diff)::double), n
        )
        when not established then format(
            '{} against {}: difference not established at this n ({:,} images{}; {} points of accuracy, {}): {}; {}{}',
            name_run, name_baseline, n, in_groups, signed, accuracy_interval, possible, settled, balanced_text
        )
        when is_opposed then format(
            '{} against {}: {} by {} points of accuracy ({}, n = {:,}{}), but {} by {} points of balanced accuracy, '
            || 'which counts every class alike ({})',
            name_run, name_baseline, word, _points(abs(diff), digits), accuracy_interval, n,
            in_groups, case when diff > 0 then 'worse' else 'better' end, _points(abs(balanced_diff), balanced_digits),
            balanced_interval
        )
        else format(
            '{} is {} than {} by {} points of accuracy ({}, n = {:,}{}){}',
            name_run, word, name_baseline, _points(abs(diff), digits), accuracy_interval, n, in_groups, balanced_text
        )
    end as sentence,
    n,
    diff,
    ci_low,
    ci_high,
    p_exact,
    established,
    balanced_diff,
    balanced_low,
    balanced_high,
    needed_n::bigint as needed_n,
    both_right,
    run_only,
    baseline_only,
    both_wrong,
from _texts;
