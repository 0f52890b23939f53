"""SOFT loss and LoRA gradients, the same with injected dropout masks, and five optimiser steps with accumulation.

python golden_train.py tiny|tiny-llama3|tiny-untied|smollm2 [GGUF_FOLDER]
"""

import sys

import torch
from common import (
    LORA_ALPHA,
    LORA_RANK,
    add_lora,
    digest,
    full,
    load_model,
    load_tokenizer,
    lora_parameters,
    plain_titles,
    prompt,
    prompt_ids,
    response_ids,
    summary,
    write_golden,
)
from torch import nn

B_SCALE = 0.1
LEARNING_RATE, WARMUP_STEPS, CLIP_NORM, STEPS = 1e-2, 2, 1.0, 5
STEP_LAMBDAS = [1.0, 0.75, 0.5, 0.25, 0.0]
DROPOUT_SCALE = 1 / 0.95


def samples(tokenizer, count):
    pool, eos = plain_titles(), tokenizer.eos_token_id
    made = []
    for i in range(count):
        history = [pool[(i * 13 + j) % len(pool)] for j in range(2 + i % 3)]
        target, distilled = pool[(i * 13 + 7) % len(pool)], pool[(i * 13 + 8) % len(pool)]
        text = prompt(history)
        made.append(
            {
                "promptSha256": digest(text),
                "history": history,
                "target": target,
                "distilled": distilled,
                "promptIds": prompt_ids(tokenizer, text),
                "targetIds": response_ids(tokenizer, target, eos),
                "distilledIds": response_ids(tokenizer, distilled, eos),
            }
        )
    return made


class InjectedDropout(nn.Module):
    """Stands where PEFT's dropout stands; `tokens` are the packed positions of the sequence that runs next."""

    def __init__(self, layer, projection):
        super().__init__()
        self.layer, self.projection, self.tokens = layer, projection, None

    def forward(self, x):
        feature = torch.arange(x.shape[-1])
        place = self.tokens[:, None] * 131 + feature[None, :] * 31 + self.layer * 17 + self.projection * 7
        return x * (place % 20 != 0).to(x.dtype) * DROPOUT_SCALE


def inject_dropout(model):
    injected = []
    for layer, block in enumerate(model.get_base_model().model.layers):
        for projection, module in enumerate([block.self_attn.q_proj, block.self_attn.v_proj]):
            module.lora_dropout["default"] = InjectedDropout(layer, projection)
            injected.append(module.lora_dropout["default"])
    return injected


def packed_tokens(sample, response):
    """Positions in the packed order prompt, target, distilled; only the mask uses them, rotary positions are the usual ones."""
    start = len(sample["promptIds"])
    offset = start + (len(sample["targetIds"]) if response == "distilledIds" else 0)
    return torch.cat([torch.arange(start), offset + torch.arange(len(sample[response]))])


def response_loss(model, sample, response):
    """Summed token cross entropy of one response after the prompt."""
    prompt_part, tokens = sample["promptIds"], sample[response]
    logits = model(torch.tensor([prompt_part + tokens])).logits[0]
    predicting = logits[len(prompt_part) - 1 : -1]
    return nn.functional.cross_entropy(predicting, torch.tensor(tokens), reduction="sum")


def accumulate(model, batch, weight, micro_batch_size, injected=()):
    """Adds the gradient of the whole batch's SOFT loss, one micro-batch after another; returns its sums and counts."""
    parts = {"targetIds": 1 - weight, "distilledIds": weight}
    counts = {part: sum(len(s[part]) for s in batch) for part in parts}
    sums = dict.fromkeys(parts, 0.0)
    for start in range(0, len(batch), micro_batch_size):
        loss = torch.zeros(())
        for sample in batch[start : start + micro_batch_size]:
            for part, share in parts.items():
                for module in injected:
                    module.tokens = packed_tokens(sample, part)
                summed = response_loss(model, sample, part)
                sums[part] += float(summed.detach())
                loss = loss + share / counts[part] * summed
        loss.backward()
    return {
        "lambda": weight,
        "targetLossSum": sums["targetIds"],
        "targetTokens": counts["targetIds"],
        "distilledLossSum": sums["distilledIds"],
        "distilledTokens": counts["distilledIds"],
        "loss": sum(share * sums[p] / counts[p] for p, share in parts.items()),
    }


def gradients(model, describe):
    return {name: describe(p.grad) for name, p in lora_parameters(model)}


def loss_record(model, batch, describe, injected=()):
    model.zero_grad()
    return {**accumulate(model, batch, 0.5, len(batch), injected), "gradients": gradients(model, describe)}


def optimiser_steps(model, made, batch_size, micro_batch_size, describe):
    parameters = [p for _, p in lora_parameters(model)]
    optimiser = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    rows = []
    for step in range(STEPS):
        batch = [made[(step * batch_size + i) % len(made)] for i in range(batch_size)]
        rate = LEARNING_RATE * min(1, step / WARMUP_STEPS)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad(set_to_none=False)
        sums = accumulate(model, batch, STEP_LAMBDAS[step], micro_batch_size)
        norm = float(nn.utils.clip_grad_norm_(parameters, CLIP_NORM))
        optimiser.step()
        rows.append({"step": step, "learningRate": rate, "gradientNorm": norm, **sums})
        print(step, rate, norm, sums["loss"])
    return {
        "batchSize": batch_size,
        "microBatchSize": micro_batch_size,
        "learningRate": LEARNING_RATE,
        "warmupSteps": WARMUP_STEPS,
        "clipNorm": CLIP_NORM,
        "rows": rows,
        "weights": {name: describe(p) for name, p in lora_parameters(model)},
    }


def main(name, gguf_folder=None):
    small = name != "smollm2"
    tokenizer = load_tokenizer(name, gguf_folder)
    model = add_lora(load_model(name, gguf_folder), B_SCALE)
    made = samples(tokenizer, 20 if small else 8)
    describe = full if small else summary
    content = {
        "model": name,
        "lora": {"rank": LORA_RANK, "loraAlpha": LORA_ALPHA, "bScale": B_SCALE},
        "samples": made,
        "loss": loss_record(model, made[:4], describe),
    }
    if name == "tiny":
        injected = inject_dropout(model.train())
        content["dropout"] = loss_record(model, made[:4], describe, injected)
        model = add_lora(load_model(name), B_SCALE)
    if name != "tiny-llama3":
        content["steps"] = optimiser_steps(model, made, 8 if small else 4, 2, describe)
    if not small:
        # float32 itself lies up to 1.1e-4 beside this, for AdamW divides by the gradient's own size.
        exact = add_lora(load_model(name, gguf_folder), B_SCALE).double()
        content["steps"]["float64Weights"] = optimiser_steps(exact, made, 4, 2, describe)["weights"]
    write_golden(f"train-{name}", content)


main(*sys.argv[1:])
