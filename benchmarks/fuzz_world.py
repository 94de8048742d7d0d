"""What `benchmarks/fuzz.py` calls, and with what.

Every value is text, evaluated in `namespace()`, so that a call can be typed again as it is printed.
"""

import decimal
import fractions
import importlib
import inspect
import os

import keras
import numpy as np
from keras import ops

import keras_dmmd as kd
from keras_dmmd import metrics, tokenizers

SIZES = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "cond_dim": 8}
K, LENGTH = 5, 8  # of the character tokenizer, too

# Modules whose public names are called.
MODULES = ("", "callbacks", "conversion", "datasets", "diffusion", "evaluation", "losses", "metrics")
MODULES += ("models", "presets", "random", "samplers", "sampling", "schedules", "tokenizers")

# Public names that are not called, and why.
LEFT_OUT = {
    "DiffusionProcess": "abstract",
    "Distiller": "abstract",
    "Schedule": "abstract",
    "Stepper": "abstract",
    "Tokenizer": "abstract",
    "NoiseConditioning": "abstract",
    "StreamingMetric": "abstract",
    "Prediction": "what samplers are given",
    "Rows": "what `rows_of` returns",
    "batch_rows": "for steps of training, on tensors too",
    "rows_of": "for steps of training, on tensors too",
    "part_of_rows": "for steps of training, on tensors too",
    "export": "takes half a minute; tests/exporting gives it bad arguments",
    "SignalLevel": "a tuple that schedules make",
    "Step": "a tuple that samplers make",
    "Report": "made by `evaluate`",
    "sampled_model": "a step of a callback",
    "load_tfds": "imports TensorFlow Datasets, for seconds",
    "upload_to_hub": "uploads",
    "ChemNetFeatures": "loads a network of its own, for seconds",
    "Mauve": "needs a package that is not installed with the tests",
    "nucleus": "a function of tensors within a compiled step",
    "sharpen": "a function of tensors within a compiled step",
}

# Receivers, and their methods that are called; how often, in the place of once.
METHODS = {
    "model": {"generate": 8, "fit": 6, "evaluate": 4, "predict": 3, "train_on_batch": 2}
    | {"test_on_batch": 1, "predict_on_batch": 1, "copy": 2, "save": 1, "save_weights": 1}
    | {"load_weights": 1, "save_to_preset": 1},
    "labelled": {"generate": 4, "fit": 4, "evaluate": 2, "predict": 1, "train_on_batch": 1},
    "uniform": {"generate": 2, "fit": 1},
    "blocks": {"generate": 3, "fit": 1},
    "fresh()": {"compile": 2, "build": 1, "copy": 1, "enable_lora": 1, "merged": 1},
    "distiller": {"fit": 3, "evaluate": 1, "train_on_batch": 1},
    "fresh_distiller()": {"compile": 1},
    "characters": {"encode": 1, "decode": 2, "encode_batch": 2},
    "kd.tokenizers.ByteTokenizer()": {"encode": 1, "decode": 1},
    "kd.tokenizers.SmilesTokenizer()": {"encode": 1},
    "kd.tokenizers.SmilesTokenizer": {"learn": 1},
    "byte_pairs": {"encode": 1, "decode": 1},
    "kd.tokenizers.BytePairTokenizer": {"train": 1, "from_file": 1},
    "kd.metrics.UnigramEntropy()": {"update_state": 1},
    "kd.metrics.Repetition()": {"update_state": 1},
    "kd.metrics.Diversity()": {"update_state": 1},
    "kd.metrics.SampleScore(len, 'n')": {"update_state": 1},
    "kd.metrics.BitsPerToken(model)": {"update_state": 1},
    "kd.metrics.GradientMoment(reference)": {"update_state": 1},
    "kd.metrics.FrechetDistance(first_two, x)": {"update_state": 1},
    "kd.metrics.FeatureStatistics()": {"update": 1},
    "reference": {"judge": 1},
    "kd.metrics.CausalReference": {"from_folder": 1},
    "features": {"extract": 1, "statistics": 1, "train_classifier": 1},
    "kd.ImageFeatures": {"from_preset": 1},
    "kd.DiffusionModel": {"from_preset": 1},
    "report": {"plot": 1, "save": 1},
    "kd.evaluation.Report": {"load": 1},
}
# The classes of receivers that are names.
CLASSES = {
    **dict.fromkeys(("model", "labelled", "uniform", "blocks", "fresh()"), "kd.DiffusionModel"),
    **dict.fromkeys(("distiller", "fresh_distiller()"), "kd.DMMDDistiller"),
    "characters": "kd.tokenizers.CharacterTokenizer",
    "byte_pairs": "kd.tokenizers.BytePairTokenizer",
    "reference": "kd.metrics.CausalReference",
    "features": "kd.ImageFeatures",
    "report": "kd.evaluation.Report",
}
OFTEN = {
    "kd.Denoiser": 4,
    "kd.DiffusionModel": 4,
    "kd.DMMDDistiller": 4,
    "kd.evaluate": 6,
    "kd.datasets.pack": 3,
}

