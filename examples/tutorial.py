"""Machine learning with images, step by step: how good is a ResNet-18 on Imagenette?

    python examples/tutorial.py [FOLDER] [--weights FILE]

FOLDER has train/ and val/ with one folder per WordNet id (n01440764, …), or those class folders alone; without it,
Imagenette (160 px, 94 MB) is downloaded. FILE has ImageNet weights; without it, torchvision downloads them (45 MB).
Writes imagenette.duckdb, imagenette.html, thumbnail.webp, accuracy.svg and umap.png to the current folder.
"""

import argparse
from pathlib import Path

import torch
import vl_convert
from torchvision.datasets import Imagenette
from torchvision.models import ResNet18_Weights

import sqlanalysis as sq

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?")
parser.add_argument("--weights", default="DEFAULT")
arguments = parser.parse_args()

print("\n1. The table of images")
# The table stores where each file is, its size and its class. The pixels stay in the files.
if arguments.folder is None:
    Imagenette(".", split="val", size="160px", download=True)
con = sq.connect("imagenette.duckdb")
# split= applies to class folders outside of train/ and val/.
sq.add_images(con, arguments.folder or "imagenette2-160", dataset="imagenette", split="val")
con.sql("select image_id, split, label, format, width_px, height_px from images limit 5").show()

print("\n2. One image: its size, and a thumbnail of it in thumbnail.webp")
# The functions read the file of an image only when a query asks for that image.
con.sql("select image_id, image_size(image) as size from image_files limit 1").show()
[(thumbnail,)] = con.sql("select thumbnail(image) from image_files limit 1").fetchall()
Path("thumbnail.webp").write_bytes(thumbnail)

print("\n3. The validation split")
# A filter is an SQL condition; nothing is copied.
validation = "split = 'val'"
con.sql(f"select count(*) as n_images from images where {validation}").show()

print("\n4. The input of the network: a deferred column")
# Nothing is decoded here, and later only for the rows that a query asks for.
sq.defer(con, "input", ResNet18_Weights.DEFAULT.transforms())
batch = sq.to_tensor(con.sql(f"select input(image) from image_files where {validation} limit 3"))
print(tuple(batch.shape))

print("\n5. Predictions: a function over batches, with a hook for the activations")
# The network has 1000 classes, the data set ten of them; -1 stands for all others.
model = sq.load_model("resnet18", arguments.weights, layer="layer4", classes="imagenet1k")
names = con.sql("select extra ->> 'wnid' from classes where label_space = 'imagenette' order by class").fetchall()
ten = [wnid for (wnid,) in names]
class_of = torch.tensor([ten.index(wnid) if wnid in ten else -1 for wnid in model.classes.wnids])
kept = {}
hook = model.module.layer4.register_forward_hook(lambda _module, _input, output: kept.update(layer4=output))


def predict(batch):
    with torch.inference_mode():
        confidence, best = torch.softmax(model.module(batch), dim=-1).max(dim=-1)
    return {"pred": class_of[best], "confidence": confidence, "activation": kept["layer4"].mean(dim=[-1, -2])}


print(sq.map_batches(con, predict, run="by_hand", inputs="input", batch_size=32, where=validation))
hook.remove()

print("\n   The same with predict: shorter, and faster")
# Policy "open": the prediction is the best of all 1000 classes, as above. "restricted": the best of the ten.
for policy in ("open", "restricted"):
    print(sq.predict(con, model, run=f"resnet18_{policy}", where=validation, policy=policy))

print("\n6. The view of a run is the whole data frame")
# One pass gave several columns: pred, probs, activation, …
print(", ".join(con.table("resnet18_open").columns))
outputs = "pred_name, round(confidence, 3) as confidence, probs[:2] as probs, activation[:2] as activation"
con.sql(f"select image_id, label_name, {outputs} from resnet18_open order by image_id limit 5").show()

print("\n7. Accuracy")
# The mean of the column `correct`; the metric adds the 95 % interval.
con.sql("select avg(correct::integer) as accuracy from resnet18_open").show()
for run in ("by_hand", "resnet18_open", "resnet18_restricted"):
    [(n, correct, accuracy, low, high, _)] = sq.metric(con, "accuracy", run).fetchall()
    print(f"{run}: accuracy {accuracy:.4f} ({correct} of {n}), 95 % interval {low:.4f} to {high:.4f}")

print("\n8. Accuracy per label, as bars with intervals, in accuracy.svg")
# Among the images of one label, accuracy is called recall.
per_label = con.sql("""
    select name as label, support as n, recall as accuracy, recall_low as low, recall_high as high
    from per_class('resnet18_open') join classes using (class)
    where label_space = 'imagenette'
""")
per_label.show()
x = {"type": "quantitative", "title": "accuracy"}
bar = {"mark": "bar", "encoding": {"x": x | {"field": "accuracy"}}}
interval = {"mark": "rule", "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}}}
chart = {"data": {"values": per_label.to_arrow_table().to_pylist()}, "layer": [bar, interval]}
chart["encoding"] = {"y": {"field": "label", "title": None}}
Path("accuracy.svg").write_text(vl_convert.vegalite_to_svg(chart), encoding="utf-8")

print("\n9. UMAP of the activations, by label, in umap.png")
# Images with similar activations are close to each other; x and y are now columns of the view.
print(sq.project(con, "resnet18_open", method="umap", seed=0))
points = con.sql("select x, y, label_name as label from resnet18_open").to_arrow_table().to_pylist()
x = {"field": "x", "type": "quantitative", "scale": {"zero": False}}
y = {"field": "y", "type": "quantitative", "scale": {"zero": False}}
chart = {"data": {"values": points}, "mark": "circle", "width": 500, "height": 500}
chart["encoding"] = {"x": x, "y": y, "color": {"field": "label", "scale": {"scheme": "tableau10"}}}
Path("umap.png").write_bytes(vl_convert.vegalite_to_png(chart, scale=2))

print("\n10. The report: all of this on one page, with the worst mistakes as pictures")
print(sq.report(con, "imagenette.html", runs=["resnet18_open", "resnet18_restricted"]))
