-- Labels that somebody has looked at: replaced ones, and suspected ones that are right.
-- Grain: one row per image and review.
-- Parameters: none
-- Edges: sha256: the bytes reviewed; labels are classes, NULL: unlabeled; review is ok or wrong.
-- Source: this project
create table if not exists label_changes (
    image_id bigint not null,
    sha256 varchar not null,
    old_label integer,
    new_label integer,
    old_accepted integer[],
    review varchar not null,
    reviewed_at timestamp,
    applied_at timestamp not null default (current_timestamp at time zone 'UTC'),
    source varchar not null,
    source_sha256 varchar not null
);
