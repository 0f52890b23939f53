"""Last-token logits of eight prompts and embeddings of twenty titles.

python golden_forward.py tiny|tiny-llama3|tiny-untied|tiny-lora|smollm2 [GGUF_FOLDER]

`tiny-lora` also leaves its adapter as PEFT writes it, in golden/tiny-adapter.
"""

import sys

import torch
from common import (
    GOLDEN,
    add_lora,
    digest,
    full,
    load_model,
    load_tokenizer,
    norm,
    numbers,
    plain_titles,
    projections,
    prompt_ids,
    summary,
    synthetic_prompts,
    write_golden,
)

PROJECTIONS, TOP, PROMPTS, TITLES = 16, 50, 8, 20


@torch.no_grad()
def logits(model, ids):
    last = model(torch.tensor([ids])).logits[0, -1]
    top = last.topk(TOP)
    return {
        "topIds": top.indices.tolist(),
        "topLogits": numbers(top.values),
        "norm": norm(last),
        "projections": projections(last, PROJECTIONS),
    }


@torch.no_grad()
def embedding(model, ids):
    """The hidden state after the final norm, at the last token."""
    return model.get_decoder()(torch.tensor([ids])).last_hidden_state[0, -1]


def stripped(title):
    """Surrounding spaces and straight double quotes."""
    return title.strip(' "')


def save_adapter(model):
    folder = GOLDEN / "tiny-adapter"
    model.peft_config["default"].base_model_name_or_path = "tiny-llama"
    model.save_pretrained(folder)
    (folder / "README.md").unlink()


def main(name, gguf_folder=None):
    base = "tiny" if name == "tiny-lora" else name
    tokenizer, model = load_tokenizer(base, gguf_folder), load_model(base, gguf_folder)
    if name == "tiny-lora":
        model = add_lora(model, b_scale=0.1).eval()
        save_adapter(model)
    prompts = [(text, prompt_ids(tokenizer, text)) for text in synthetic_prompts(PROMPTS)]
    titles = [(t, prompt_ids(tokenizer, t)) for t in map(stripped, plain_titles()[: 2 * TITLES : 2])]
    describe = (lambda t: summary(t, 32, 8)) if name == "smollm2" else full
    write_golden(
        f"forward-{name}",
        {
            "model": base,
            "prompts": [{"promptSha256": digest(t), "promptIds": ids, **logits(model, ids)} for t, ids in prompts],
            "titles": [{"title": t, "ids": ids, **describe(embedding(model, ids))} for t, ids in titles],
        },
    )


main(*sys.argv[1:])
