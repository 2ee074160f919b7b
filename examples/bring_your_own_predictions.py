"""Evaluate predictions that something else made: accuracy, commonest mistakes, report. No torch is needed or loaded.

    python examples/bring_your_own_predictions.py [FOLDER PREDICTIONS]

FOLDER has one folder of images per class. PREDICTIONS is a CSV or Parquet file with one row per image:

    path        enough of the end of the image's path to tell it from the others, such as 7/0012.png
    pred        the predicted class: its name, or its 0-based index in the sorted folder names
    confidence  probability of that class (optional)
    probs       probabilities of all classes, such as [0.1, 0.7, 0.2] (optional)

Without arguments, both are made here: scikit-learn's digits, read by a logistic regression.
Writes own_predictions.duckdb and own_predictions.html into the current folder; an older file is replaced.
"""

import csv
import sys
from pathlib import Path

import sqlanalysis as sa


def make_example():
    """A folder of held-out digits, and a CSV of what a logistic regression says about them."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, test = train_test_split(np.arange(len(digits.target)), test_size=0.5, random_state=0)
    classifier = LogisticRegression(max_iter=1000).fit(digits.data[train] / 16, digits.target[train])
    folder, predictions = Path("digits"), Path("predictions.csv")
    with predictions.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "pred", "confidence", "probs"])
        for number, probs in zip(test, classifier.predict_proba(digits.data[test] / 16), strict=True):
            path = f"{digits.target[number]}/{number:04}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[number] * 255 / 16).astype("uint8")).save(folder / path)
            writer.writerow([path, probs.argmax(), probs.max(), probs.tolist()])
    return folder, predictions


if len(sys.argv) not in (1, 3):
    sys.exit("usage: bring_your_own_predictions.py [FOLDER PREDICTIONS]")
folder, predictions = sys.argv[1:] or make_example()

# The images with their labels, then the predictions as a run. Rows that fit no image or no class are counted.
Path("own_predictions.duckdb").unlink(missing_ok=True)
con = sa.connect("own_predictions.duckdb")
print(sa.add_images(con, folder))
done = sa.add_predictions(con, predictions, run="mine")
print(f"{done.n_ok} predictions, {done.n_errors} rows left out")
if done.n_errors:
    con.sql("select uri, message from errors where run = 'mine' limit 5").show()

[(n, correct, accuracy, low, high)] = sa.metric(con, "accuracy", "mine").fetchall()
print(f"accuracy {accuracy:.4f} ({correct} of {n}), 95 % interval {low:.4f} to {high:.4f}")

print("commonest mistakes, by index of the class:")
sa.metric(con, "top_confusions", "mine", limit_n=5).show()
print("most confident mistakes, by name:")
mistakes = con.sql("select uri, label_name, pred_name, confidence from mine where not correct")
mistakes.order("confidence desc").limit(5).show()

print("report:", sa.report(con, "own_predictions.html", runs="mine"))