# Values that a parameter takes, by its name; where a function has others, by `function.parameter`.
GOOD = {
    "adapters": ["None"],
    "DMMDDistiller.adapters": ["None", "2"],
    "fresh.copy.adapters": ["None", "2"],
    "alpha": ["0.5"],
    "anchor": ["0.5", "0.0"],
    "average": ["None", "fresh()"],
    "beta": ["0.0", "-0.2"],
    "critic_log_probs": ["table"],
    "data_weight": ["0.001", "0.0"],
    "delta": ["0.02"],
    "delta_rate": ["0.3", "0.0"],
    "direction": ["'forward'", "'reverse'"],
    "divergence": ["'forward'", "'reverse'"],
    "label_smoothing": ["0.0", "0.1"],
    "logits": ["table"],
    "mixture": ["2", "3"],
    "momentum": ["0.9", "0.0"],
    "rewards": ["table[0]"],
    "rounds_per_stage": ["10"],
    "stages": ["1", "2"],
    "target_log_marginals": ["None", "table"],
    "target_log_probs": ["table"],
    "teacher_log_probs": ["table"],
    "teacher_steps": ["None", "4"],
    "tutor": ["None", "fresh()"],
    "DiMODistiller.steps": ["1"],
    "Di4CDistiller.student": ["None", "fresh().copy(noise='scalar')"],
    "IDLMDistiller.samples": ["2", "3"],
    "ReinforceDistiller.samples": ["2", "3"],
    "mixture_loss.log_probs": ["np.stack([table, table])"],
    "mixture_loss.target": ["x[:1, :2]"],
    "policy_gradient_loss.log_probs": ["table[0]"],
    "against": ["None", "'other'"],
    "batch_size": ["None", "8", "16"],
    "block_size": ["4"],
    "callbacks": ["None", "[]", "keras.callbacks.TerminateOnNaN()"],
    "card": ["None", "{'a': 1}"],
    "channels": ["1"],
    "characters": ["'abcd'", "['a', 'b']"],
    "chart": ["True"],
    "class_weight": ["None"],
    "cond_dim": ["8"],
    "confidence_threshold": ["0.005", "0"],
    "copy": ["False"],
    "corruptions": ["1", "2"],
    "critic": ["None", "fresh()"],
    "critic_cost": ["table"],
    "critic_optimizer": ["None", "'adam'"],
    "critic_steps": ["1", "2"],
    "remat": ["True", "False"],
    "simultaneous": ["False"],
    "curriculum_rounds": ["0", "2"],
    "data": ["x", "None"],
    "definition": ["byte_pairs.definition"],
    "denoiser": ["kd.Denoiser(5, **sizes)"],
    "description": ["None", "'some features'"],
    "dim": ["4"],
    "documents": [
        "['abcdabcd', 'dcbadcba']",
        "[[0, 1, 2], [3, 3, 3, 3, 3, 3]]",
        "iter(['abcdabcdabcd'])",
    ],
    "download": ["False"],
    "dropout": ["0.0", "0.1"],
    "dtype": ["'float32'", "'float16'"],
    "end": ["True", "False"],
    "end_id": ["None", "0"],
    "end_temperature": ["0.5"],
    "entropy_bound": ["0.1", "inf"],
    "epochs": ["1"],
    "epsilon": ["0.001"],
    "eta": ["None", "0.04"],
    "every": ["1", "2"],
    "race": ["table"],
    "rank": ["1", "2"],
    "recipe": ["'default'", "'paper'"],
    "reference_labels": ["None"],
    "size": ["3", "5000"],
    "target_layer_names": ["None", "['head']"],
    "row_keys.rows": ["ops.arange(3)", "ops.arange(2, 9)"],
    "with_error.mean": ["1.5", "None"],
    "with_error.error": ["0.1", "None"],
    "max_order": ["1", "3"],
    "save_freq": ["'epoch'", "1", "3"],
    "delete_checkpoint": ["True", "False"],
    "feature": ["'text'"],
    "features": ["first_two", "None"],
    "figure": ["'unigram_entropy'", "'seconds_per_sample'"],
    "filepath": ["'a.weights.h5'"],
    "final_uniform_share": ["0.0", "1"],
    "first": ["kd.metrics.FeatureStatistics(x[:, :2])"],
    "folder": ["'out'", "None"],
    "function": ["len"],
    "grid": ["(2, 4)"],
    "guidance_scale": ["None", "2.0"],
    "hidden_dim": ["16"],
    "ids": ["x", "x[0]", "[0, 1]"],
    "initial_epoch": ["0"],
    "input_shape": ["(None, 8)", "None"],
    "inputs": ["x"],
    "jit_compile": ["'auto'", "False"],
    "k": ["1", "2"],
    "kappa": ["0.95"],
    "kernel_size": ["3"],
    "known": ["None"],
    "label_dropout": ["0.0"],
    "labels": ["None"],
    "learning_rate": ["1e-3"],
    "length": ["8", "None"],
    "levels": ["5"],
    "log_probs": ["table"],
    "loop_alpha": ["0.9"],
    "loop_end": ["0.05"],
    "loop_start": ["0.55"],
    "mark": ["None", "'a'"],
    "mask": ["None", "np.ones((16, 8), bool)"],
    "max_advantage": ["None", "3.0"],
    "max_log_ratio": ["'auto'", "3.0", "None"],
    "maximum": ["3"],
    "metrics": [
        "[kd.metrics.UnigramEntropy()]",
        "[kd.metrics.SampleScore(len, 'n'), kd.metrics.Diversity(2)]",
    ],
    "mlp_dim": ["None", "16"],
    "model": ["model"],
    "models": ["{'a': model}", "{'a': model, 'b': labelled}"],
    "molecules": ["['C', 'CC', 'c1ccccc1']"],
    "n": ["2", "1"],
    "name": ["'named'"],
    "noise": ["None", "'gaussian'", "'token'"],
    "noise_scale": ["0.0", "0.1", "'auto'"],
    "norm_epsilon": ["1e-6"],
    "norm_scale": ["False", "True"],
    "notes": ["None", "{'n': 'a number'}"],
    "num_classes": ["None", "3"],
    "num_frequencies": ["8"],
    "num_heads": ["2"],
    "num_layers": ["1"],
    "num_states": ["None", "6"],
    "optimizer": ["'adamw'", "keras.optimizers.SGD(0.1)"],
    "overwrite": ["True"],
    "pairs": ["1", "2"],
    "parts": ["1", "2"],
    "path": ["'text.txt'", "'nowhere'"],
    "position": ["'rotary'"],
    "power": ["2.0"],
    "prediction": ["'mean'"],
    "preset": ["'digits_masked_student'", "'nowhere'"],
    "probabilities": ["np.full(len(rows), 1 / len(rows))"],
    "process": ["kd.MaskedDiffusion(5)"],
    "prompt_rate": ["0.0", "0.5"],
    "prompts": ["None", "[[0, 1]]", "[[0, kd.Gap(2), 3]]", "['ab']", "[['a', kd.Gap(2), 'd'], [2]]"],
    "randomness": ["0.0", "1.0"],
    "reference": ["reference"],
    "reference_data": ["None", "x"],
    "renoise": ["'auto'", "'forward'"],
    "return_calls": ["False", "True"],
    "return_dict": ["True", "False"],
    "return_entropies": ["False", "True"],
    "rounds": ["10"],
    "run_eagerly": ["False"],
    "sample_weight": ["None", "np.ones(16)"],
    "sampler": ["None", "'ancestral'", "kd.samplers.Confidence()"],
    "samplers": ["None", "['ancestral', 'confidence']", "{'mine': kd.samplers.Threshold()}"],
    "samples": ["x"],
    "save_format": ["None"],
    "scale": ["'linear'", "'log'"],
    "schedule": ["'linear'", "'cosine'", "kd.schedules.PolynomialSchedule(3)"],
    "score": ["'margin'", "'entropy'"],
    "second": ["kd.metrics.FeatureStatistics(x[:, :2])"],
    "seed": ["0", "1", "-5"],
    "seeds": ["[0]", "(0, 1)"],
    "step_conditioning": ["None", "False"],
    "kd.Denoiser.step_conditioning": ["True", "False"],
    "self_conditioning": ["False", "True"],
    "separator": ["None", r"'\n'"],
    "shape": ["(2, 3)", "(2,)"],
    "shown": ["16", "0"],
    "shuffle": ["True", "False"],
    "stability_threshold": ["1"],
    "start": ["0", "3"],
    "start_id": ["None", "4"],
    "start_temperature": ["0.8"],
    "statistics_of": ["statistics"],
    "steps": ["1", "2"],
    "steps_per_epoch": ["None", "1"],
    "steps_per_execution": ["1"],
    "strategy": ["'cap'", "'loop'"],
    "student": ["None", "fresh()"],
    "student_optimizer": ["None", "'adam'"],
    "student_probs": ["table"],
    "student_temperature": ["'auto'", "2"],
    "support": ["rows"],
    "symbols": ["['C', 'O']", "'CO'"],
    "target": ["'hard'", "'soft'"],
    "teacher": ["fresh()"],
    "teacher_cost": ["table"],
    "teacher_probs": ["None", "table"],
    "teacher_weight": ["'auto'", "0.0", "1.0"],
    "temperature": ["1.0", "0", "0.5"],
    "temperatures": ["[1.0]", "(0.5, 1)"],
    "tensorboard": ["None"],
    "text": ["'abcd'", "''"],
    "texts": ["['abcd', 'ab']"],
    "threshold": ["0.9"],
    "tiles": ["'auto'", "False", "4"],
    "time_conditioning": ["True", "False"],
    "time_schedule": ["None", "'linear'"],
    "time_weighting": ["'constant'", "'nelbo'"],
    "DMMDDistiller.time_weighting": ["'auto'", "'constant'", "'nelbo'"],
    "DMMDDistiller.times": ["'auto'", "'grid'", "'random'"],
    "ReinforceDistiller.times": ["'auto'", "'grid'"],
    "times": ["None", "'cosine'", "[1, 0.5, 0]"],
    "title": ["'Title'", "None"],
    "tokenizer": ["characters", "None"],
    "tokens": ["x", "3"],
    "top_p": ["None", "0.9"],
    "top_p_penalty": ["2.0"],
    "train": ["None", "['C']"],
    "training": ["False", "True"],
    "trajectory": ["False", "True"],
    "uniform_share": ["0.5"],
    "validation_batch_size": ["None", "8"],
    "validation_data": ["None", "x", "(x, None)"],
    "validation_freq": ["1", "[1]"],
    "validation_split": ["0.0", "0.5"],
    "validation_steps": ["None", "1"],
    "values": ["[1.0, 2.0]"],
    "verbose": ["0", "'auto'"],
    "vocabulary": ["{'ab', 'cd'}", "['ab']"],
    "vocabulary_size": ["5"],
    "warmup": ["0", "2"],
    "whole": ["False", "True"],
    "width": ["2"],
    "window": ["16"],
    "x": ["x", "{'tokens': x}", "keras.ops.convert_to_tensor(x)", "loader(x)"],
    "y": ["None"],
    # Of one function alone.
    "BitsPerToken.batch_size": ["8"],
    "BytePairTokenizer.end": ["'<|endoftext|>'", "None"],
    "CausalReference.batch_size": ["4"],
    "CausalReference.model": ["judge"],
    "CharacterTokenizer.characters": ["'abcd'"],
    "Denoiser.length": ["None", "8"],
    "Denoiser.prompts": ["True", "False"],
    "GradientMoment.batch_size": ["4"],
    "HubTokenizer.tokenizer": ["None"],
    "ImageFeatures.num_classes": ["3"],
    "KernelDistance.block_size": ["4"],
    "ByteTokenizer.decode.ids": ["[97, 98]"],
    "FrechetDistance.update_state.data": ["None"],
    "Report.load.folder": ["'report'"],
    "SampleAndScore.model": ["None", "model"],
    "SampleAndScore.reference_data": ["None", "x"],
    "SampleScore.name": ["'n'"],
    "TokenNoise.symbols": ["8"],
    "PyramidNoise.features": ["16"],
    "GaussianNoise.features": ["16"],
    "ScalarNoise.features": ["8"],
    "categorical.log_probs": ["table"],
    "compile.kwargs": ["None"],
    "default_metrics.data": ["None", "np.tile(x, (2, 1))"],
    "default_metrics.features": ["None", "features"],
    "default_metrics.reference": ["None", "reference"],
    "default_metrics.samples": ["4"],
    "evaluate.reference_data": ["None", "x"],
    "evaluate.samples": ["2", "4"],
    "evaluate.steps": ["[1]", "(1, 2)"],
    "evaluate.x": ["x", "{'tokens': x}", "loader(x)"],
    "features.extract.batch_size": ["8", "16"],
    "features.train_classifier.batch_size": ["8", "16"],
    "features.train_classifier.labels": ["y"],
    "features.train_classifier.validation_data": ["None", "(x, y)"],
    "frechet_by_steps.reference": ["kd.metrics.FeatureStatistics(x[:, :2])"],
    "frechet_by_steps.samples": ["4"],
    "frechet_by_steps.steps": ["[1]"],
    "from_file.path": ["'tokenizer.json'", "'nowhere'"],
    "from_folder.folder": ["'sotu_chars_reference'", "'nowhere'"],
    "generate.batch_size": ["None", "1"],
    "generate.known": ["None"],
    "generate.max_length": ["None"],  # and not `length`
    "generate.stop_token_ids": ["'auto'", "None", "[1]", "(0, 2)"],
    "ImageFeatures.from_preset.preset": ["'digits_features'", "'nowhere'"],
    "judge.texts": ["['abcd', 'ab']"],
    "known_words.texts": ["['ab cd ab cd', 'ab cd ef']"],
    "bits_per_character.texts": ["['abcd', 'ab']"],
    "labelled.fit.x": ["x", "{'tokens': x, 'labels': y}", "{'tokens': x, 'known': x > 2}"],
    "labelled.fit.y": ["y", "None"],
    "labelled.generate.labels": ["None", "1", "[0, 2]"],
    "labelled.train_on_batch.y": ["y", "None"],
    "load_cifar10.path": ["'nowhere'", "(images((32, 32, 3)), images((32, 32, 3)))"],
    "load_dit.length": ["8"],
    "load_dit.num_heads": ["None", "2"],
    "load_dit.path": ["'nowhere'", "'text.txt'"],
    "load_dit.process": ["'masked'", "'uniform'"],
    "load_dit.ema": ["True", "False"],
    "load_dit.time_conditioning": ["None", "True"],
    "load_fashion_mnist.levels": ["4", "256"],
    "load_fashion_mnist.path": ["'nowhere'", "(images((28, 28)), images((28, 28)))"],
    "load_csv.column": ["None", "'text'"],
    "load_csv.label": ["None", "'class'"],
    "load_csv.path": ["'table.csv'", "'nowhere'"],
    "load_fasta.path": ["'loops.fasta'", "'text.txt'"],
    "load_images.classes": ["None", "['a', 'b']"],
    "load_images.color": ["True", "False"],
    "load_images.folder": ["'pictures'", "'nowhere'"],
    "load_images.levels": ["16", "2"],
    "load_images.size": ["None", "(4, 4)"],
    "load_moses.path": ["'nowhere'"],
    "load_shakespeare.path": ["'nowhere'"],
    "load_sotu.path": ["'nowhere'"],
    "load_text.held_out": ["0.5", "0"],
    "load_text.path": ["'text.txt'", "'nowhere'", "['text.txt']"],
    "load_weights.filepath": ["'model.weights.h5'", "'nowhere'"],
    "measure.samples": ["x"],
    "mean_and_error.values": ["[1.0, 2.0]", "x[:, 0]"],
    "held_out": ["0.5", "0.1"],
    "split_rows.rows": ["rows", "x"],
    "save.filepath": ["'a.keras'"],
    "split.n": ["2"],
    "split.documents": ["['a', 'b']"],
    "spread.n": ["4"],
    "step_entropies.samples": ["2"],
    "stratified.batch_size": ["4"],
    "train.documents": ["['abcd', 'efgh']", "iter(['ab'])"],
    "train.end": ["'<end>'"],
    "train.vocabulary_size": ["300"],
    "unigram_entropy.tokens": ["x"],
    "update.features": ["x[:, :2]"],
    "update_state.data": ["x", "None"],
    "Gap.tokens": ["3"],
    "SampleAndScore.samples": ["2"],
    "SampleAndScore.steps": ["None", "1"],
    "log_likelihood.tokens": ["x"],
    "extract.tokens": ["x"],
    "statistics.tokens": ["x"],
    "train_classifier.tokens": ["x"],
    "BitsPerToken.update_state.tokens": ["x"],
    "critic_loss.target": ["table", "x[:1, :2]"],
    "schedules.name_of.schedule": ["len"],
    "tokenizers.get.tokenizer": ["None", "characters"],
    "samplers.get.sampler": ["None", "'psi'"],
    "save_to_preset.folder": ["'preset'"],
    "Report.save.folder": ["'report'"],
    "BackupAndResume.folder": ["'backup'"],
    "report.save.folder": ["'report'"],
    "axis": ["None"],
}

