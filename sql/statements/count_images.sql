-- How many images the file knows.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select count(*) as n
from images;
