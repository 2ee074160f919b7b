-- Accuracy is high enough: the lower end of its 95 % Wilson interval reaches the bound.
-- Grain: one row, a violation unless violated is false.
-- Parameters: $run, $min_accuracy
-- Edges: no labeled image with a prediction is a violation; images that failed are left out, see max_errors.
-- Source: macro accuracy; with groups= its cluster-robust interval
select
    n,
    accuracy,
    ci_low,
    ci_high,
    ci_low < $min_accuracy as violated,
    case
        when n = 0 then 'no labeled image has a prediction'
        else format(
            'accuracy {:.2f} %, 95 % interval {:.2f} to {:.2f} %, n = {:,}: its lower end {} {:g} %',
            100 * accuracy, 100 * ci_low, 100 * ci_high, n,
            case when ci_low < $min_accuracy then 'is below' else 'reaches' end, 100 * $min_accuracy::double
        )
    end as message,
from accuracy($run, groups := {{ groups | default('null') }});