# Arguments that go on to another function, under `**`.
MORE = {
    "kd.evaluate": ["top_p", "length", "labels", "batch_size", "guidance_scale", "prompts", "times"],
    "kd.callbacks.SampleAndScore": ["top_p", "length", "temperature", "batch_size"],
    "kd.evaluation.step_entropies": ["top_p", "temperature"],
    "kd.metrics.frechet_by_steps": ["temperature"],
    "kd.DiffusionModel": ["name"],
    "kd.Denoiser": ["name"],
    "kd.BlockDenoiser": [*SIZES, "num_classes", "dropout", "grid"],
    "kd.ImageFeatures": ["name"],
    "kd.DMMDDistiller": ["name"],
    "kd.SDTTDistiller": ["name"],
    "kd.MPDCDistiller": ["name"],
    "kd.DiMODistiller": ["name"],
    "kd.Di4CDistiller": ["name"],
    "kd.IDLMDistiller": ["name"],
    "kd.ReinforceDistiller": ["name"],
    "kd.models.CausalConvolution": ["name"],
}

# What by default is so much that it takes long.
NEEDED = ("samples",)

# Parameters that are given no bad value: one that is true would download.
ALWAYS_GOOD = ("download",)

# What no parameter should take, or few.
HOSTILE = """
None | True | nan | inf | -inf | -1 | 0 | 1 | 2.5 | -0.5 | 2**40 | 10**12 | -2**63 | 10**400 | 1e308
5e-324 | 1j | '' | 'a' | '\\ud800' | '\\0' | 'a' * 10**5 | b'a' | b'' | [] | [None] | [1] | [1, 'a']
[[1, 2], [3]] | [[[]]] | () | (1, 2) | (1, (2,)) | {} | {'a': 1} | {'tokens': {'tokens': 1}}
{1, 2} | {'class_name': 'Nope', 'config': {}} | frozenset() | object() | len | int
lambda *args, **kwargs: None | np | range(3) | iter([1]) | (i for i in 'ab') | np.uint8(2)
np.int64(-3) | np.float32(0.5) | np.float64('nan') | np.bool_(True) | np.datetime64('now')
np.array(3) | np.array([]) | np.ones((16, 8)) | np.zeros((0, 8), int) | np.zeros((4, 0), int)
np.full((4, 8), nan) | np.full((4, 8), 99) | np.full((4, 8), -1) | np.full((4, 8), 2**40)
np.full(16, nan) | np.full((4, 8), 0.5) | np.zeros((4, 8, 2), int) | np.zeros(8, int)
np.array(['a', 'b']) | np.array([None, 1], object) | np.zeros((4, 8), complex)
np.zeros((4, 8), 'float16') | x | x[0] | y | ops.zeros((4, 8)) | ops.zeros(())
ops.full((4, 8), 99) | loader([]) | loader(np.full((4, 8), 99)) | model | characters | kd.Gap(3)
keras.layers.Dense(3) | keras.losses.MeanSquaredError() | kd.MaskedDiffusion(3)
fractions.Fraction(1, 3) | decimal.Decimal(1) | kd.samplers.FirstHitting()
kd.metrics.UnigramEntropy()
"""
HOSTILE = [value.strip() for line in HOSTILE.splitlines() for value in line.split(" | ")]
HOSTILE = [value for value in HOSTILE if value]

