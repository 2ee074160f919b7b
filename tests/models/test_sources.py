"""Every source of models answers as its own library does, from Python and from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

import sqlanalysis as sq
from sqlanalysis.errors import ArgumentError, InferenceError, MissingExtraError, NotFoundError
from sqlanalysis.models.loading import names
from sqlanalysis.models.specification import load_specified, specify

from ..support.runs import to_64
from ..support.sources import CLASSES, CODE, SOURCES, hf_folder, onnx_file, own_code, pt2, torchscript

TOLERANCE = 1e-5
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def difference(con: duckdb.DuckDBPyConnection, run: str, answer: object) -> tuple[float, float]:
    """The largest difference of a probability from the library's own, and how much its answers vary over pictures."""
    rows = con.sql(f"select uri, probs from {run} order by image_id").fetchall()
    own = np.array([answer(Image.open(uri).convert("RGB")).numpy() for uri, _ in rows])  # type: ignore[operator]
    return float(np.abs(own - np.array([p for _, p in rows])).max()), float(np.ptp(own, axis=0).max())


@pytest.mark.parametrize("source", SOURCES, ids=" ".join)
def test_the_answers_are_those_of_its_own_library(
    con: duckdb.DuckDBPyConnection,
    photos: Path,
    tmp_path: Path,
    source: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)  # some random networks amplify the rounding of either pipeline beyond the tolerance
    made = SOURCES[source](tmp_path)
    monkeypatch.chdir(tmp_path)
    sq.add_images(con, photos, dataset="pets")
    model = sq.load_model(made.model, made.weights or "DEFAULT", name="n")
    assert made.classes is None or len(model.classes) == len(made.classes)
    if made.classes == CLASSES:
        assert model.classes.names == CLASSES
    if len(model.classes) != 3:
        sq.register_model(con, model)
        con.execute(
            "create table n as select uri, image_id, n(image).probs as probs from image_files join images using (image_id)"
        )
    else:
        done = sq.predict(con, model, "n", show_progress=False)
        assert (done.n_ok, done.n_errors) == (18, 0)
        assert con.sql("select transform_source is not null, weights is not null from runs").fetchall() == [
            (True, True)
        ]
    away, spread = difference(con, "n", made.answer)
    assert away <= TOLERANCE
    assert spread > 0.001
    assert {".pt2", ".onnx", "Torch"}.isdisjoint({source[0][:5], source[0][:4]}) or "is assumed" in str(model.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        ("timm, folder", "test_efficientnet"),
        ("Hugging Face, folder", "ViT"),
        ("ONNX, batches of 3", "shufflenet_v2_x0_5"),
        ("package.module:make", "SmallNet"),
    ],
    ids=" ".join,
)
def test_the_command_line_takes_the_same_strings(photos: Path, tmp_path: Path, source: tuple[str, str]) -> None:
    torch.manual_seed(0)
    made = SOURCES[source](tmp_path)
    con = sq.connect(tmp_path / "e.duckdb")
    sq.add_images(con, photos, dataset="pets")
    con.close()
    words = [
        "predict",
        str(tmp_path / "e.duckdb"),
        made.model,
        "--run",
        "n",
        *(["--weights", made.weights] if made.weights else []),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "sqlanalysis", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(Path(sq.__file__).parent.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert "18 images = 18 ok" in done.stderr
    assert ("is assumed" in done.stderr) == source[0].startswith("ONNX")
    con = sq.connect(tmp_path / "e.duckdb")
    assert difference(con, "n", made.answer)[0] <= TOLERANCE
    con.close()


def test_a_session_a_program_and_a_function_from_python(photos: Path, tmp_path: Path) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)).eval()
    whole = sq.load_model(net, transform=to_64)
    other = sq.load_model(lambda batch: net(batch), transform=to_64, name="f")
    assert (whole.n_outputs, other.n_outputs, other.weights) == (3, 3, "module")
    with pytest.raises(ArgumentError, match=r"Flatten is a class; give an instance, such as Flatten\(\)"):
        sq.load_model(nn.Flatten, transform=to_64)
    with pytest.raises(ArgumentError, match="a name, a module or a callable, not int"):
        sq.load_model(3, transform=to_64)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("", ArgumentError, "an empty name"),
        ("resnet19", NotFoundError, "no model 'resnet19' in torchvision; did you mean resnet18"),
        ("test_vit", NotFoundError, "in torchvision; timm has it: timm/test_vit"),
        ("timm/resnet19", NotFoundError, "no model 'resnet19' in timm; did you mean resnet18"),
        ("timm/./none", NotFoundError, "no folder ./none"),
        ("hf/./none", NotFoundError, "no folder ./none"),
        ("none.onnx", NotFoundError, "no file none.onnx"),
        ("none.pt2", NotFoundError, "no file none.pt2"),
        ("none.pt", NotFoundError, "no file none.pt"),
        ("none.py:make", NotFoundError, "no file none.py"),
        ("train.py", ArgumentError, "say what in it makes the model, such as train.py:make_model"),
        ("a b", NotFoundError, "no model 'a b'; give a name of torchvision, timm/NAME"),
    ],
)
def test_a_wrong_name_is_refused_before_torch_is_imported(model: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        names.parse(model)
    program = f"from sqlanalysis.models.loading import names; import sys\ntry: names.parse({model!r})\nexcept Exception: pass\nassert 'torch' not in sys.modules and 'timm' not in sys.modules"
    if model in ("resnet19", "timm/resnet19"):
        subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(sq.__file__).parent.parent)


