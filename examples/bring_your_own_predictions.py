"""Evaluate predictions made elsewhere: accuracy, most common mistakes, report. No torch is needed or loaded.

    python examples/bring_your_own_predictions.py [FOLDER PREDICTIONS]

FOLDER has one folder of images per class. PREDICTIONS is a CSV or Parquet file with one row per image:

    path        the end of the image's path, long enough to be unique, such as 7/0012.png
    pred        the predicted class: its name, or its 0-based index in the sorted folder names
    confidence  probability of that class (optional)
    probs       probabilities of all classes, such as [0.1, 0.7, 0.2] (optional)

Without arguments, both are made here: scikit-learn's digits, classified by a logistic regression.
Writes own_predictions.duckdb and own_predictions.html to the current folder; older files are replaced.
"""

import csv
import sys
from pathlib import Path

import sqlanalysis as sq


def make_example():
    """A folder of held-out digits, and a CSV of the answers of a logistic regression."""
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

# The images with their labels, then the predictions as a run. Rows that match no image or no class are counted.
Path("own_predictions.duckdb").unlink(missing_ok=True)
con = sq.connect("own_predictions.duckdb")
print(sq.add_images(con, folder))
done = sq.add_predictions(con, predictions, run="mine")
print(f"{done.n_ok} predictions, {done.n_errors} rows left out")
if done.n_errors:
    con.sql("select uri, message from errors where run = 'mine' limit 5").show()

[(n, correct, accuracy, low, high, _)] = sq.metric(con, "accuracy", "mine").fetchall()
print(f"accuracy {accuracy:.4f} ({correct} of {n}), 95 % interval {low:.4f} to {high:.4f}")

print("most common mistakes, by index of the class:")
sq.metric(con, "top_confusions", "mine", max_rows=5).show()
print("most confident mistakes, by name:")
mistakes = con.sql("select uri, label_name, pred_name, confidence from mine where not correct")
mistakes.order("confidence desc").limit(5).show()

print("report:", sq.report(con, "own_predictions.html", runs="mine"))
