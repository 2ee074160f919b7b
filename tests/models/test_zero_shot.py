"""Classes from prompts equal transformers' own pipeline; encoders give the embeddings of their own library."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

import sqlanalysis as sq
from sqlanalysis.errors import ArgumentError, InferenceError, SchemaError
from sqlanalysis.models.loading import zero_shot

from ..support import towers
from ..support.runs import to_64

TOLERANCE = 1e-5
CLASSES = ["cat", "dog", "owl"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def pictures(con: duckdb.DuckDBPyConnection, run: str) -> list[Image.Image]:
    return [Image.open(uri).convert("RGB") for (uri,) in con.sql(f"select uri from {run} order by image_id").fetchall()]


def column(con: duckdb.DuckDBPyConnection, run: str, name: str) -> np.ndarray:
    return np.array([row[0] for row in con.sql(f"select {name} from {run} order by image_id").fetchall()])


@pytest.mark.parametrize(("make", "outputs"), [(towers.clip, "logits"), (towers.siglip, "sigmoid")])
def test_classes_from_a_prompt_equal_the_pipeline_of_transformers(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, make: Callable[[Path], Path], outputs: str
) -> None:
    from transformers import pipeline

    folder = make(tmp_path / "towers")
    sq.add_images(con, photos, dataset="pets")
    model = sq.load_model(f"hf/{folder}", classes=CLASSES, prompts=["a photo of a {}"], name="n")
    assert (model.layer, model.outputs, model.prompts) == ("embedding", outputs, ("a photo of a {}",))
    assert not any(name.startswith("embedding.model.text_model") for name, _ in model.module.named_parameters())
    done = sq.predict(con, model, show_progress=False)
    assert (done.n_ok, done.class_policy) == (18, "identity")
    pipe = pipeline("zero-shot-image-classification", model=str(folder))
    own = []
    for picture in pictures(con, "n"):
        scores = pipe(picture, candidate_labels=CLASSES, hypothesis_template="a photo of a {}")
        own.append([next(row["score"] for row in scores if row["label"] == name) for name in CLASSES])
    expected = np.array(own)
    assert np.ptp(expected, axis=0).min() > 0.01  # equal answers for every picture would hide a difference
    # SigLIP scores each class on its own; its scores are scaled to sum to 1.
    assert np.abs(column(con, "n", "probs") - expected / expected.sum(1, keepdims=True)).max() <= TOLERANCE
    assert (column(con, "n", "pred") == expected.argmax(1)).all()
    assert con.sql("select prompts ->> '$[0]', outputs from runs").fetchall() == [("a photo of a {}", outputs)]


@pytest.mark.parametrize("make", [towers.clip, towers.siglip])
def test_the_activation_is_the_embedding_of_the_image(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    from transformers import AutoModel, AutoProcessor

    folder = make(tmp_path / "towers")
    sq.add_images(con, photos, dataset="pets")
    sq.predict(con, sq.load_model(f"hf/{folder}", classes=CLASSES, prompts="a {}", name="n"), show_progress=False)
    encoder = sq.load_model(f"hf/{folder}", embedding=True)
    assert (encoder.is_encoder, encoder.layer, len(encoder.classes)) == (True, None, 0)
    sq.predict(con, encoder, "e", show_progress=False)
    whole, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    inputs = processor(
        images=pictures(con, "n"), text=["a cat"], return_tensors="pt", padding="max_length", max_length=16
    )
    with torch.inference_mode():
        own = whole(**inputs).image_embeds.numpy()
    for run in ("n", "e"):
        assert np.abs(column(con, run, "activation") - own).max() <= TOLERANCE


def test_several_prompts_are_the_mean_of_their_embeddings_as_in_the_paper(tmp_path: Path) -> None:
    from transformers import AutoProcessor, CLIPModel

    folder, prompts = towers.clip(tmp_path / "clip"), ["a photo of a {}", "a black drawing of the small {}", "{}"]
    model = sq.load_model(f"hf/{folder}", classes=CLASSES, prompts=prompts)
    whole, processor = CLIPModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    picture = Image.effect_noise((50, 40), 90).convert("RGB")
    with torch.inference_mode():
        weights = []
        for name in CLASSES:  # as in CLIP's notebook Prompt_Engineering_for_ImageNet
            tokens = processor(text=[prompt.format(name) for prompt in prompts], return_tensors="pt", padding=True)
            embeddings = whole.get_text_features(**tokens).pooler_output
            embeddings /= embeddings.norm(dim=-1, keepdim=True)
            mean = embeddings.mean(dim=0)
            weights.append(mean / mean.norm())
        features = whole.get_image_features(**processor(images=picture, return_tensors="pt")).pooler_output
        features /= features.norm(dim=-1, keepdim=True)
        own = (whole.logit_scale.exp() * features @ torch.stack(weights, dim=1)).softmax(-1)
        mine = model.module(model.transform(picture)[None]).softmax(-1)
    assert (mine - own).abs().max() <= TOLERANCE
    single = sq.load_model(f"hf/{folder}", classes=CLASSES, prompts=prompts[:1])
    assert (single.module(single.transform(picture)[None]).softmax(-1) - own).abs().max() > 0.001


def test_other_prompts_classes_or_weights_are_another_model(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    folder = towers.clip(tmp_path / "clip")
    sq.add_images(con, photos, dataset="pets")

    def run(classes: list[str], prompt: str, at: Path = folder) -> Any:
        model = sq.load_model(f"hf/{at}", classes=classes, prompts=[prompt])
        return sq.predict(con, model, "n", show_progress=False)

    run(CLASSES, "a photo of a {}")
    assert run(CLASSES, "a photo of a {}").n_computed == 0
    with pytest.raises(SchemaError, match=r"run 'n' exists and differs: .*prompts \[\"a photo of a \{\}\"\] → "):
        run(CLASSES, "a drawing of a {}")
    with pytest.raises(SchemaError, match="exists and differs: weights_sha256"):
        run(["dog", "cat", "owl"], "a photo of a {}")
    with pytest.raises(SchemaError, match="exists and differs: weights_sha256"):
        run(CLASSES, "a photo of a {}", towers.clip(tmp_path / "other", seed=1))


def test_what_prompts_cannot_be_is_refused_with_the_call_that_goes_on(tmp_path: Path) -> None:
    clip, vit = towers.clip(tmp_path / "clip"), towers.vit(tmp_path / "vit", head=True)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"model": clip, "prompts": ["a photo"], "classes": CLASSES}, ArgumentError, r"'a photo' does not have one: prompts="),
        ({"model": clip, "prompts": ["{} {}"], "classes": CLASSES}, ArgumentError, "a prompt has one {}"),
        ({"model": clip, "prompts": [], "classes": CLASSES}, ArgumentError, "no prompt is given"),
        ({"model": clip, "prompts": ["a {}"]}, ArgumentError, r'classes=\["cat", "dog"\]'),
        ({"model": clip, "prompts": ["a {}"], "classes": 3}, ArgumentError, "need the names of two classes"),
        ({"model": clip, "prompts": ["a {}"], "classes": ["cat"]}, ArgumentError, "two classes or more"),
        ({"model": clip, "prompts": ["a " * 20 + "{}"], "classes": CLASSES}, ArgumentError, "has 23 tokens, .* reads 16"),
        ({"model": clip, "prompts": ["a {}"], "classes": CLASSES, "embedding": True}, ArgumentError, "one of the two"),
        ({"model": vit, "prompts": ["a {}"], "classes": CLASSES}, ArgumentError, "a ViTForImageClassification, has no text tower"),
        ({"model": "resnet18", "prompts": ["a {}"], "classes": CLASSES}, ArgumentError, "resnet18 has no text tower"),
        ({"model": nn.Flatten(), "prompts": ["a {}"], "classes": CLASSES}, ArgumentError, "such as hf/openai/clip"),
        ({"model": clip}, InferenceError, r'give .*prompts=\["a photo of a {}"\] and classes=\[…\], or embedding=True'),
        ({"model": clip, "classes": CLASSES, "embedding": True}, ArgumentError, "leave classes= and outputs= out"),
    ]  # fmt: skip
    for given, error, message in cases:
        model = given.pop("model")
        with pytest.raises(error, match=message):
            sq.load_model(f"hf/{model}" if isinstance(model, Path) else model, **given)


def test_a_model_with_other_logits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import CLIPModel

    folder, forward = towers.clip(tmp_path / "clip"), CLIPModel.forward

    def colder(self: Any, **given: Any) -> Any:
        result = forward(self, **given)
        result.logits_per_image = result.logits_per_image / 2
        return result

    monkeypatch.setattr(CLIPModel, "forward", colder)
    with pytest.raises(InferenceError, match="does not score texts by scaled cosine similarity"):
        sq.load_model(f"hf/{folder}", classes=CLASSES, prompts=["a {}"])


def _encoders(folder: Path) -> dict[str, tuple[str, Callable[[Image.Image], torch.Tensor], str]]:
    """Address, its own library's embedding, and what is said, by name."""
    from transformers import AutoImageProcessor, Dinov2Model, ViTModel

    def of(where: Path, form: Any, pick: Callable[[Any], Any], **kwargs: Any) -> tuple[str, Any]:
        net, processor = form.from_pretrained(where, **kwargs), AutoImageProcessor.from_pretrained(where)
        return f"hf/{where}", lambda picture: pick(net(**processor(images=picture, return_tensors="pt")))[0]

    pooled, plain = towers.vit(folder / "pooled"), towers.vit(folder / "plain", pooler=False)
    head, dino = towers.vit(folder / "head", head=True), towers.dinov2(folder / "dino")
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=3).eval()
    from timm.models import save_for_hf

    save_for_hf(net, folder / "timm", model_config={"num_classes": 3})
    bare = timm.create_model("test_resnet", num_classes=0).eval()
    bare.load_state_dict({key: value for key, value in net.state_dict().items() if not key.startswith("fc.")})
    data = timm.data.resolve_model_data_config(bare)
    prepare = timm.data.create_transform(**data, is_training=False)
    token = lambda result: result.last_hidden_state[:, 0]  # noqa: E731
    return {
        "ViT": (*of(pooled, ViTModel, lambda r: r.pooler_output), "the embedding is .pooler_output (B, 32)"),
        "ViT without pooling": (*of(plain, ViTModel, token, add_pooling_layer=False), "its class token"),
        "classifier": (*of(head, ViTModel, token, add_pooling_layer=False), "no weights for its pooling layer"),
        "DINOv2": (*of(dino, Dinov2Model, lambda r: r.pooler_output), ".pooler_output"),
        "timm": (f"timm/{folder / 'timm'}", lambda picture: bare(prepare(picture)[None])[0], ""),
    }


