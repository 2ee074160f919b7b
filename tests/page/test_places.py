"""The map of a page: where images are placed and by what, contours, names of regions, and where mistakes gather."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

import sqlanalysis
from sqlanalysis.db.catalogue import recreate_run_views
from sqlanalysis.page import density, places
from sqlanalysis.page.draft import Draft
from sqlanalysis.page.sections.map import map_of

from ..support import report_files

MANY = 1_000_000


def draft_of(con: duckdb.DuckDBPyConnection, run: str, **options: Any) -> Draft:
    draft = Draft(con, max_images=8, **options)
    draft.run = run
    return draft


def placed(con: duckdb.DuckDBPyConnection, run: str, max_rows: int = MANY) -> places.Places:
    found = places.places(draft_of(con, run), max_rows)
    assert found is not None
    return found


def back(found: places.Places) -> np.ndarray:
    """The coordinates that the page's integers stand for."""
    return np.stack([found.left + found.x / 65534 * found.span, found.low + found.y / 65534 * found.span], axis=1)


@pytest.fixture
def digits() -> Any:
    con = sqlanalysis.connect()
    report_files.add_digits(con, 600)
    yield con
    con.close()


def test_a_stored_projection_is_used_as_it_is(digits: Any) -> None:
    found = placed(digits, "digits_logreg")
    assert (found.by, found.is_projection, found.n_outside) == ("activations", True, 0)
    assert found.words == "activations of pixels, PCA · 600 images"
    stored = digits.execute("select x, y from digits_logreg order by image_id").fetchnumpy()
    assert np.abs(back(found) - np.stack([stored["x"], stored["y"]], axis=1)).max() <= found.span / 65534
    assert max(found.extent) == 65534
    assert found.table.schema.names == ["image_id", "x", "y"]


def test_activations_without_a_projection_are_placed_by_their_components(digits: Any) -> None:
    pixels, *_ = report_files.digits()
    vectors = pixels[:600].reshape(600, -1).astype("float32")
    stored = vectors.copy()
    stored[5, 3] = np.nan
    digits.execute("delete from projections")
    digits.execute("alter table outputs.digits_logreg add column activation float[64]")
    given = pa.table({"id": range(600), "vector": pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), 64)})
    digits.register("_given", given)
    digits.execute("update outputs.digits_logreg set activation = _given.vector from _given where image_id = _given.id")
    digits.execute("update outputs.digits_logreg set activation = null where image_id = 6")
    recreate_run_views(digits, ["digits_logreg"])
    found = placed(digits, "digits_logreg")
    assert (found.by, found.is_projection) == ("activations", False)
    kept = np.delete(np.arange(600), [5, 6])
    assert found.ids.tolist() == kept.tolist()
    wanted = PCA(2, svd_solver="full").fit_transform(vectors[kept])
    shown = back(found)
    for axis in range(2):
        assert abs(np.corrcoef(shown[:, axis], wanted[:, axis])[0, 1]) > 0.9999
    assert "sqlanalysis project DB digits_logreg" in str(map_of(draft_of(digits, "digits_logreg"), [], MANY))


