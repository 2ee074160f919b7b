-- Is a model better than a baseline, each trained with several seeds: other images and other seeds would both differ.
-- Grain: one row.
-- Parameters: runs, baselines (lists of relations, a seed each), level := 0.95, is_right := null (as mcnemar)
-- Edges: images that all runs have answered; a side of one run is taken to vary as the other; one and one: no interval.
-- Source: crossed random effects: Searle, Casella & McCulloch (1992), ch. 4; Satterthwaite (1946), Biometrics 2:110.
create or replace macro compare_seeds(runs, baselines, level := 0.95, is_right := null) as table
with _answers as materialized (
    from _sides(runs, baselines, is_right)
),

_sizes as (
    select
        count(distinct run) filter (where is_run) as n_runs,
        count(distinct run) filter (where not is_run) as n_baselines,
    from _answers
),

_images as (
    select
        image_id,
        count(*) = n_runs + n_baselines as is_common,
        count(*) filter (where is_run and was_right) as right_run,
        count(*) filter (where not is_run and was_right) as right_baseline,
    from _answers
    cross join _sizes
    where image_id is not null
        and was_right is not null
    group by image_id, n_runs, n_baselines
),

_seeds as (
    select
        _answers.is_run,
        count(*) filter (where _answers.was_right)::double as n_right,
    from _answers
    inner join _images on _answers.image_id = _images.image_id
    where _images.is_common
    group by _answers.is_run, _answers.run
),

_spread as (
    select
        var_samp(n_right) filter (where is_run) as variance_run,
        var_samp(n_right) filter (where not is_run) as variance_baseline,
        sum(n_right * n_right) filter (where is_run) as squares_run,
        sum(n_right * n_right) filter (where not is_run) as squares_baseline,
    from _seeds
),

_sums as (
    select
        count(*) filter (where is_common)::double as n,
        count(*) filter (where not is_common) as n_left_out,
        sum(right_run) filter (where is_common)::double as total_run,
        sum(right_baseline) filter (where is_common)::double as total_baseline,
        sum(right_run * right_run) filter (where is_common)::double as rows_run,
        sum(right_baseline * right_baseline) filter (where is_common)::double as rows_baseline,
        sum(right_run * right_baseline) filter (where is_common)::double as products,
    from _images
),

-- The variance of a run's accuracy over the seeds, and how much of it is chance of seed and image together: the
-- residual mean square of runs x images.
_variances as (
    select
        *,
        variance_run / (n * n) as seeds_run,
        variance_baseline / (n * n) as seeds_baseline,
        (total_run - rows_run / n_runs - squares_run / n + total_run * total_run / (n * n_runs))
        / nullif((n - 1) * (n_runs - 1), 0) / n as chance_run,
        (
            total_baseline - rows_baseline / n_baselines - squares_baseline / n
            + total_baseline * total_baseline / (n * n_baselines)
        ) / nullif((n - 1) * (n_baselines - 1), 0) / n as chance_baseline,
        total_run / n_runs - total_baseline / n_baselines as sum_diff,
        rows_run / (n_runs * n_runs) + rows_baseline / (n_baselines * n_baselines)
        - 2 * products / (n_runs * n_baselines) as squares_diff,
        1 / n_runs as share_run,
        1 / n_baselines as share_baseline,
    from _sums
    cross join _spread
    cross join _sizes
    where n > 0
),

_parts as (
    select
        *,
        coalesce(seeds_run, seeds_baseline) * share_run as part_run,
        coalesce(seeds_baseline, seeds_run) * share_baseline as part_baseline,
        coalesce(chance_run, chance_baseline, 0) * share_run
        + coalesce(chance_baseline, chance_run, 0) * share_baseline as chance,
        -- As in mcnemar's interval two images are added, of answers that differ as they do by chance alone.
        (squares_diff + (share_run + share_baseline) / 2 - sum_diff * sum_diff / (n + 2))
        / ((n + 1) * (n + 2)) as images,
        -- Few seeds say little about which side varies more: never more degrees of freedom than at equal spread.
        case
            when least(n_runs, n_baselines) = 1 then nullif(greatest(n_runs, n_baselines) - 1, 0)
            else least(
                (share_run + share_baseline) ** 2
                / (share_run ** 2 / (n_runs - 1) + share_baseline ** 2 / (n_baselines - 1)),
                coalesce(
                    (part_run + part_baseline) ** 2
                    / nullif(part_run ** 2 / (n_runs - 1) + part_baseline ** 2 / (n_baselines - 1), 0),
                    'inf'::double
                )
            )
        end as df_seeds,
    from _variances
),

_errors as (
    select
        *,
        case when df_seeds > 0 then greatest(0, part_run + part_baseline - chance) + images end as variance,
        greatest(
            variance ** 2 / ((part_run + part_baseline) ** 2 / df_seeds + images ** 2 / (n + 1)), df_seeds
        ) as df,
        _t_ppf(_level(level), df) * sqrt(variance) as half_width,
    from _parts
)

select
    coalesce(_errors.n, 0)::bigint as n,
    _sums.n_left_out,
    _sizes.n_runs,
    _sizes.n_baselines,
    _errors.total_run / (_errors.n * _errors.n_runs) as accuracy_run,
    _errors.total_baseline / (_errors.n * _errors.n_baselines) as accuracy_baseline,
    _errors.sum_diff / _errors.n as diff,
    case
        when _errors.half_width >= 0 then greatest(-1e0, _errors.sum_diff / (_errors.n + 2) - _errors.half_width)
    end as ci_low,
    case
        when _errors.half_width >= 0 then least(1e0, _errors.sum_diff / (_errors.n + 2) + _errors.half_width)
    end as ci_high,
    _t_sf(_errors.sum_diff / (_errors.n + 2) / sqrt(_errors.variance), _errors.df) as p_value,
    sqrt(_errors.variance) as std_error,
    _errors.df,
    sqrt(_errors.seeds_run) as seed_sd_run,
    sqrt(_errors.seeds_baseline) as seed_sd_baseline,
from _sums
cross join _sizes
left join _errors on true;
