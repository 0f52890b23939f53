import { type TinyModelOptions, tinyModel } from '../../model/tiny-model.ts';
import { type DraftEntry, encodeGguf, entries, float32Tensor, type GgufDraft } from './gguf-writer.ts';

const NAMES: Record<string, string> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
};

/** The tiny model as a draft of a GGUF file, in the layout that llama.cpp's converter writes. */
export function tinyGgufDraft(options: TinyModelOptions = {}): GgufDraft {
  const { config, tokenizer, weights } = tinyModel(options);
  const { vocab } = tokenizer.model;
  const tokens = Object.keys(vocab).sort((a, b) => Number(vocab[a]) - Number(vocab[b]));
  const metadata: DraftEntry[] = entries({
    'general.architecture': 'llama',
    'llama.block_count': config.layers,
    'llama.context_length': config.maxPosition,
    'llama.embedding_length': config.hiddenSize,
    'llama.feed_forward_length': config.ffnSize,
    'llama.attention.head_count': config.heads,
    'llama.attention.head_count_kv': config.kvHeads,
    'llama.attention.layer_norm_rms_epsilon': config.normEps,
    'llama.rope.freq_base': config.ropeTheta,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((_, id) => (id === 0 ? 3 : 1)),
    'tokenizer.ggml.merges': tokenizer.model.merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' '))),
    'tokenizer.ggml.eos_token_id': 0,
  });
  const tensors = [...weights].map(([name, { shape, data }]) => {
    const heads = name.includes('q_proj') ? config.heads : name.includes('k_proj') ? config.kvHeads : 0;
    const values = heads > 0 ? pairsFromHalves(data, heads, config.headSize) : data;
    return float32Tensor(ggufName(name), shape, values);
  });
  return { metadata, tensors };
}

export function tinyGguf(options: TinyModelOptions = {}): Uint8Array {
  return encodeGguf(tinyGgufDraft(options));
}

function ggufName(name: string): string {
  if (name === 'model.embed_tokens.weight') return 'token_embd.weight';
  if (name === 'model.norm.weight') return 'output_norm.weight';
  const [, layer, module = '', kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  return `blk.${layer}.${NAMES[module]}.${kind}`;
}

/** numpy's reshape(heads, 2, D / 2, width).swapaxes(1, 2), as llama.cpp's converter does to q and k. */
function pairsFromHalves(data: Float32Array, heads: number, headSize: number): Float32Array {
  const width = data.length / (heads * headSize);
  const rows: Float32Array[] = [];
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headSize / 2; i++) {
      for (const half of [0, 1]) {
        const row = head * headSize + half * (headSize / 2) + i;
        rows.push(data.subarray(row * width, (row + 1) * width));
      }
    }
  }
  return Float32Array.from(rows.flatMap((row) => [...row]));
}
