-- A number in [0, 1) that depends only on a text: the same for every version, machine and thread count.
-- Grain: scalar.
-- Parameters: seed_text (anything; it is cast to text)
-- Edges: NULL gives NULL; equal texts give equal numbers.
-- Source: the low 53 bits of MD5's lower half; RFC 1321
create or replace macro _uniform_of(seed_text) as
(md5_number_lower(seed_text::varchar) & 9007199254740991) / 9007199254740992e0;
