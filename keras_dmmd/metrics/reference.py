"""Language models as judges: how likely a text is."""

import functools
import math
import os

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, checks, presets, tokenizers
from keras_dmmd.fingerprints import config_hash, weights_hash
from keras_dmmd.metrics.ngram_reference import NGramReference
from keras_dmmd.metrics.statistics import ratio_and_error
from keras_dmmd.metrics.streaming import Note, StreamingMetric
from keras_dmmd.optional import package
from keras_dmmd.tokenizers import BytePairTokenizer


class CausalReference:
    """A causal language model that judges what another model wrote.

    Args:
        model: a `keras_hub.models.CausalLM`, or another Keras model from `"token_ids"` and
            `"padding_mask"`, both `(batch, length)`, to logits of the next token, `(batch, length, K)`.
        tokenizer: a `keras_dmmd.tokenizers.Tokenizer` of the model's ids; by default its own.
        start_id: the id that stands before a text; by default the model's, or else the tokenizer's end
            token, which stands between the documents that such a model learned from.
        window: tokens of one pass. A longer text is judged part by part, each as if it began there.
        batch_size: parts of texts in a pass.

    Example:

    ```python
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    texts = kd.from_preset("sotu_chars_student").generate(prompts=["we must "], n=8, steps=8)
    bits, error = kd.metrics.bits_per_character(texts, judge)
    ```
    """

    note = "what a reference model needs"

    def __init__(self, model, tokenizer=None, start_id=None, window=256, batch_size=16):
        if not isinstance(model, keras.Model):
            raise ValueError(f"`model` must be a keras.Model. Received: {checks.shown(model)}")
        tokenizer = getattr(model, "tokenizer", None) if tokenizer is None else tokenizer
        if tokenizer is None:
            raise ValueError("The model comes without a tokenizer: give `tokenizer`.")
        self.tokenizer = tokenizers.get(tokenizer)
        if start_id is None:
            start_id = getattr(model, "start_id", self.tokenizer.end_id)
        if start_id is None:
            raise ValueError("The tokenizer has no end token to stand before a text: give `start_id`.")
        self.model, self.start_id = model, checks.count("start_id", start_id, least=0)
        self.window = checks.count("window", window)
        self.batch_size = checks.count("batch_size", batch_size)

    @classmethod
    def from_folder(cls, folder, **kwargs):
        """From a preset of this library, or a folder that KerasHub loads, with its `tokenizer.json`.

        Args:
            folder: `"sotu_chars_reference"`, which ships, or one that `examples/train_reference.py` or
                `examples/smollm2_preset.py` wrote.
            **kwargs: of `CausalReference`.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        folder = checks.path("folder", folder)
        if folder in presets.names() or os.path.exists(os.path.join(folder, "weights.npz")):
            return cls(presets.from_preset(folder), **kwargs)
        path = os.path.join(folder, "tokenizer.json")
        if not os.path.exists(path):
            raise FileNotFoundError(f"There is no reference model at folder={folder!r}.")
        hub = package("keras_dmmd.models.hub", "A reference model", "keras-hub")
        return cls(hub.causal_lm(os.fspath(folder)), BytePairTokenizer.from_file(path), **kwargs)

    def log_likelihood(self, tokens, mask=None):
        """`log p` in nats per token, `(batch,)`, differentiable with respect to the model's weights.

        Args:
            tokens: ids `(batch, length)`; the first is judged too, after `start_id`.
            mask: which of them count, bool `(batch, length)`: all by default.
        """
        if not ops.is_tensor(tokens):
            tokens = checks.ids("tokens", tokens, self.tokenizer.vocabulary_size, ndim=2)
        if mask is not None and not ops.is_tensor(mask):
            mask = checks.flags("mask", mask, tokens.shape)
        tokens = ops.cast(tokens, "int32")
        mask = ops.ones_like(tokens, dtype="bool") if mask is None else ops.cast(mask, "bool")
        tokens = ops.where(mask, tokens, 0)
        before = ops.concatenate([ops.full_like(tokens[:, :1], self.start_id), tokens[:, :-1]], axis=1)
        logits = self.model({"token_ids": before, "padding_mask": ops.ones_like(before)})
        log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        picked = ops.take_along_axis(log_probs, ops.expand_dims(tokens, -1), axis=-1)[..., 0]
        count = ops.sum(ops.cast(mask, "float32"), axis=-1)
        return ops.sum(ops.where(mask, picked, 0.0), axis=-1) / ops.maximum(count, 1.0)

    @functools.cached_property
    def _judge(self):
        return backend.compile_inference(self.log_likelihood, self.model.variables, backend.COMPILES)

    def judge(self, texts):
        """`-log p` of each text in nats, and its number of tokens: two float64 arrays `(n,)`.

        Raises:
            ValueError: there are no texts, or one is empty.
        """
        texts = checks.texts("texts", texts)
        if not texts:
            raise ValueError("`texts` must be strings, not empty. Received: none")
        parts = []  # of which text, ids
        for i, text in enumerate(texts):
            ids = self.tokenizer.encode(text)
            if not len(ids):
                raise ValueError(f"`texts` must have something to judge. Text {i} is empty")
            parts += [(i, ids[a : a + self.window]) for a in range(0, len(ids), self.window)]
        parts.sort(key=lambda part: len(part[1]))  # alike lengths share a batch
        nats, counts = np.zeros(len(texts)), np.zeros(len(texts))
        for a in range(0, len(parts), self.batch_size):
            batch = parts[a : a + self.batch_size]
            # Lengths in steps of 32, batches filled up: few shapes to compile.
            length = min(self.window, -(-len(batch[-1][1]) // 32) * 32)
            tokens = np.zeros((self.batch_size, length), "int32")
            mask = np.zeros(tokens.shape, bool)
            for row, (_, ids) in enumerate(batch):
                tokens[row, : len(ids)], mask[row, : len(ids)] = ids, True
            means = backend.to_numpy(self._judge(tokens, mask)).astype("float64")
            for row, (i, ids) in enumerate(batch):
                nats[i] -= means[row] * len(ids)
                counts[i] += len(ids)
        if not np.isfinite(nats).all():
            raise ValueError("The reference model gives likelihoods that are not finite.")
        return nats, counts

    def fingerprint(self):
        """What tells this judge from another, JSON."""
        own = [weights_hash(self.model), config_hash(self.tokenizer)]
        return [*own, repr(self.start_id), self.window]


class _Judged(StreamingMetric):
    """A ratio of a reference's nats to a size of the text, over all samples.

    Args:
        reference: a `CausalReference` or a `keras_dmmd.metrics.NGramReference`.
        tokenizer: that turns samples, ids `(n, length)`, into texts; `None` if samples are what the
            reference judges.
    """

    def __init__(self, reference, tokenizer=None, name=None):
        super().__init__(name=name)
        if not isinstance(reference, (CausalReference, NGramReference)):
            raise ValueError(
                "`reference` must be a CausalReference or an NGramReference. "
                f"Received: {checks.shown(reference)}"
            )
        self.reference, self.tokenizer = reference, tokenizers.get(tokenizer)
        self.judge = reference.model
        text = f"{reference.note}; lower is better at equal entropy"
        self.note = Note(text, against="unigram_entropy")
        self.reset_state()

    def update_state(self, samples, data=None):
        """Add samples: ids `(n, length)`, or strings where there is no tokenizer.

        A sample that decodes to an empty text, which has no likelihood to speak of, counts as nothing.
        """
        if self.tokenizer is None:
            # Strings or ids: the reference checks which of them it judges.
            texts = (
                samples
                if hasattr(samples, "shape")
                else list(checks.iterable("texts", samples, "texts"))
            )
        else:
            decoded = self.tokenizer.decode(checks.rows("samples", samples))
            texts = [text for text in decoded if text]
            if not texts:
                raise ValueError(f"{self.name}: all {len(samples)} samples are empty texts.")
        nats, counts = self.reference.judge(texts)
        self._nats.append(nats)
        self._sizes.append(self._size(texts, counts))

    def fingerprint(self):
        return [self.name, config_hash(self.tokenizer), *self.reference.fingerprint()]

    def _size(self, texts, counts):
        raise NotImplementedError

    def _ratio(self):
        if not self._nats:
            raise ValueError(f"{self.name} has seen no samples: call `update_state` first.")
        return ratio_and_error(np.concatenate(self._nats), np.concatenate(self._sizes))

    def reset_state(self):
        self._nats, self._sizes = [], []


class BitsPerCharacter(_Judged):
    """Bits a character that a reference needs for samples; see `bits_per_character`.

    Example:

    ```python
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    student = kd.from_preset("sotu_chars_student")
    metric = kd.metrics.BitsPerCharacter(judge, student.tokenizer)
    metric.update_state(student.generate(8, steps=8, seed=0))
    metric.result()  # {"bits_per_character": ..., "bits_per_character_error": ...}
    ```
    """

    def __init__(self, reference, tokenizer=None, name="bits_per_character"):
        super().__init__(reference, tokenizer, name)

    def _size(self, texts, counts):
        return np.array([len(text) for text in texts])

    def result(self):
        mean, error = self._ratio()
        return {self.name: mean / math.log(2), f"{self.name}_error": error / math.log(2)}


class GenerativePerplexity(_Judged):
    """`exp` of a reference's nats per token of its own, with the error of the delta method.

    Example:

    ```python
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    student = kd.from_preset("sotu_chars_student")
    metric = kd.metrics.GenerativePerplexity(judge, student.tokenizer)
    metric.update_state(student.generate(8, steps=8, seed=0))
    metric.result()  # {"generative_perplexity": ..., "generative_perplexity_error": ...}
    ```
    """

    def __init__(self, reference, tokenizer=None, name="generative_perplexity"):
        super().__init__(reference, tokenizer, name)

    def _size(self, texts, counts):
        return counts

    def result(self):
        mean, error = self._ratio()
        return {self.name: math.exp(mean), f"{self.name}_error": math.exp(mean) * error}


def bits_per_character(texts, reference):
    """Bits a character that a reference needs for texts, and its standard error over texts.

    Unlike perplexity it does not depend on the reference's tokens. Low bits are no merit of their own:
    text that repeats itself has them, so `unigram_entropy` stands beside it.

    Args:
        texts: strings.
        reference: a `CausalReference`, or a `keras_dmmd.metrics.NGramReference` of one's own texts.

    Example:

    ```python
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    kd.metrics.bits_per_character(["the state of the union", "fellow citizens"], judge)
    ```
    """
    return _once(BitsPerCharacter(reference), texts)


def generative_perplexity(texts, reference):
    """`exp` of a reference's nats per token, and its standard error over texts (delta method).

    Example:

    ```python
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    kd.metrics.generative_perplexity(["the state of the union", "fellow citizens"], judge)
    ```
    """
    return _once(GenerativePerplexity(reference), texts)


def _once(metric, texts):
    metric.update_state(texts)
    return tuple(metric.result().values())