def test_names_of_models_are_read_from_source_as_the_libraries_list_them() -> None:
    import timm
    import torchvision

    assert names.registered("torchvision") >= set(torchvision.models.list_models(module=torchvision.models))
    assert names.registered("timm") == set(timm.list_models())
    assert names.registered("no_such_package") == set()


@pytest.mark.parametrize(
    ("model", "package", "extra"),
    [("timm/resnet18", "timm", "timm"), ("hf/a/b", "transformers", "hf"), ("n.onnx", "onnxruntime", "onnx")],
)
def test_a_missing_package_is_named_with_its_extra(
    model: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "n.onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"needs {package}: pip install sqlanalysis\[{extra}\]"):
        sq.load_model(model)


def test_an_encoder_gets_no_random_classifier(tmp_path: Path) -> None:
    import transformers as hf

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    hf.ViTModel(hf.ViTConfig(**small, image_size=32, patch_size=8)).save_pretrained(tmp_path / "encoder")
    with pytest.raises(InferenceError, match=r"is a ViTModel without weights for classifier.bias, .* embedding=True"):
        sq.load_model(str(tmp_path / "encoder"))


def test_layers_keep_their_names(tmp_path: Path, photos: Path) -> None:
    made = pt2(tmp_path, None)
    model = sq.load_model(made.model, layer="conv5")
    assert model.n_activations == 1024
    fixed = tmp_path / "fixed"
    fixed.mkdir()
    for other in (pt2(fixed, 3), torchscript(fixed, ""), onnx_file(fixed, None)):
        with pytest.raises(InferenceError, match="layer"):
            sq.load_model(other.model, layer="conv5")
    with pytest.raises(InferenceError, match="has weights of its own; leave out weights="):
        sq.load_model(made.model, "x.pth")
    vit = hf_folder(tmp_path, "ViT")
    assert sq.load_model(vit.model, layer="vit.layernorm").n_activations == 32


def test_weights_of_a_graph_are_hashed_with_their_files(tmp_path: Path) -> None:
    made = onnx_file(tmp_path, None)
    first = sq.load_model(made.model).weights_sha256
    beside = [file for file in tmp_path.iterdir() if file.name != "net.onnx"]
    assert len(beside) == 1  # torch keeps the weights in a file beside the graph
    content = bytearray(beside[0].read_bytes())
    content[100] ^= 1
    beside[0].write_bytes(content)
    assert sq.load_model(made.model).weights_sha256 != first


def test_onnx_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(InferenceError, match=r"cannot be read by ONNX Runtime"):
        sq.load_model(str(tmp_path / "x.onnx"))
    for suffix in ("pt2", "pt"):
        (tmp_path / f"x.{suffix}").write_bytes(b"no zip")
        with pytest.raises(InferenceError, match="cannot be read as|does not hold"):
            sq.load_model(str(tmp_path / f"x.{suffix}"))


@pytest.mark.parametrize(
    ("code", "attribute", "message"),
    [
        ("def make(width): pass", "make", r"needs width; name a function without arguments"),
        ("def make(): return 3", "make", "makes a int; make a torch module, or"),
        ("def make(): raise ValueError('\\x1b[31mred')", "make", r"make\(\) raises ValueError: red$"),
        ("import no_such_package_at_all", "make", "needs 'no_such_package_at_all', which is not installed"),
        ("1 / 0", "make", "raises ZeroDivisionError: division by zero"),
        ("value = 3", "value", "is a int; name a module"),
        ("def build(): pass", "buld", "no 'buld' in .*did you mean build"),
        ("from torch import nn\ndef make(): return nn.Flatten(), 3", "make", "its transform is a int"),
    ],
)
def test_own_code_that_makes_no_model(tmp_path: Path, code: str, attribute: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises((InferenceError, NotFoundError), match=message):
        sq.load_model(f"{tmp_path / 'mine.py'}:{attribute}")


def test_own_code_imports_what_lies_beside_it_and_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("WIDTH = 4\n")
    file = tmp_path / "mine2.py"
    file.write_text("import beside_it\n" + CODE.replace("nn.Linear(8, 3)", "nn.Linear(8, beside_it.WIDTH)"))
    assert sq.load_model(f"{file}:SmallNet").n_outputs == 4
    file.write_text(CODE.replace("nn.Linear(8, 3)", "nn.Linear(8, 22)"))
    assert sq.load_model(f"{file}:SmallNet").n_outputs == 22


def test_own_code_never_gets_a_file_of_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python keeps one module of a name: two folders with a file of helpers each would share the first."""
    for folder, width in (("one", 3), ("two", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "far_helpers.py").write_text(f"width = {width}\n")
        (tmp_path / folder / "near_helpers.py").write_text("from far_helpers import width\n")
        (tmp_path / folder / "own_net.py").write_text(
            "import near_helpers\nfrom torch import nn\n"
            "def make():\n"
            "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, near_helpers.width))\n"
        )
    assert sq.load_model(f"{tmp_path}/one/own_net.py:make").n_outputs == 3
    assert sq.load_model(f"{tmp_path}/one/own_net.py:make").n_outputs == 3
    with pytest.raises(InferenceError, match=r"two/(near|far)_helpers.py is meant, .* loaded .*one/.*_helpers.py"):
        sq.load_model(f"{tmp_path}/two/own_net.py:make")
    for folder in ("three", "four"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own_name.py").write_text((tmp_path / "one/own_net.py").read_text())
    monkeypatch.chdir(tmp_path / "three")
    sq.load_model("own_name:make")
    monkeypatch.chdir(tmp_path / "four")
    with pytest.raises(InferenceError, match=r"four/own_name.py is meant, .*three/own_name.py"):
        sq.load_model("own_name:make")


def test_a_file_of_weights_names_its_architecture(tmp_path: Path) -> None:
    import argparse

    torch.save(
        {"state_dict": nn.Linear(2, 2).state_dict(), "args": argparse.Namespace(model="vit_b_16")}, tmp_path / "c.pth"
    )
    with pytest.raises(
        InferenceError, match=r"is a file of weights, which says that it is of 'vit_b_16'.*weights=.*c.pth"
    ):
        sq.load_model(str(tmp_path / "c.pth"))


def test_a_pickled_module_is_loaded_when_trusted(tmp_path: Path) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    torch.save(net, tmp_path / "whole.pth")
    with pytest.raises(InferenceError, match="is a file of weights"):
        sq.load_model(str(tmp_path / "whole.pth"))
    model = sq.load_model(str(tmp_path / "whole.pth"), trust_pickle=True)
    assert (model.n_outputs, model.trusted_pickle) == (3, True)


def test_settings_beside_a_file_are_its_transform_and_classes(tmp_path: Path) -> None:
    import timm
    import transformers as hf

    net = timm.create_model("resnet18", num_classes=3)
    timm.models.save_for_hf(net, tmp_path / "t", model_config={"label_names": list(CLASSES)})
    model = sq.load_model("resnet18", next((tmp_path / "t").glob("*model*.*")))
    picture = Image.effect_noise((300, 260), 80).convert("RGB")
    expected = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    assert torch.equal(model.transform(picture), expected(picture))
    assert (model.classes.names, model.notes) == (CLASSES, ())
    assert model.transform_source.endswith("config.json")
    made = onnx_file(tmp_path, None)
    processor = hf.ViTImageProcessor(size={"height": 224, "width": 224})
    processor.save_pretrained(tmp_path)
    pixels = processor(images=picture, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(sq.load_model(made.model).transform(picture), pixels)


def test_onnx_runs_on_the_provider_of_its_device(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    from sqlanalysis.models.loading.onnx import _open

    with pytest.raises(InferenceError, match="this ONNX Runtime has no CUDA: install onnxruntime-gpu"):
        _open(Path(onnx_file(tmp_path, None).model), "cuda:0")


def test_imagenets_classes_of_timm_and_hugging_face() -> None:
    from timm.data import ImageNetInfo

    from sqlanalysis.core.classes import imagenet1k

    assert tuple(ImageNetInfo("imagenet-1k").label_names()) == imagenet1k().wnids


def test_own_code_is_named_after_its_class_or_file(tmp_path: Path) -> None:
    assert sq.load_model(own_code(tmp_path, "make").model).name == "train"
    assert sq.load_model(f"{tmp_path / 'train.py'}:SmallNet").name == "smallnet"


TWIN = """
import enum
import torch
from torch import nn

class Mode(enum.Enum):
    plain = 1

class To:
    def __init__(self, side):
        self.side, self.mode = side, Mode.plain

    def __call__(self, picture):
        return torch.full((3, self.side, self.side), float(picture.size[0]))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mode = Mode.plain

    def forward(self, x):
        return x.mean((2, 3))

def make():
    return Net(), To(8), ["a", "b", "c"]
"""


def test_own_code_is_described_as_if_nothing_else_were_loaded(tmp_path: Path) -> None:
    """Another file of the same name, and names that Python or no module can have; compared with another process."""
    names = ("twin_of_one.py", "code.py", "my-net.v2.py")
    for folder, side in (("first", "To(4)"), ("second", "To(8)")):
        for name in names:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(TWIN.replace("To(8)", side))
    program = (
        "import json, sys, sqlanalysis as sq; from sqlanalysis.models.specification import specify; "
        "print(json.dumps([specify(sq.load_model(f'{file}:make')) for file in sys.argv[1:]]))"
    )
    files = [tmp_path / "second" / name for name in names]
    told = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True).stdout
    first = [sq.load_model(f"{tmp_path / 'first' / name}:make") for name in names]
    second = [sq.load_model(f"{file}:make") for file in files]
    assert json.loads(json.dumps([specify(model) for model in second])) == json.loads(told)
    for one, other in zip(first, second, strict=True):
        assert specify(one)["transform"] != specify(other)["transform"]
        assert specify(one)["settings_sha256"] == specify(other)["settings_sha256"]
        assert "@" not in specify(other)["transform"]
        load_specified(specify(one))
