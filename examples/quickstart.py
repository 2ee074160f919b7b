"""From a folder of images to accuracy with an interval, a map and a report, in ten lines.

    python examples/quickstart.py [FOLDER [WEIGHTS]]

FOLDER has one folder per class, named like a class of ImageNet or by its WordNet id. WEIGHTS is a local file with
ImageNet weights for ResNet-18; without it, torchvision downloads them (45 MB, once).
Without FOLDER, a small network that ships with this package classifies scanned digits: nothing is downloaded.

Writes NAME.duckdb and NAME.html to the current folder, where NAME is the name of FOLDER, or "digits".
"""

import sys
from pathlib import Path

import sqlanalysis as sq
from sqlanalysis.demo import digits, networks

folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
weights = sys.argv[2] if len(sys.argv) > 2 else "DEFAULT"
name = folder.name if folder else "digits"

con = sq.connect(f"{name}.duckdb")
if folder:
    sq.add_images(con, folder)
    model = sq.load_model("resnet18", weights, layer="layer4", classes="imagenet1k")
else:
    sq.add_images(con, [(image, label) for image, label, split in digits() if split == "test"], dataset=name)
    model = networks()[0]

done = sq.predict(con, model)  # after an interrupt, the same call resumes
print(f"{done.run}: {done.n_ok} images predicted, {done.n_errors} errors, class policy {done.class_policy}")

[(n, correct, accuracy, low, high, _)] = sq.metric(con, "accuracy", done.run).fetchall()
print(f"accuracy {accuracy:.4f} ({correct} of {n}), 95 % interval {low:.4f} to {high:.4f}")

sq.project(con, done.run, method="umap")
print("report:", sq.report(con, f"{name}.html", runs=done.run))
