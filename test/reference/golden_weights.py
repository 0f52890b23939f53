"""Weights of SmolLM2 as transformers reads them from the GGUF, and what single GGUF blocks decode to.

python golden_weights.py GGUF_FOLDER
"""

import sys

import numpy as np
import torch
from common import load_model, numbers, summary, uniform, write_golden
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

BLOCKS = 3
TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
SCALE_OFFSETS = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def block_bytes(name, stream):
    """Random bytes with the float16 scales replaced by small finite ones."""
    kind = GGMLQuantizationType[name]
    elements, size = GGML_QUANT_SIZES[kind]
    if name == "F16":
        return uniform(16, stream).astype(np.float16).view(np.uint8)
    if name == "BF16":
        values = uniform(16, stream).astype(np.float32).view(np.uint32)
        return (values >> np.uint32(16)).astype(np.uint16).view(np.uint8)
    data = ((uniform(BLOCKS * size, stream) + 1) * 128).astype(np.uint8).reshape(BLOCKS, size)
    scales = (uniform(BLOCKS * 2, stream + 50) * 0.05).astype(np.float16).reshape(BLOCKS, 2)
    for column, offset in enumerate(SCALE_OFFSETS[name]):
        data[:, offset : offset + 2] = scales[:, column : column + 1].copy().view(np.uint8)
    return data.ravel()


def block(name, stream):
    data = block_bytes(name, stream)
    values = quants.dequantize(data, GGMLQuantizationType[name]).astype(np.float32)
    assert np.isfinite(values).all()
    return {"type": name, "typeId": int(GGMLQuantizationType[name]), "hex": data.tobytes().hex(), "values": numbers(torch.from_numpy(values.copy()))}


def main(gguf_folder):
    state = load_model("smollm2", gguf_folder).state_dict()
    wanted = [n for n in state if not n.startswith("model.layers.") or n.split(".")[2] in ("0", "29")]
    write_golden(
        "weights-smollm2",
        {"tensors": {name: summary(state[name]) for name in wanted if name != "lm_head.weight"}},
    )
    write_golden("gguf-blocks", {"blocks": [block(name, 500 + i) for i, name in enumerate(TYPES)]})


main(*sys.argv[1:])
