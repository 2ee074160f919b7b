"""find_images equals a plain computation with numpy, and refuses what cannot be compared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sqlanalysis as sq
from sqlanalysis import Model
from sqlanalysis.errors import ArgumentError, ImageError, NotFoundError, SchemaError

from ..support import towers
from ..support.runs import add_activations, to_64

CLASSES = ["cat", "dog", "owl"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def plain(
    con: duckdb.DuckDBPyConnection, run: str, query: np.ndarray, k: int, without: int = -1
) -> list[tuple[int, float]]:
    """The k most similar images by numpy: (image_id, cosine), ties in order of image_id."""
    rows = con.sql(f"select image_id, activation from {run} where activation is not null").fetchall()
    scored = []
    for image_id, activation in rows:
        vector = np.array(activation, np.float64)
        length = np.linalg.norm(vector) * np.linalg.norm(query)
        if image_id != without and np.isfinite(length) and length > 0:
            scored.append((image_id, round(float(vector @ query / length), 9)))
    return sorted(scored, key=lambda row: (-row[1], row[0]))[:k]


def found(rows: duckdb.DuckDBPyRelation) -> list[tuple[int, float]]:
    table = rows.fetchall()
    assert [row[0] for row in table] == list(range(1, len(table) + 1))
    return [(row[1], row[-1]) for row in table]


def same(mine: list[tuple[int, float]], own: list[tuple[int, float]], tolerance: float = 2e-9) -> None:
    assert [image_id for image_id, _ in mine] == [image_id for image_id, _ in own]
    assert np.abs(np.array([s for _, s in mine]) - np.array([s for _, s in own])).max() <= tolerance


@pytest.mark.parametrize("make", [towers.clip, towers.siglip])
def test_a_text_finds_what_numpy_finds(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, make: Any) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = make(tmp_path / "towers")
    sq.add_images(con, photos, dataset="pets")
    sq.predict(con, sq.load_model(f"hf/{folder}", embedding=True), "e", show_progress=False)
    sq.predict(con, sq.load_model(f"hf/{folder}", classes=CLASSES, prompts=["a {}"]), "z", show_progress=False)
    padding: Any = {"padding": True} if make is towers.clip else {"padding": "max_length", "max_length": 64}
    tokens = AutoTokenizer.from_pretrained(folder)(["a small black owl"], return_tensors="pt", **padding)
    with torch.inference_mode():
        query = AutoModel.from_pretrained(folder).get_text_features(**tokens).pooler_output[0].double().numpy()
    for run in ("e", "z"):
        rows = sq.find_images(con, run, text="a small black owl", max_rows=7)
        same(found(rows), plain(con, run, query, 7), 1e-6)
    assert {"rank", "image_id", "uri", "split", "label_name", "similarity"} == set(
        sq.find_images(con, "e", image=1).columns
    )
    assert {"pred_name", "confidence"} < set(sq.find_images(con, "z", image=1).columns)


def test_an_image_of_the_run_needs_no_model(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = towers.vit(tmp_path / "vit")
    sq.add_images(con, photos, dataset="pets")
    sq.predict(con, sq.load_model(f"hf/{folder}", embedding=True), show_progress=False)
    shutil.rmtree(folder)
    image_id, uri, activation = con.sql(
        "select image_id, uri, activation from vit order by image_id offset 8"
    ).fetchall()[0]
    own = plain(con, "vit", np.array(activation, np.float64), 5, image_id)
    for image in (image_id, np.int64(image_id), uri, Path(uri), Path(uri).read_bytes()):
        same(found(sq.find_images(con, "vit", image=image, max_rows=5)), own)
    distances = con.sql(f"select image_id, distance from similar_to('vit', {image_id}, 5)").fetchall()
    same(own, [(other, 1 - distance) for other, distance in distances])
    with pytest.raises(NotFoundError, match=r"cannot be loaded again by what the run records \(weights .*give model="):
        sq.find_images(con, "vit", image=Image.new("RGB", (9, 9)))


def output_of_layer(model: Model, picture: Image.Image) -> np.ndarray:
    kept: list[torch.Tensor] = []
    hook = model.module.get_submodule(str(model.layer)).register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.inference_mode():
        model.module(model.transform(picture)[None])
    hook.remove()
    vector = kept[0].mean((2, 3)) if kept[0].ndim == 4 else kept[0]
    return vector[0].double().numpy()


def test_another_image_is_embedded_by_the_model_of_the_run(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, tiny_model: Model, tiny_net: nn.Module
) -> None:
    clip = towers.clip(tmp_path / "clip")
    sq.add_images(con, photos, dataset="pets")
    models = {
        "z": sq.load_model(f"hf/{clip}", classes=CLASSES, prompts=["a {}"]),
        "deep": sq.load_model(
            f"hf/{clip}", classes=CLASSES, prompts=["a {}"], layer="embedding.model.vision_model.post_layernorm"
        ),
        "own": tiny_model,
    }
    noise = Image.effect_noise((90, 70), 99).convert("RGB")
    noise.save(tmp_path / "noise.png")
    for run, model in models.items():
        sq.predict(con, model, run, show_progress=False)
        own = plain(con, run, output_of_layer(model, noise), 4)
        given: dict[str, Any] = {"model": model} if run == "own" else {}
        for image in (noise, tmp_path / "noise.png", (tmp_path / "noise.png").read_bytes(), np.asarray(noise)):
            same(found(sq.find_images(con, run, image=image, max_rows=4, **given)), own, 1e-6)
    with pytest.raises(SchemaError, match="of layer 'embedding.model.vision_model.post_layernorm', which no text"):
        sq.find_images(con, "deep", text="a cat")


def test_activations_without_a_direction_are_left_out(con: duckdb.DuckDBPyConnection) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 6))
    vectors[3], vectors[4, 2], vectors[7] = 0, np.nan, vectors[8]
    add_activations(con, vectors)
    rows = found(sq.find_images(con, "pixels", image=9, max_rows=100))
    query = np.asarray(vectors[8], np.float32).astype(np.float64)
    same(rows, plain(con, "pixels", query, 100, 9))
    assert len(rows) == 27
    assert rows[0] == (8, 1.0)
    with pytest.raises(SchemaError, match="does not record how its model answers"):
        sq.find_images(
            con,
            "pixels",
            image=Image.new("RGB", (9, 9)),
            model=sq.load_model(_Pixels(), transform=to_64, embedding=True),
        )


class _Pixels(nn.Module):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.flatten(1)[:, :6]


def test_what_cannot_be_searched_is_refused(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, tiny_net: nn.Module
) -> None:
    clip, other, vit = (
        towers.clip(tmp_path / "clip"),
        towers.clip(tmp_path / "other", seed=3),
        towers.vit(tmp_path / "vit"),
    )
    sq.add_images(con, photos, dataset="pets")
    sq.predict(con, sq.load_model(f"hf/{clip}", embedding=True), show_progress=False)
    sq.predict(con, sq.load_model(f"hf/{vit}", embedding=True), show_progress=False)
    bare = sq.load_model(tiny_net, transform=to_64, classes=CLASSES, name="bare")
    sq.predict(con, bare, show_progress=False)
    sq.predict(
        con, sq.load_model(tiny_net, transform=to_64, classes=CLASSES, layer="3", name="tiny"), show_progress=False
    )
    blank = Image.new("RGB", (9, 9))
    (tmp_path / "text.png").write_text("no picture")
    cases: list[tuple[str, dict[str, Any], type[Exception], str]] = [
        ("clip", {}, ArgumentError, "exactly one of text= and image="),
        ("clip", {"text": "a cat", "image": 1}, ArgumentError, "exactly one"),
        ("clip", {"text": " "}, ArgumentError, "text is what to look for"),
        ("clip", {"text": "a cat", "max_rows": 0}, ArgumentError, "max_rows must be 1 or more"),
        ("clip", {"image": True}, ArgumentError, "image is an image_id"),
        ("clip", {"image": 999}, NotFoundError, "no activation of an image with image_id 999"),
        ("clip", {"image": tmp_path / "none.png"}, ImageError, "No such file"),
        ("clip", {"image": tmp_path / "text.png"}, ImageError, "the image to look for: decode"),
        ("clip", {"text": "a cat " * 20}, ArgumentError, "has 42 tokens, and .* reads 16; shorten it"),
        ("clip", {"text": "a cat", "model": f"hf/{other}"}, SchemaError, "is not the model of run 'clip'"),
        ("clip", {"image": blank, "model": f"hf/{other}"}, SchemaError, "gives other activations for two images of noise"),
        ("klip", {"text": "a cat"}, NotFoundError, "no run 'klip'; did you mean clip"),
        ("vit", {"text": "a cat"}, ArgumentError, "a ViTModel, has no text tower"),
        ("vit", {"text": "a cat", "model": f"hf/{clip}"}, SchemaError, "is not the model of run 'vit'"),
        ("bare", {"text": "a cat"}, SchemaError, r"run 'bare' of model bare has no activations; .*--embedding"),
        ("tiny", {"text": "a cat"}, SchemaError, "the output of layer '3', which no text can be compared with"),
        ("tiny", {"image": blank}, NotFoundError, r"weights module\); give model="),
        ("tiny", {"image": blank, "model": bare}, SchemaError, "is not the model of run 'tiny'"),
    ]  # fmt: skip
    for run, given, error, message in cases:
        with pytest.raises(error, match=message):
            sq.find_images(con, run, **given)


def test_embeddings_map_cluster_and_have_neighbors(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    copies = tmp_path / "photos"
    shutil.copytree(photos, copies)
    with Image.open(copies / "cat" / "0.jpg") as picture:
        picture.save(copies / "cat" / "again.jpg", quality=80)
    sq.add_images(con, copies, dataset="pets")
    sq.predict(con, sq.load_model(f"hf/{towers.dinov2(tmp_path / 'dino')}", embedding=True), show_progress=False)
    assert sq.project(con, "dino", "pca").n_images == 19
    assert sq.cluster(con, "dino", 3).n_images == 19
    sq.find_neighbors(con, "dino", 5)
    nearest = con.sql("select a.uri, b.uri from near_duplicates('dino_neighbors', max_distance := 0.05) as n "
                      "join dino as a on a.image_id = image_a join dino as b on b.image_id = image_b").fetchall()  # fmt: skip
    assert {Path(a).name for pair in nearest[:1] for a in pair} == {"0.jpg", "again.jpg"}
    view = con.sql(
        "select count(pred), count(confidence), count(correct), count(x), count(cluster), count(label_name) from dino"
    )
    assert view.fetchall() == [(0, 0, 0, 19, 19, 19)]
    assert con.sql("select n, accuracy from accuracy('dino')").fetchall() == [(0, None)]
    assert "dino" not in {row[0] for row in con.sql("select distinct run from predictions").fetchall()}
