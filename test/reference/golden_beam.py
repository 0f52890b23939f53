"""Beam search of `model.generate`, checked against BEAM.md's plain form on the way.

python golden_beam.py tiny|tiny-llama3|tiny-untied|tiny-lora|smollm2 [GGUF_FOLDER]
python golden_beam.py smollm2-movielens GGUF_FOLDER ML_FOLDER
"""

import sys

import torch
from beam_plain import beam_search
from common import add_lora, digest, load_model, load_tokenizer, numbers, prompt_ids, synthetic_prompts, write_golden
from movielens import user_prompts
from transformers import GenerationConfig

BEAMS, MAX_NEW_TOKENS = 4, 24


def generate(model, ids, eos, pad):
    settings = GenerationConfig(
        num_beams=BEAMS,
        num_return_sequences=BEAMS,
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        length_penalty=1.0,
        early_stopping=False,
        eos_token_id=eos,
        pad_token_id=pad,
        bos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.generation_config = GenerationConfig()  # nothing of the model's own may fill what is unset above
    out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), generation_config=settings)
    rows = [unpadded(row, eos) for row in out.sequences[:, len(ids) :].tolist()]
    return rows, numbers(out.sequences_scores)


def unpadded(row, eos):
    return row[: row.index(eos) + 1] if eos in row else row


def record(model, ids, eos, pad):
    rows, scores = generate(model, ids, eos, pad)
    plain, gap = beam_search(model, ids, BEAMS, MAX_NEW_TOKENS, eos)
    difference = max(abs(a - b[1]) for a, b in zip(scores, plain))
    if gap > 1e-4:
        assert rows == [tokens for tokens, _ in plain] and difference < 1e-4, "BEAM.md disagrees with transformers"
    return {"sequences": rows, "scores": scores, "gap": gap}


def main(name, gguf_folder=None, ml_folder=None):
    base = {"tiny-lora": "tiny", "smollm2-movielens": "smollm2"}.get(name, name)
    tokenizer, model = load_tokenizer(base, gguf_folder), load_model(base, gguf_folder)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if name == "tiny-lora":
        model = add_lora(model, b_scale=0.1).eval()
    rows = []
    if name == "smollm2-movielens":
        for user, text in user_prompts(ml_folder)[:8]:
            rows.append({"user": user, "promptSha256": digest(text), **record(model, prompt_ids(tokenizer, text), eos, pad)})
    else:
        for text in synthetic_prompts(16 if name.startswith("tiny") else 8):
            ids = prompt_ids(tokenizer, text)
            rows.append({"promptSha256": digest(text), "promptIds": ids, **record(model, ids, eos, pad)})
    print("smallest gap", min(r["gap"] for r in rows), "ended", sum(s[-1] == eos for r in rows for s in r["sequences"]))
    write_golden(
        f"beam-{name}",
        {"model": base, "beams": BEAMS, "maxNewTokens": MAX_NEW_TOKENS, "eos": eos, "pad": pad, "prompts": rows},
    )


main(*sys.argv[1:])