@pytest.mark.parametrize("name", ["ViT", "ViT without pooling", "classifier", "DINOv2", "timm"])
def test_an_encoder_gives_the_embedding_of_its_own_library(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, name: str
) -> None:
    address, answer, said = _encoders(tmp_path)[name]
    sq.add_images(con, photos, dataset="pets")
    model = sq.load_model(address, embedding=True, name="e")
    assert said in " ".join(model.notes)
    done = sq.predict(con, model, show_progress=False)
    assert (done.n_ok, done.n_errors) == (18, 0)
    with torch.inference_mode():
        own = np.stack([answer(picture).numpy() for picture in pictures(con, "e")])
    assert np.ptp(own, axis=0).max() > 0.001
    assert np.abs(column(con, "e", "activation") - own).max() <= TOLERANCE * max(1, np.abs(own).max())
    columns = {row[0] for row in con.sql("describe outputs.e").fetchall()}
    assert columns == {"image_id", "sha256", "activation"}
    row = con.sql("select outputs, model_label_space, probe ->> '$.activations' is not null from runs").fetchall()
    assert row == [("embedding", None, True)]


def test_own_modules_and_classifiers_with_a_layer_are_encoders_where_said(
    con: duckdb.DuckDBPyConnection, photos: Path, tiny_net: nn.Module
) -> None:
    sq.add_images(con, photos, dataset="pets")
    body = tiny_net[:6]  # ends in (B, 16, 1, 1)
    whole = sq.load_model(body, transform=to_64, embedding=True, name="body")
    assert "the embedding is the output (B, 16, 1, 1) of the forward pass, its mean over places" in whole.notes
    layer = sq.load_model(tiny_net, transform=to_64, layer="5", embedding=True, name="layer")
    for model in (whole, layer):
        sq.predict(con, model, show_progress=False)
    with torch.inference_mode():
        own = np.stack([body(to_64(picture)[None]).flatten().numpy() for picture in pictures(con, "body")])
    for run in ("body", "layer"):
        assert np.abs(column(con, run, "activation") - own).max() <= TOLERANCE
    sq.register_model(con, whole, name="embed")
    assert con.sql("select len(embed(image).activation) from image_files limit 1").fetchall() == [(16,)]
    with pytest.raises(ArgumentError, match=r"resnet18 of torchvision is a classifier; .*layer=avgpool"):
        sq.load_model("resnet18", None, embedding=True)
    assert sq.load_model("resnet18", None, layer="avgpool", embedding=True).n_activations == 512
    with pytest.raises(ArgumentError, match="body gives embeddings and predicts nothing: leave policy="):
        sq.predict(con, whole, policy="open")


