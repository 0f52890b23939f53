"""The peer of the benchmark: SOFT on PyTorch, transformers and PEFT by the recipe of the method's authors.

python peer.py WORK.json f32|bf16

Loads once, then answers one JSON request a line: prompt and response padded to the micro-batch's longest, the prompt run
twice per sample (with y and with y-hat), beam search by `generate` with its key-value cache, all cores.
"""

import json
import os
import resource
import sys
import time
import traceback
from functools import cached_property
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

BATCH = 8
CLIP_NORM = 1.0


def batches(rows, size=BATCH):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class Peer:
    def __init__(self, work, precision):
        self.work = work
        torch.set_num_threads(os.cpu_count())
        torch.manual_seed(work["config"]["seed"])
        self.device = torch.device(work["peerDevice"])
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        base = AutoModelForCausalLM.from_pretrained(**self.source(), dtype=torch.float32).to(self.device, dtype)
        base.generation_config = GenerationConfig()
        # The adapter in the model's own precision is the faster of the two ways that PEFT offers.
        self.model = PeftModel.from_pretrained(base, work["adapter"], is_trainable=True, autocast_adapter_dtype=False)
        self.model.to(self.device, dtype)
        self.end = work["endId"]
        adapter = {name: p for name, p in self.model.named_parameters() if "lora_" in name}
        self.lora = list(adapter.values())
        self.fresh = [torch.zeros_like(p) if "lora_B" in name else p.detach().clone() for name, p in adapter.items()]

    def source(self):
        """Where transformers finds model and tokenizer: a GGUF file or a folder."""
        if "folder" in self.work["model"]:
            return {"pretrained_model_name_or_path": self.work["model"]["folder"]}
        gguf = Path(self.work["model"]["gguf"])
        return {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}

    @cached_property
    def tokenizer(self):
        return AutoTokenizer.from_pretrained(**self.source())

    def padded(self, rows, fill, side):
        longest = max(map(len, rows))
        pads = [[fill] * (longest - len(row)) for row in rows]
        filled = [pad + row if side == "left" else row + pad for row, pad in zip(rows, pads)]
        return torch.tensor(filled, device=self.device)

    def now(self):
        """The clock, once the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def samples(self, first):
        train = self.work["train"]
        size = self.work["config"]["train"]["microBatchSize"]
        return [train[(first + i) % len(train)] for i in range(size)]

    def cross_entropy(self, samples, part):
        """Mean over the response tokens of a padded batch."""
        rows = [s["prompt"] + s[part] for s in samples]
        ids = self.padded(rows, self.end, "right")
        mask = self.padded([[1] * len(row) for row in rows], 0, "right")
        labels = self.padded([[-100] * len(s["prompt"]) + s[part] for s in samples], -100, "right")
        return self.model(input_ids=ids, attention_mask=mask, labels=labels).loss

    def backward(self, samples, weight):
        """(1 - weight) CE(x, y) + weight CE(x, y-hat), forward and backward."""
        loss = (1 - weight) * self.cross_entropy(samples, "target") if weight < 1 else 0
        loss = loss + weight * self.cross_entropy(samples, "distilled") if weight > 0 else loss
        loss.backward()
        return loss.detach()

    def step(self, first, training):
        self.model.train(training)
        self.model.zero_grad()
        began = self.now()
        loss = self.backward(self.samples(first), self.work["lambda"])
        seconds = self.now() - began
        norm = torch.sqrt(sum(p.grad.double().square().sum() for p in self.lora))
        return {"seconds": seconds, "loss": float(loss), "gradientNorm": float(norm)}

    def loss(self, request):
        return self.step(request["first"], training=False)

    def train_step(self, request):
        made = [self.step(request["first"], training=True) for _ in range(request["steps"])]
        return {**made[0], "seconds": sum(step["seconds"] for step in made) / len(made)}

    def beams(self, prompts):
        """First beam of each prompt: new tokens up to and with the end token, and its score."""
        settings = self.work["config"]["generation"]
        options = GenerationConfig(
            num_beams=settings["beamWidth"],
            num_return_sequences=settings["beamWidth"],
            max_new_tokens=settings["maxNewTokens"],
            do_sample=False,
            length_penalty=1.0,
            early_stopping=False,
            use_cache=True,
            eos_token_id=self.end,
            pad_token_id=self.end,
            return_dict_in_generate=True,
            output_scores=True,
        )
        ids = self.padded(prompts, self.end, "left")
        mask = self.padded([[1] * len(prompt) for prompt in prompts], 0, "left")
        with torch.no_grad():
            made = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=options)
        width = settings["beamWidth"]
        rows = [self.until_end(row) for row in made.sequences[::width, ids.shape[1] :].tolist()]
        return [{"ids": row, "score": score} for row, score in zip(rows, made.sequences_scores[::width].tolist())]

    def until_end(self, row):
        return row[: row.index(self.end) + 1] if self.end in row else row

    def generate(self, request):
        self.model.eval()
        prompts = [sample["prompt"] for sample in self.work["test"][: request["prompts"]]]
        began = self.now()
        beams = [beam for batch in batches(prompts) for beam in self.beams(batch)]
        return {"seconds": self.now() - began, "beams": beams}

    def embed(self, rows):
        """Hidden state of the base model after the final norm at each row's last token, in padded batches."""
        decoder = self.model.get_base_model().model
        made = []
        with torch.no_grad(), self.model.disable_adapter():
            for batch in batches(rows):
                ids = self.padded(batch, self.end, "right")
                mask = self.padded([[1] * len(row) for row in batch], 0, "right")
                hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
                made.append(hidden[torch.arange(len(batch), device=self.device), mask.sum(1) - 1].float())
        return torch.cat(made)

    def encode(self, _):
        self.model.eval()
        began = self.now()
        vectors = self.embed(self.work["titles"])
        return {"seconds": self.now() - began, "norm": float(vectors.norm(dim=1).mean())}

    def epoch(self, samples, weight):
        """One epoch of AdamW from a fresh adapter."""
        train = self.work["config"]["train"]
        with torch.no_grad():
            for parameter, value in zip(self.lora, self.fresh):
                parameter.copy_(value)
        optimiser = torch.optim.AdamW(self.lora, lr=train["learningRate"], weight_decay=train["weightDecay"])
        self.model.train()
        for step, batch in enumerate(batches(samples, train["batchSize"])):
            optimiser.param_groups[0]["lr"] = train["learningRate"] * min(1, step / train["warmupSteps"])
            optimiser.zero_grad()
            for micro_batch in batches(batch, train["microBatchSize"]):
                self.backward(micro_batch, weight)
            torch.nn.utils.clip_grad_norm_(self.lora, CLIP_NORM)
            optimiser.step()
        self.model.eval()

    def answers(self, samples):
        prompts = [sample["prompt"] for sample in samples]
        return [beam["ids"] for batch in batches(prompts) for beam in self.beams(batch)]

    def grounded(self, samples, titles):
        """Distance of each generated title to every title."""
        texts = [self.tokenizer.decode(ids, skip_special_tokens=True).strip().strip('"') for ids in self.answers(samples)]
        rows = [self.tokenizer(text)["input_ids"] or [self.end] for text in texts]
        return torch.cdist(self.embed(rows), titles)

    def distilled(self, samples):
        ended = [ids if ids[-1] == self.end else [*ids, self.end] for ids in self.answers(samples)]
        return [{**sample, "distilled": ids} for sample, ids in zip(samples, ended)]

    def pipeline(self, _):
        _ = self.tokenizer  # loaded before the clock starts
        train, test = self.work["train"], self.work["test"]
        titles = self.embed(self.work["titles"])
        parts = {}

        def timed(name, work):
            began = self.now()
            made = work()
            parts[name] = self.now() - began
            return made

        timed("sft", lambda: self.epoch(train, 0))
        mixed = timed("selfDistill", lambda: self.distilled(train))
        with self.model.disable_adapter():
            timed("distance", lambda: self.grounded(train, titles).mean())
        timed("curriculum", lambda: self.epoch(mixed, self.work["lambda"]))
        timed("test", lambda: self.grounded(test, titles).argsort(dim=1))
        return {"seconds": sum(parts.values()), "parts": parts}


def main(work_file, precision):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer

    def say(answer):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**answer, "peakRssBytes": peak}), file=answers, flush=True)

    peer = Peer(json.loads(Path(work_file).read_text("utf-8")), precision)
    known = {
        "loss": peer.loss,
        "trainStep": peer.train_step,
        "generate": peer.generate,
        "encode": peer.encode,
        "pipeline": peer.pipeline,
    }
    say({"seconds": 0})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(known[request["do"]](request))
        except Exception:
            say({"error": traceback.format_exc()})


main(*sys.argv[1:])