# What is made of a good value `{0}`.
MUTATIONS = ["[{0}]", "({0},)", "[{0}, {0}]", "str({0})", "-({0})", "{{'tokens': {0}}}", "lambda: {0}"]
MUTATIONS += [
    "np.asarray({0}, object)",
    "np.asarray({0})[None]",
    "np.asarray({0})[:0]",
    "np.asarray({0}) * nan",
]
MUTATIONS += [
    "np.asarray({0}) + 2**33",
    "np.asarray({0}) - 3",
    "ops.convert_to_tensor({0})",
    "list({0})",
]
MUTATIONS += ["iter({0})", "[*{0}, None]", "[*{0}, 'a']", "np.float64({0})"]


def public_names():
    """Expressions of all public callables of the package, each once."""
    found = {}
    for module in MODULES:
        path = ".".join(filter(None, ("keras_dmmd", module)))
        short = ".".join(filter(None, ("kd", module)))
        source = inspect.getsource(importlib.import_module(path))
        for name, value in vars(importlib.import_module(path)).items():
            own = getattr(value, "__module__", "").startswith("keras_dmmd")
            # A package exports what it imports under the same name; a module what it defines.
            exported = f"as {name}\n" in source or getattr(value, "__module__", "") == path
            if name[0] != "_" and callable(value) and own and exported:
                found.setdefault(id(value), f"{short}.{name}")
    return [name for name in found.values() if name.rsplit(".", 1)[1] not in LEFT_OUT]