def test_a_large_run_is_fitted_to_a_sample_and_placed_whole(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    digits.execute("delete from projections")
    whole = placed(digits, "digits_bayes")
    monkeypatch.setattr(places, "_FIT_IMAGES", 150)
    found = placed(digits, "digits_bayes")
    assert found.ids.tolist() == whole.ids.tolist()
    near = NearestNeighbors(n_neighbors=4).fit(back(found)).kneighbors(return_distance=False)
    assert (found.pred[near] == found.pred[:, None]).mean() > 0.8


@pytest.mark.parametrize("n_classes", [4, 60])
def test_probabilities_place_alike_answers_together(n_classes: int) -> None:
    con = sqlanalysis.connect()
    report_files.add_named(con, [f"class {i}" for i in range(n_classes)], per_class=240 // n_classes)
    con.execute("delete from projections")
    found = placed(con, "noisy")
    assert (found.by, len(found.ids)) == ("probabilities", 240)
    assert found.words == "probabilities (no activations stored) · 240 images"
    near = NearestNeighbors(n_neighbors=4).fit(back(found)).kneighbors(return_distance=False)
    same = (found.pred[near] == found.pred[:, None]).mean()
    assert same > (0.6 if n_classes == 4 else 10 / n_classes)
    con.close()


def test_sure_answers_make_a_disc_with_the_surest_in_the_middle() -> None:
    corners = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    answers = np.repeat([0, 2], [100, 25])
    sure = np.random.default_rng(0).random(125)
    radius = np.hypot(*places.spread(corners, answers, sure).T)
    for code in (0, 2):
        assert np.argsort(radius[answers == code]).tolist() == np.argsort(-sure[answers == code]).tolist()
    assert radius.max() < 5, "discs of two classes do not overlap"
    assert radius[answers == 0].max() / radius[answers == 2].max() == pytest.approx(2, rel=0.01), "the area goes by n"


def test_statistics_place_images_where_nothing_else_is_and_nothing_is_said() -> None:
    con = sqlanalysis.connect()
    report_files.add_named(con, ["a", "b"], per_class=30)
    con.execute("delete from projections")
    con.execute("alter table outputs.noisy drop column probs")
    recreate_run_views(con, ["noisy"])
    assert places.places(draft_of(con, "noisy"), MANY) is None
    assert map_of(draft_of(con, "noisy"), ["a", "b"], MANY) is None
    random = np.random.default_rng(0)
    names = ["brightness", "contrast", "sharpness", "colorfulness", "entropy"]
    values = random.random((60, 5)) * [1, 1, 5000, 80, 8]
    for image_id, row in enumerate(values.tolist()):
        con.execute(f"update images set {', '.join(f'{n} = ?' for n in names)} where image_id = ?", [*row, image_id])
    con.execute("update images set sharpness = null where image_id = 7")
    found = placed(con, "noisy")
    assert (found.by, len(found.ids)) == ("image statistics", 59)
    values[:, 2] = np.log1p(values[:, 2])
    kept = np.delete(values, 7, axis=0)
    wanted = PCA(2).fit_transform((kept - kept.mean(0)) / kept.std(0))
    for axis in range(2):
        assert abs(np.corrcoef(back(found)[:, axis], wanted[:, axis])[0, 1]) > 0.999
    con.close()


def test_a_large_run_is_sampled_like_the_page(digits: Any) -> None:
    for run in ("digits_logreg", "digits_bayes"):
        found = placed(digits, run, 100)
        wanted = digits.sql(f"select image_id from {run} order by sha256, image_id limit 100").fetchall()
        assert set(found.ids.tolist()) == {image_id for (image_id,) in wanted}


def test_equal_bytes_share_a_place(digits: Any) -> None:
    for table in ("images", "outputs.digits_logreg"):
        digits.execute(f"update {table} set sha256 = 'same' where image_id in (3, 9, 400)")
    recreate_run_views(digits, ["digits_logreg"])
    before = digits.sql("select x, y from digits_logreg where image_id = 3").fetchall()[0]
    found = placed(digits, "digits_logreg")
    assert {(int(found.x[i]), int(found.y[i])) for i in (3, 9, 400)} == {(int(found.x[3]), int(found.y[3]))}
    assert back(found)[3] == pytest.approx(before, abs=found.span / 65534)
    assert found.first.sum() == 598


def test_nothing_is_written(tmp_path: Path) -> None:
    con = sqlanalysis.connect(tmp_path / "file.duckdb")
    report_files.add_digits(con, 60)
    con.close()
    con = sqlanalysis.connect(tmp_path / "file.duckdb", read_only=True)
    for run in ("digits_logreg", "digits_bayes"):
        assert map_of(draft_of(con, run), ["zero"] * 10, MANY)
    con.close()


@pytest.mark.parametrize("n", [50, 3000])
def test_one_image_far_away_does_not_squeeze_the_others(n: int) -> None:
    values = np.random.default_rng(1).normal(size=n)
    usual = places.limits(values)
    low, high = places.limits(np.append(values, [1e6, -1e9]))
    assert high - low < 2 * (usual[1] - usual[0])
    assert (np.mean((values >= low) & (values <= high))) > 0.99
    assert places.limits(np.arange(5.0)) == (0, 4)
    assert places.limits(np.full(100, 3.0)) == (3, 3)
    assert places.limits(values[:1])[0] == values[0]


def test_images_beyond_the_limits_are_counted_and_stand_on_the_border(digits: Any) -> None:
    digits.execute("update projections set x = 1e5 where image_id = 11")
    found = placed(digits, "digits_logreg")
    assert found.n_outside == 1
    assert found.x[11] == found.extent[0]
    assert np.median(np.delete(found.x, 11)) > 10_000
    context = map_of(draft_of(digits, "digits_logreg"), [str(i) for i in range(10)], MANY)
    assert context is not None
    assert context["facts"]["n_outside"] == 1


# Contours


def cloud(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two round groups and a bridge, in the coordinates of the page."""
    random = np.random.default_rng(seed)
    centers = np.array([[15_000, 20_000], [50_000, 40_000]])[random.integers(0, 2, n)]
    x, y = (centers + random.normal(0, 4000, (n, 2))).clip(0, 65_534).astype("uint16").T
    return x, y


def inside(rings: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Even-odd rule over all rings."""
    from PIL import Image, ImageDraw

    answer = np.zeros(len(x), bool)
    for ring in rings:
        image = Image.new("1", (1000, 1000))
        ImageDraw.Draw(image).polygon([tuple(corner) for corner in (ring / 100 + 150).tolist()], fill=1)
        answer ^= np.array(image)[(y / 100 + 150).astype(int), (x / 100 + 150).astype(int)]
    return answer


@pytest.mark.parametrize("n", [80, 5000])
def test_a_contour_encloses_the_share_of_images_that_it_says(n: int) -> None:
    x, y = cloud(n)
    lines = density.contours(density.density(x, y, (65_534, 65_534)), x, y)
    assert {line["level"] for line in lines} <= set(range(5))
    for level, mass in enumerate(density.MASSES):
        held = inside([np.array(line["path"]) for line in lines if line["level"] == level], x, y).mean()
        assert held == pytest.approx(mass, abs=0.06)


def test_contours_of_a_ring_have_a_hole_and_all_fit_the_page() -> None:
    random = np.random.default_rng(0)
    angle = random.random(20_000) * 2 * np.pi
    x, y = ((32_767 + 25_000 * f(angle) + random.normal(0, 900, 20_000)).astype("uint16") for f in (np.cos, np.sin))
    rings = [np.array(line["path"]) for line in density.contours(density.density(x, y, (65_534, 65_534)), x, y)]
    assert not inside(rings, np.array([32_767]), np.array([32_767]))[0]
    noisy = random.integers(0, 65_534, (2, 3000)).astype("uint16")
    lines = density.contours(density.density(*noisy, (65_534, 65_534)), *noisy)
    assert 1000 < len(json.dumps(lines, separators=(",", ":"))) <= density.MAX_BYTES
    same = np.full(9, 7, "uint16")
    assert len(density.contours(density.density(same, same, (1, 1)), same, same)) <= 1


def test_rings_are_closed_exact_and_turn_around_what_is_high() -> None:
    rows, columns = np.indices((61, 61))
    cone = 30.0 - np.hypot(rows - 30, columns - 30)
    (ring,) = density.rings(cone, 10.0)
    assert np.hypot(*(ring - 30).T) == pytest.approx(np.full(len(ring), 20.0), abs=0.02)
    row, column = ring.T
    area = (np.dot(column, np.roll(row, -1)) - np.dot(row, np.roll(column, -1))) / 2
    assert area == pytest.approx(np.pi * 400, rel=0.01), "counterclockwise: the inside is at the left"
    # A saddle: two peaks that touch at a corner are one ring or two, by the middle between them.
    for middle, n in ((0.0, 2), (0.4, 1)):
        grid = np.zeros((4, 4))
        grid[1, 1] = grid[2, 2] = 1
        grid[1, 2] = grid[2, 1] = middle
        assert len(density.rings(grid, 0.6)) == n
    random = np.pad(np.random.default_rng(0).random((40, 40)), 1)
    for ring in density.rings(random, 0.5):
        steps = np.abs(np.roll(ring, -1, axis=0) - ring).max(axis=1)
        assert steps.max() <= 1, "each step crosses one square"


def test_a_simplified_ring_stays_within_its_tolerance() -> None:
    angle = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (10 + np.sin(7 * angle))[:, None]
    few = density.simplify(ring, 0.2)
    assert 10 < len(few) < 100
    closed = np.concatenate([few, few[:1]])
    for point in ring:
        a, b = closed[:-1], closed[1:]
        share = (((point - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(1)).clip(0, 1)
        assert np.hypot(*(a + share[:, None] * (b - a) - point).T).min() <= 0.2 + 1e-9


# Names of regions


def test_regions_get_their_most_typical_name_and_do_not_overlap() -> None:
    random = np.random.default_rng(0)
    centers = random.integers(5000, 60_000, (30, 2))
    group = random.integers(0, 30, 4000)
    x, y = (centers[group] + random.normal(0, 700, (4000, 2))).clip(0, 65_534).astype("uint16").T
    usual = random.random(4000) < 0.3
    label = np.where(usual, 30, group)  # one class is everywhere, and typical of nothing
    names = [f"name {i}" for i in range(30)] + ["everywhere"]
    found = density.regions(x, y, (65_534, 65_534), label, names)
    assert 8 <= len(found) <= 20
    for region in found:
        at = int(region["name"].split()[1])
        assert np.hypot(*(centers[at] - [region["x"], region["y"]])) < 4000
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            assert not density._collide(a, b, (65_534, 65_534))
    assert [region["n"] for region in found] == sorted((region["n"] for region in found), reverse=True)
    assert density.regions(x, y, (65_534, 65_534), np.full(4000, -2), names) == []
    assert density.regions(x[:2], y[:2], (65_534, 65_534), label[:2], names) == []


def test_words_of_file_names_name_regions_where_nothing_else_does() -> None:
    ids = np.arange(40)
    files = {i: f"/data/run/{'Beach' if i < 20 else 'forest'}/IMG_{i:04d}_xy.JPG" for i in range(39)}
    codes, names = places.file_words(files, ids, "/data/run/")
    assert names == ["beach", "forest", "img"]
    assert codes[0] == [0, 2]
    assert codes[39] == []
    x = np.where(ids < 20, 5000, 60_000).astype("uint16")
    found = density.regions(x, x, (65_534, 65_534), codes, names)
    assert {region["name"] for region in found} == {"beach", "forest"}


# Where mistakes gather


def test_mistakes_anywhere_are_rarely_said_to_gather() -> None:
    """At most 5 % false alarms: 400 maps whose mistakes lie anywhere, with clusters of different sizes."""
    alarms = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        x, y = cloud(int(random.integers(60, 900)), seed)
        alarms += bool(density.gathering(x, y, random.random(len(x)) < random.uniform(0.05, 0.6))[0])
    assert alarms <= 400 * 0.05 + 2 * np.sqrt(400 * 0.05 * 0.95)


def test_mistakes_in_one_corner_are_found_there() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 65_534, (2, 2000)).astype("uint16")
    corner = (x < 16_000) & (y < 16_000)
    cells, n = density.gathering(x, y, random.random(2000) < np.where(corner, 0.6, 0.1))
    assert 32 <= n <= 64
    assert len(cells) >= 2
    for cell in cells:
        assert corner[cell].mean() > 0.5
    assert density.gathering(x, y, np.zeros(2000, bool)) == ([], n)
    assert density.gathering(x[:20], y[:20], random.random(20) < 0.5) == ([], 1)


def made(label: np.ndarray, pred: np.ndarray, x: np.ndarray, y: np.ndarray, first: np.ndarray | None = None) -> Any:
    n = len(label)
    return places.Places(
        by="activations",
        is_projection=True,
        words="",
        ids=np.arange(n),
        x=x,
        y=y,
        label=label,
        pred=pred,
        wrong=(label != pred).astype(int),
        first=np.ones(n, bool) if first is None else first,
        left=0.0,
        low=0.0,
        span=1.0,
        extent=(65_534, 65_534),
        n_outside=0,
    )


def test_the_finding_names_the_pair_or_the_class() -> None:
    random = np.random.default_rng(0)
    n = 1200
    x, y = random.integers(0, 65_534, (2, n)).astype("uint16")
    label = random.integers(0, 3, n)
    corner = (x < 20_000) & (y < 20_000)
    label[corner] = 0
    pred = label.copy()
    hit = corner & (random.random(n) < 0.7)
    pred[hit] = 3
    classes = ["dog", "cat", "cow", "wolf", "fox", "owl", "bat", "hen"]
    assert places.finding(made(label, pred, x, y), classes)[0] == "Mistakes gather where dog meets wolf."
    pred[hit] = 1 + random.integers(0, 7, hit.sum())
    assert places.finding(made(label, pred, x, y), classes)[0] == "Mistakes gather around dog."
    pred = np.where(random.random(n) < 0.2, 4, label)
    said, n_places = places.finding(made(label, pred, x, y), classes)
    assert said == f"Mistakes gather nowhere in particular: no more than chance at any of {n_places} places."
    assert places.finding(made(label, label, x, y), classes)[0] == ""


def test_copies_of_one_wrong_image_are_one_mistake() -> None:
    random = np.random.default_rng(1)
    n = 600
    x, y = random.integers(0, 65_534, (2, n)).astype("uint16")
    label = np.zeros(n, int)
    pred = np.where(random.random(n) < 0.1, 1, 0)
    copies = 40  # of the first image, which is wrong
    label, pred = np.append(label, np.zeros(copies, int)), np.append(pred, np.ones(copies, int))
    pred[0] = 1
    x, y = np.append(x, np.repeat(x[0], copies)), np.append(y, np.repeat(y[0], copies))
    first = np.arange(n + copies) < n
    assert places.finding(made(label, pred, x, y), ["a", "b"])[0].startswith("Mistakes gather where a meets b")
    assert places.finding(made(label, pred, x, y, first), ["a", "b"])[0].startswith("Mistakes gather nowhere")


# The section


def test_the_still_map_has_contours_points_and_escaped_names(digits: Any) -> None:
    classes = [*report_files.HOSTILE[:9], "nine"]
    context = map_of(draft_of(digits, "digits_logreg"), classes, MANY)
    assert context is not None
    svg = str(context["chart"])
    assert svg.count('class="contour"') == 5
    assert sum(len(re.findall("h0", path)) for path in re.findall(r'class="dots[^"]*" d="([^"]*)"', svg)) == 600
    assert "<script" not in svg
    assert sum(chip["n"] for chip in context["chips"]) == 600
    names = {region["name"] for region in context["facts"]["regions"]}
    assert names <= set(classes)
    assert len(svg.split("<text")) - 1 == len(names)
    many = map_of(draft_of(digits, "digits_logreg"), [f"class {i}" for i in range(20)], MANY)
    assert many is not None
    assert [chip["mark"] for chip in many["chips"]] == ["right", "wrong"], "more than 12 classes: right or wrong"


def test_a_redacted_page_names_no_files(digits: Any) -> None:
    digits.execute("update images set label = null")
    digits.execute("update outputs.digits_logreg set pred = null")
    draft = draft_of(digits, "digits_logreg", redacted=True)
    context = map_of(draft, ["zero"] * 10, MANY)
    assert context is not None
    assert context["facts"]["regions"] == []
    assert context["facts"]["finding"] == ""
