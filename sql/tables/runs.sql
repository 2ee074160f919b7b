-- Every run of a model over images, with what made it.
-- Grain: one row per run.
-- Parameters: none
-- Edges: n_images were asked for, n_ok + n_errors are done; status: running, finished, …; sample: stopped by a rule.
-- Source: this project
create table if not exists runs (
    run varchar not null,
    dataset varchar not null,
    model varchar not null,
    weights varchar,
    weights_sha256 varchar,
    model_label_space varchar,
    label_space varchar,
    class_policy varchar not null,
    outputs varchar,
    prompts json,
    probe json,
    version varchar,
    weights_key varchar,
    transform_source varchar,
    classes_source varchar,
    workers integer,
    layer varchar,
    transform json,
    dtype varchar,
    dtype_agreement json,
    device varchar,
    batch_size integer,
    packages json,
    trusted_pickle boolean,
    selection varchar,
    members json,
    sample json,
    status varchar not null,
    n_images bigint not null default 0,
    n_ok bigint not null default 0,
    n_errors bigint not null default 0,
    started_at timestamp not null default (current_timestamp at time zone 'UTC'),
    finished_at timestamp,
    seconds json,
    total_seconds double,
    images_per_second double,
    storage varchar not null default 'table'
);