def test_a_model_of_timm_without_a_head_is_no_classifier(tmp_path: Path) -> None:
    from timm.models import save_for_hf

    save_for_hf(timm.create_model("test_vit", num_classes=0), tmp_path / "bare", model_config={"num_classes": 0})
    with pytest.raises(InferenceError, match="an encoder without a classifier .* embedding=True"):
        sq.load_model(f"timm/{tmp_path / 'bare'}")
    assert sq.load_model(f"timm/{tmp_path / 'bare'}", embedding=True).n_activations == 64


def test_an_encoder_in_another_dtype_records_its_smallest_cosine(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    sq.add_images(con, photos, dataset="pets")
    sq.predict(
        con, sq.load_model(f"hf/{towers.vit(tmp_path / 'v')}", embedding=True), dtype="bf16", show_progress=False
    )
    agreement = json.loads(con.sql("select dtype_agreement from runs").fetchall()[0][0])
    assert agreement["n"] == 18
    assert 0.99 < agreement["min_cosine"] < 1


@pytest.mark.slow
def test_the_command_line_takes_prompts_and_the_classes_of_the_data_set(photos: Path, tmp_path: Path) -> None:
    clip, file = towers.clip(tmp_path / "clip"), str(tmp_path / "e.duckdb")
    con = sq.connect(file)
    sq.add_images(con, photos, dataset="pets")
    con.close()

    def cli(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "sqlanalysis", *words], capture_output=True, text=True)

    done = cli(
        "predict", file, f"hf/{clip}", "--run", "n", "--prompt", "a photo of a {}", "--prompt", "a drawing of a {}"
    )
    assert "18 images = 18 ok" in done.stderr, done.stderr
    done = cli("predict", file, f"hf/{clip}", "--run", "e", "--embedding")
    assert "embeddings of 24 numbers" in done.stderr, done.stderr
    wrong = cli("predict", file, f"hf/{clip}", "--run", "w", "--prompt", "a photo")
    assert wrong.returncode == 1
    assert '--prompt "a photo of a {}"' in wrong.stderr
    found = cli("find-images", file, "n", "--text", "a black cat", "--max-rows", "3", "--format", "csv")
    assert len(found.stdout.splitlines()) == 4, found.stderr
    con = sq.connect(file)
    model = sq.load_model(f"hf/{clip}", classes=CLASSES, prompts=["a photo of a {}", "a drawing of a {}"])
    assert sq.predict(con, model, "n", show_progress=False).n_computed == 0
    expected = sq.find_images(con, "e", text="a black cat", max_rows=3).fetchall()
    assert [line.split(",")[1] for line in found.stdout.splitlines()[1:]] == [str(row[1]) for row in expected]
    con.close()


def test_names_that_other_modules_rely_on() -> None:
    from sqlanalysis.embeddings import search

    assert search.EMBEDDING == zero_shot.EMBEDDING