def targets():
    """What is called, a dict of expressions to how often."""
    found = {name: OFTEN.get(name, 1) for name in public_names()}
    for receiver, methods in METHODS.items():
        found |= {f"{receiver}.{name}": weight for name, weight in methods.items()}
    return found


def parameters(target):
    """Names of the parameters of a target, and whether each is required; nothing is made for it."""
    receiver, name = target.rsplit(".", 1)
    owner = CLASSES.get(receiver, receiver.split("(")[0])
    function = getattr(eval(owner, {"kd": kd}), name)
    found = list(inspect.signature(function).parameters.values())
    keras_method = getattr(keras.Model, name, None)
    if any(p.kind is p.VAR_POSITIONAL for p in found) and keras_method is not None:
        own = [p for p in found if p.kind is p.KEYWORD_ONLY]
        found = [*inspect.signature(keras_method).parameters.values(), *own]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [p for p in found if p.kind in named and p.name != "self"]
    required = {p.name: p.default is p.empty or p.name in NEEDED for p in found}
    return {**required, **dict.fromkeys(MORE.get(target, ()), False)}


def good_values(target, name):
    """Expressions of values that a parameter of a target takes."""
    receiver, function = target.rsplit(".", 1)
    kind = receiver.rsplit(".", 1)[-1].split("(")[0]
    for key in (f"{kind}.{function}.{name}", f"{function}.{name}", name):
        if key in GOOD:
            return GOOD[key]
    raise KeyError(f"`GOOD` has no values for `{name}` of {target}")


