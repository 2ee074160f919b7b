-- Make the table of a run: fixed widths, so that another width is refused by its type.
-- Grain: one row per image with an output, once filled.
-- Parameters: run, columns
-- Edges: none
-- Source: this project
create table outputs.{{ ident(run) }} (
    image_id bigint not null,
    sha256 varchar not null{% for name, type in columns %},
    {{ ident(name) }} {{ type }}
{% endfor %}
);
