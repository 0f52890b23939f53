"""Token ids: own titles in full, MovieLens prompts and titles as hashes only (the data may not be passed on).

python golden_tokens.py GGUF_FOLDER ML_FOLDER
"""

import sys

from common import GGUF_NAME, digest, ids_digest, load_tokenizer, prompt_ids, synthetic_prompts, titles, write_golden
from movielens import by_bytes, item_titles, user_prompts
from transformers import AutoTokenizer

COUNT = 300


def entry(tokenizers, text):
    ids = {name: prompt_ids(tokenizer, text) for name, tokenizer in tokenizers.items()}
    if ids["smollm2"] == ids["smollm2WithoutDigitSplit"]:
        del ids["smollm2WithoutDigitSplit"]
    return ids


def hashed(tokenizers, text):
    ids = entry({k: t for k, t in tokenizers.items() if k != "tiny"}, text)
    assert "smollm2WithoutDigitSplit" not in ids, "real texts tokenise the same either way"
    return {"textSha256": digest(text), "tokens": len(ids["smollm2"]), "idsSha256": ids_digest(ids["smollm2"])}


def main(gguf_folder, ml_folder):
    tokenizers = {
        "smollm2": load_tokenizer("smollm2", gguf_folder),
        "smollm2WithoutDigitSplit": AutoTokenizer.from_pretrained(gguf_folder, gguf_file=GGUF_NAME),
        "tiny": load_tokenizer("tiny"),
    }
    texts = titles() + synthetic_prompts(8)
    write_golden("tokens-synthetic", {"texts": [{"text": t, **entry(tokenizers, t)} for t in texts]})
    real = item_titles(ml_folder)
    ids = by_bytes(real)
    every = [i for raw in ids for i in prompt_ids(tokenizers["smollm2"], real[raw])]
    write_golden(
        "tokens-movielens",
        {
            "prompts": [{"user": u, **hashed(tokenizers, t)} for u, t in user_prompts(ml_folder)[:COUNT]],
            "titles": [{"item": raw, **hashed(tokenizers, real[raw])} for raw in ids[:COUNT]],
            "allTitles": {"items": len(ids), "tokens": len(every), "idsSha256": ids_digest(every)},
        },
    )


main(*sys.argv[1:])