def first_two(ids):
    """Features `(n, 2)` of ids."""
    return np.asarray(ids)[:, :2].astype("float64")


def statistics(ids):
    return metrics.FeatureStatistics(first_two(ids))


def images(shape):
    """Three images and their labels."""
    return np.zeros((3, *shape), "uint8"), np.zeros(3, "uint8")


class Batches(keras.utils.PyDataset):
    """Batches of 8 rows."""

    def __init__(self, x):
        super().__init__()
        self.rows = x

    def __len__(self):
        return -(-len(self.rows) // 8)

    def __getitem__(self, i):
        return (self.rows[8 * i : 8 * i + 8],)


class Judge(keras.Model):
    """Logits of the next token by a table, of which gradients can be taken."""

    def __init__(self):
        super().__init__()
        self.table = self.add_weight(shape=(K, K), initializer="zeros", name="table")
        self.built = True

    def call(self, inputs):
        return ops.take(self.table, inputs["token_ids"], axis=0)


class Namespace(dict):
    """Names to objects; models are made when they are first asked for, and kept."""

    def __init__(self):
        rng = np.random.default_rng(0)
        x = rng.integers(0, K - 1, (16, LENGTH))
        super().__init__(
            {"np": np, "keras": keras, "ops": ops, "kd": kd, "nan": float("nan"), "inf": float("inf")}
            | {"fractions": fractions, "decimal": decimal, "sizes": SIZES, "x": x}
            | {
                "y": np.arange(16) % 3,
                "rows": np.unique(x, axis=0),
                "loader": Batches,
                "images": images,
            }
            | {"table": np.full((1, 2, K), 0.2, "float32"), "first_two": first_two}
            | {"statistics": statistics, "fresh": fresh, "fresh_distiller": fresh_distiller}
        )

    def __missing__(self, name):
        if name not in MAKERS:
            raise KeyError(name)
        self[name] = MAKERS[name](self)
        return self[name]

    def renew(self):
        """Drop models that a call has frozen, as `copy(adapters=)` does, for new ones to be made."""
        for name in MAKERS:
            if isinstance(self.get(name), keras.Model) and not self[name].trainable_variables:
                del self[name]


def fresh(process=None, denoiser=None, **kwargs):
    """A small model of its own."""
    process = process or kd.MaskedDiffusion(K)
    denoiser = denoiser or kd.Denoiser(K, num_states=process.num_states, **SIZES, **kwargs)
    characters = tokenizers.CharacterTokenizer("abcd", end=True)
    return kd.DiffusionModel(denoiser, process, length=LENGTH, steps=2, tokenizer=characters)


def fresh_distiller():
    return kd.DMMDDistiller(fresh(), steps=2)


def _compiled(model):
    model.compile()
    return model


MAKERS = {
    "model": lambda names: _compiled(fresh()),
    "labelled": lambda names: _compiled(fresh(num_classes=3)),
    "uniform": lambda names: _compiled(fresh(kd.UniformDiffusion(K))),
    "blocks": lambda names: _compiled(fresh(denoiser=kd.BlockDenoiser(K, block_size=4, **SIZES))),
    "distiller": lambda names: _compiled(fresh_distiller()),
    "characters": lambda names: tokenizers.CharacterTokenizer("abcd", end=True),
    "byte_pairs": lambda names: tokenizers.BytePairTokenizer.train(["abcd efgh"], 260),
    "judge": lambda names: Judge(),
    "reference": lambda names: metrics.CausalReference(Judge(), names["characters"], start_id=4),
    "features": lambda names: metrics.ImageFeatures((2, 4), K, num_classes=3, dim=4, width=2),
    "report": lambda names: kd.evaluate(
        {"a": names["model"]}, [1], [metrics.UnigramEntropy()], samples=2, seeds=[0], verbose=0
    ),
}


def files(names):
    """Write what paths among the good values name, into the working directory."""
    with open("text.txt", "w") as file:
        file.write("abcd\nabca\nab\ncd\n" * 4)
    with open("table.csv", "w") as file:
        file.write("text,class\nabcd,a\nabca,b\n")
    with open("loops.fasta", "w") as file:
        file.write(">one\nCASS\n>two\nCASQ\n")
    for folder in ("a", "b"):
        os.makedirs(f"pictures/{folder}", exist_ok=True)
        keras.utils.save_img(f"pictures/{folder}/0.png", np.zeros((6, 6, 3)))
    with open("tokenizer.json", "w") as file:
        file.write(names["byte_pairs"].definition)
    names["model"].save_weights("model.weights.h5")
    names["report"].save("report")
