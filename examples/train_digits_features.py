"""Train the digits features that ship with the package, for Fréchet distances.

python examples/train_digits_features.py --out keras_dmmd/presets/digits_features
"""

import argparse

import keras

from keras_dmmd.datasets import load_digits
from keras_dmmd.metrics import ImageFeatures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    train, test = load_digits()
    features = ImageFeatures(
        (8, 8),
        levels=17,
        dim=32,
        width=16,
        description="digits_features: the 32 features of a CNN that tells 10 labels apart, of ids / 16",
    )
    history = features.train_classifier(*train, validation_data=test, epochs=args.epochs, verbose=2)
    accuracy = history.history["val_accuracy"][-1]
    features.save_to_preset(
        args.out,
        card={
            "task": "digits classifier; features are its 32 last hidden units",
            "script": "examples/train_digits_features.py",
            "epochs": args.epochs,
            "held_out_accuracy": round(float(accuracy), 4),
            "seed": 0,
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
        },
    )


if __name__ == "__main__":
    main()
