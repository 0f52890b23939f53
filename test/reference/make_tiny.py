"""Makes the tiny random Llamas and their byte-level BPE tokenizer. The folders are committed; run again only to change them."""

import json

import torch
from common import HERE, prompt, titles
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY = 300
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
ROPE_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def tokenizer():
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([prompt(titles()[:10])], trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bpe.token_to_id("<s>"))]
    )
    return bpe


def config(hidden, layers, heads, kv_heads, ffn, tied):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 16,
        "intermediate_size": ffn,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "dtype": "float32",
    }


def weights(settings, seed):
    """Larger than a usual initialisation, so that logits differ clearly and beams have something to choose."""
    generator = torch.Generator().manual_seed(seed)
    d, ffn, head = settings["hidden_size"], settings["intermediate_size"], settings["head_dim"]
    q, kv = settings["num_attention_heads"] * head, settings["num_key_value_heads"] * head

    def linear(out, inputs):
        return torch.randn(out, inputs, generator=generator) * (1.5 / inputs**0.5)

    def scale():
        return 1 + 0.2 * torch.randn(d, generator=generator)

    embedding = torch.randn(VOCABULARY, d, generator=generator) * 0.25
    tensors = {"model.embed_tokens.weight": embedding}
    for layer in range(settings["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        tensors[f"{at}.input_layernorm.weight"] = scale()
        tensors[f"{at}.self_attn.q_proj.weight"] = linear(q, d)
        tensors[f"{at}.self_attn.k_proj.weight"] = linear(kv, d)
        tensors[f"{at}.self_attn.v_proj.weight"] = linear(kv, d)
        tensors[f"{at}.self_attn.o_proj.weight"] = linear(d, q)
        tensors[f"{at}.post_attention_layernorm.weight"] = scale()
        tensors[f"{at}.mlp.gate_proj.weight"] = linear(ffn, d)
        tensors[f"{at}.mlp.up_proj.weight"] = linear(ffn, d)
        tensors[f"{at}.mlp.down_proj.weight"] = linear(d, ffn)
    tensors["model.norm.weight"] = scale()
    if not settings["tie_word_embeddings"]:
        tensors["lm_head.weight"] = linear(VOCABULARY, d)
    head = tensors.get("lm_head.weight", embedding)
    head[settings["eos_token_id"]] *= 2  # a random model else hardly ever ends a beam
    return tensors


def write(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def save(folder, settings, seed):
    folder.mkdir(exist_ok=True)
    write(folder / "config.json", settings)
    save_file(weights(settings, seed), folder / "model.safetensors", metadata={"format": "pt"})
    write(folder / "tokenizer.json", json.loads(tokenizer().to_str()))
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "model_max_length": 2048,
        },
    )


tied = config(64, 2, 4, 2, 128, tied=True)
save(HERE / "tiny-llama", tied, seed=1)
write(HERE / "tiny-llama" / "config.llama3.json", {**tied, "rope_scaling": ROPE_LLAMA3})
newer = {k: v for k, v in tied.items() if k not in ("rope_theta", "rope_scaling")}
write(
    HERE / "tiny-llama" / "config.llama3.newer.json",
    {**newer, "rope_parameters": {"rope_theta": tied["rope_theta"], **ROPE_LLAMA3}},
)
save(HERE / "tiny-llama-untied", config(32, 1, 2, 1, 64, tied=False), seed=2)
