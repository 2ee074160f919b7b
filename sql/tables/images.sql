-- Images: where each is, what it is, and its true class.
-- Grain: one row per data set and uri.
-- Parameters: none
-- Edges: label NULL: unlabeled; accepted: all right classes; sizes before EXIF orientation; statistics once measured.
-- Source: this project
create table if not exists images (
    image_id bigint not null,
    dataset varchar not null,
    uri varchar not null,
    sha256 varchar not null,
    n_bytes bigint not null,
    format varchar not null,
    width_px integer not null,
    height_px integer not null,
    split varchar,
    label integer,
    accepted integer[],
    meta json,
    brightness float,
    contrast float,
    sharpness float,
    colorfulness float,
    entropy float
);
