-- Which image of a data set a path means (sqlanalysis/data/paths.py): written paths → _found.
-- Steps: as written, relative to a folder, by the longest common end. What fits two images fits none.

-- name: create_written
-- The distinct paths to look up, and how they are compared: NFC, `/`, without ./ and //.
-- unformed is the same without NFC, to tell which of the two made the difference.
create or replace temp table _written as
with _paths as (
    select distinct path
    from {{ ident(relation) }}
    where path <> ''
),

_slashed as (
    select
        path,
        replace(case when path ilike 'file://%' then url_decode(substr(path, 8)) else path end, '\', '/') as slashed,
    from _paths
),

_members as (
    select
        path,
        case
            when contains(slashed, '#')
                then regexp_replace(slashed, '(?i)(\.(?:zip|tar|tgz|tar\.gz))#', '\1/')
            else slashed
        end as member,
    from _slashed
),

_cleaned as (
    select
        path,
        case
            when contains(member, '//') or contains(member, './')
                then regexp_replace(
                    regexp_replace(regexp_replace(member, '([^:/])/{2,}', '\1/', 'g'), '^(\./+)+', ''), '(/\.)+/', '/', 'g'
                )
            else member
        end as unformed,
    from _members
)

select
    path,
    unformed,
    nfc_normalize(unformed) as clean,
from _cleaned;


-- name: create_known
-- The images of the data set, their uris as they are compared; a member of an archive lies below the archive.
create or replace temp table _known as
select
    image_id,
    uri,
    regexp_replace(nfc_normalize(replace(uri, '\', '/')), '(?i)(\.(?:zip|tar|tgz|tar\.gz))#', '\1/') as clean,
from images
where dataset = ?;


-- name: read_known_ends
-- The smallest and largest uri as compared, whose common beginning is the folder of all images.
select
    min(clean) as first,
    max(clean) as last,
from _known;


-- name: create_found
-- Images by equal uri: as written, or relative to one of the folders. Columns: see insert_found_by_end.
create or replace temp table _found as
with _exact as (
    select
        _written.path,
        _known.image_id,
        _known.uri,
    from _written
    inner join _known on _written.path = _known.uri
),

_rest as (
    select *
    from _written
    where path not in (select path from _exact)
),

_tries as (
    select
        1 as step,
        path,
        unformed,
        clean,
        clean as key,
    from _rest
{% for folder in folders %}
    union all
    select
        2 as step,
        path,
        unformed,
        clean,
        {{ literal(folder) }} || '/' || clean as key,
    from _rest
{% endfor %}
),

-- a/../b is b; three levels are enough for what people write.
_keys as (
    select
        *,
        case
            when contains(key, '/../')
                then {% for _ in range(3) %}regexp_replace({% endfor %}key{% for _ in range(3) %}, '/[^/]+/\.\./', '/'){% endfor %}

            else key
        end as resolved,
    from _tries
),

_steps as (
    select
        _keys.path,
        _keys.step,
        any_value(_keys.unformed) as unformed,
        any_value(_keys.clean) as clean,
        count(distinct _known.image_id) as n,
        min(_known.image_id) as image_id,
        min(_known.uri) as uri,
        max(_known.uri) as other_uri,
    from _keys
    inner join _known on _keys.resolved = _known.clean
    group by _keys.path, _keys.step
),

_best as (
    select *
    from _steps
    qualify step = min(step) over (partition by path)
)

select
    path,
    1 as n,
    image_id,
    uri,
    'as written' as step,
    null::varchar as problem,
from _exact
union all
select
    path,
    n,
    image_id,
    uri,
    case
        when contains(path, '\') then 'back slashes'
        when clean <> unformed or uri <> nfc_normalize(uri) then 'Unicode form'
        when step = 1 then 'as written'
        else 'relative'
    end as step,
    case when n > 1 then n || ' images fit ' || path || ': ' || uri || ', ' || other_uri end as problem,
from _best;


-- name: insert_found_elsewhere
-- Paths that are exactly an image of another data set: they mean that one, and not an image whose path ends like it.
insert into _found
select
    _written.path,
    0 as n,
    null as image_id,
    null as uri,
    null as step,
    'no image ' || _written.path || '; it is an image of data set ' || min(_others.dataset) as problem,
from _written
inner join (
    select
        dataset,
        regexp_replace(nfc_normalize(replace(uri, '\', '/')), '(?i)(\.(?:zip|tar|tgz|tar\.gz))#', '\1/') as clean,
    from images
    where dataset <> $dataset
) as _others
    on _written.clean = _others.clean
where _written.path not in (select path from _found)
group by _written.path;


-- name: count_unfound
-- How many paths are still without an image.
select count(*) as n
from _written
where path not in (select path from _found);


-- name: create_longest
-- The longest end, in whole names, that every other path has in common with an image, and how many images have it;
-- without the ending of the file only when no file has the name as it is.
create or replace temp table _longest as
with _left as (
    select
        path,
        clean,
        string_split(ltrim(clean, '/'), '/') as names,
    from _written
    where path not in (select path from _found)
),

_files as (
    select
        image_id,
        uri,
        string_split(ltrim(clean, '/'), '/') as names,
        regexp_replace(names[-1], '\.[^.]+$', '') as stem,
    from _known
),

_candidates as (
    select
        image_id,
        names,
        false as is_stem,
    from _files
    where names[-1] in (select names[-1] from _left)
    union all
    select
        image_id,
        list_append(names[:-2], stem) as names,
        true as is_stem,
    from _files
    where stem <> names[-1]
        and stem in (select names[-1] from _left)
),

_known_ends as (
    select
        is_stem,
        depth,
        array_to_string(names[-depth:], '/') as ending,
        count(*) as n,
        min(image_id) as image_id,
        max(image_id) as other_id,
        any_value(names[-depth - 1]) as folder,
    from _candidates
    cross join lateral (select unnest(range(1, least(len(names), {{ depth }}) + 1)) as depth) as _depths
    group by is_stem, depth, ending
),

_given_ends as (
    select
        path,
        len(names) as n_names,
        depth,
        array_to_string(names[-depth:], '/') as ending,
        names[-depth - 1] as folder,
    from _left
    cross join lateral (select unnest(range(1, least(len(names), {{ depth }}) + 1)) as depth) as _depths
)

select
    _given_ends.path,
    _given_ends.ending,
    _given_ends.folder as given_folder,
    _known_ends.folder as known_folder,
    _known_ends.is_stem,
    _known_ends.n,
    _known_ends.image_id,
    _known_ends.other_id,
    _given_ends.depth = _given_ends.n_names as is_whole,
from _given_ends
inner join _known_ends
    on _given_ends.ending = _known_ends.ending
    and _given_ends.depth = _known_ends.depth
qualify row_number() over (partition by _given_ends.path order by _known_ends.is_stem, _given_ends.depth desc) = 1;


-- name: insert_found_by_end
-- Images by the longest common end of their path.
-- A path whose next folder is another folder of the data set, or another split, means an image that is not here.
insert into _found
select
    _longest.path,
    _longest.n,
    _longest.image_id,
    _known.uri,
    case
        when contains(_longest.path, '\') then 'back slashes'
        when _longest.is_stem then 'without ending'
        when _longest.is_whole then 'end'
        else 'other root'
    end as step,
    case
        when _longest.n > 1 then _longest.n || ' images ' || if(_longest.is_stem, 'are called ', 'end with ')
            || _longest.ending || ', such as ' || _known.uri || ' and ' || _other.uri
        when not _longest.is_whole and (
            _longest.given_folder in (select folder from _folders)
            or (
                lower(_longest.given_folder) in (select split from _splits)
                and lower(_longest.known_folder) in (select split from _splits)
            )
        )
            then 'no image ' || _longest.path || '; ' || _known.uri || ' has this name in another folder'
    end as problem,
from _longest
inner join _known on _longest.image_id = _known.image_id
inner join _known as _other on _longest.other_id = _other.image_id;


-- name: create_folders
-- Names of the folders below the folder of all images.
create or replace temp table _folders as
select distinct unnest(string_split(folder, '/')) as folder
from (
    select distinct regexp_replace(substr(clean, {{ start }}), '/?[^/]*$', '') as folder
    from _known
) as _paths;


-- name: create_splits
-- What folders of splits are usually called.
create or replace temp table _splits as
select unnest(?::varchar[]) as split;


-- name: refuse_shared_images
-- Two paths that both end like one image, without being its path: at most one of them means it.
update _found
set problem = 'no image ' || _found.path || '; ' || _found.uri || ' ends like it, and like another path: ' || _shared.other
from (
    select
        image_id,
        min(path) as first,
        max(path) as other,
    from _found
    where problem is null
    group by image_id
    having count(*) filter (where step = 'other root') > 0
        and count(distinct lower(regexp_replace(path, '[\\/]+', '/', 'g'))) > 1
) as _shared
where _found.image_id = _shared.image_id
    and _found.step = 'other root'
    and _found.problem is null;


-- name: insert_unmatched
-- What fits no image; for the first few, the image with the most similar name.
insert into _found
with _left as (
    select path
    from _written
    where path not in (select path from _found)
),

_first as (
    select
        path,
        lower(parse_filename(replace(path, '\', '/'))) as file,
    from _left
    order by path
    limit {{ n_near }}
),

_near as (
    select
        _first.path,
        arg_max(_known.uri, jaro_winkler_similarity(lower(parse_filename(_known.clean)), _first.file)) as uri,
        max(jaro_winkler_similarity(lower(parse_filename(_known.clean)), _first.file)) as similarity,
    from _first
    cross join _known
    group by _first.path
)

select
    _left.path,
    0 as n,
    null as image_id,
    null as uri,
    null as step,
    'no image ' || _left.path || case when _near.similarity > 0.8 then '; did you mean ' || _near.uri || '?' else '' end
        as problem,
from _left
left join _near on _left.path = _near.path;


-- name: drop_path_table
-- Drop what the look-up needed; _found stays for the caller.
drop table if exists {{ ident(table) }};
