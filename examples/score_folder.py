"""Score a folder of images with the model that is champion now.

    python examples/score_folder.py http://127.0.0.1:5000 labelrepair-digits images/ scores.csv

Needs mlflow, torch, pandas and pillow; labelrepair itself travels with the model.
"""

import argparse
from pathlib import Path

import mlflow
import pandas as pd


def main() -> None:
    """Write one row per image: file, label and a probability per class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="address of the MLflow server, or sqlite:///mlflow.db")
    parser.add_argument("name", help="the registered model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path, help="a CSV file")
    options = parser.parse_args()

    mlflow.set_tracking_uri(options.server)
    model = mlflow.pyfunc.load_model(f"models:/{options.name}@champion")
    # Not what systems hide there, such as .DS_Store.
    found = (file for file in options.folder.iterdir() if not file.name.startswith("."))
    files = sorted(file for file in found if file.is_file())
    images = pd.DataFrame(
        {"image": [file.read_bytes() for file in files]}, index=[file.name for file in files]
    )
    model.predict(images).to_csv(options.output, index_label="file")


if __name__ == "__main__":
    main()
