"""Train the reference model that judges characters of State of the Union: a causal convolution.

    python examples/train_reference.py --out runs/sotu_chars_reference

Any backend. Of another kind than the diffusion models, with a seed of its own. Writes the preset and
its card, with the bits per character on the held-out speeches.
"""

import argparse
import os
import time

import keras
import numpy as np

import keras_dmmd as kd
from keras_dmmd.models import CausalConvolution


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", help="where the speeches are, see keras_dmmd.datasets.load_sotu")
    parser.add_argument("--steps", type=int, default=6000, help="updates")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--policy", default="float32", help="or mixed_bfloat16")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)
    epoch = min(500, args.steps)
    args.steps -= args.steps % epoch
    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.policy)

    tokenizer, length = kd.tokenizers.CharacterTokenizer(), 128
    parts = kd.datasets.load_sotu(args.path, download=args.path is None)
    texts = [[kd.datasets.text8(speech) + " " for speech in part] for part in parts]
    train, held_out = (kd.datasets.pack(part, tokenizer, length) for part in texts)

    model = CausalConvolution(tokenizer.vocabulary_size, args.hidden, tokenizer=tokenizer)

    def shifted(rows):
        """What stands before every token."""
        return np.concatenate([np.full_like(rows[:, :1], model.start_id), rows[:, :-1]], axis=1)

    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, args.steps, warmup_target=args.learning_rate, warmup_steps=args.steps // 20, alpha=0.01
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=0.03, global_clipnorm=1.0, use_ema=True, ema_momentum=0.999
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    start = time.time()
    model.fit(
        shifted(train),
        train,
        batch_size=args.batch_size,
        steps_per_epoch=epoch,
        epochs=args.steps // epoch,
        verbose=2,
    )
    minutes = (time.time() - start) / 60
    reference = kd.metrics.CausalReference(model, window=length)
    bits = kd.metrics.bits_per_character(tokenizer.decode(held_out[:2000]), reference)
    kd.presets.save_to_preset(
        model,
        args.out,
        card={
            "task": "State of the Union, 27 characters: a judge of rows of 128",
            "script": "examples/train_reference.py",
            "seed": args.seed,
            "updates": args.steps,
            "batch_size": args.batch_size,
            "learning_rate": args.learning_rate,
            "policy": args.policy,
            "parameters": int(model.count_params()),
            "bits_a_character_held_out": [round(value, 4) for value in bits],
            "minutes": round(minutes, 1),
            "device": f"CPU, {os.cpu_count()} cores",
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
        },
    )
    print(f"held out: {kd.metrics.with_error(*bits)} bits per character")


if __name__ == "__main__":
    main()
