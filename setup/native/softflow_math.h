// The arithmetic of softflow's native ops, without any TensorFlow header, so that it can be compiled for several
// instruction sets in one file. Which one runs is chosen when the addon is loaded.
#ifndef SOFTFLOW_MATH_H_
#define SOFTFLOW_MATH_H_

#include <cstdint>

namespace softflow {

// One run of tokens that attend to the shared prefix and to themselves: [rest of prompt | y | y-hat].
struct Part {
  int64_t start;      // row of its first token
  int64_t rest;       // tokens of the prompt after the prefix
  int64_t target;     // tokens of y
  int64_t distilled;  // tokens of y-hat
  int64_t prefix;     // rows of the prefix that it sees; 0 for the prefix itself
  int64_t rows() const { return rest + target + distilled; }
  int64_t keys() const { return prefix + rows(); }
};

struct Heads {
  int64_t heads;
  int64_t kv_heads;
  int64_t size;  // of one head; a multiple of 16
  int64_t groups() const { return heads / kv_heads; }
  int64_t query_width() const { return heads * size; }
  int64_t kv_width() const { return kv_heads * size; }
};

// One prompt's beams in a decode step.
struct DecodePart {
  int64_t row;           // first row of q; `beams` rows follow
  int64_t beams;
  int64_t prompt_start;  // row of the prompt's own first token among the prompt keys
  int64_t prompt_rest;   // tokens after the prefix
};

struct DecodeInput {
  const float* q;           // [rows, heads * size]
  const float* prompt_k;    // [prompt tokens, kv_heads * size]
  const float* prompt_v;
  const float* cache_k;     // [steps, slots, kv_heads * size]
  const float* cache_v;
  const int32_t* ancestors; // [rows, steps]: slot of each row's token at each step
  int64_t prefix;
  int64_t steps;            // steps in the cache, this one included
  int64_t slots;
};

// Dropout of a pass: each row draws from its key and its token's place.
struct Dropped {
  const int32_t* keys;    // [rows]
  const int32_t* tokens;  // [rows]
  uint32_t threshold;     // elements whose hash is less are dropped
  float kept;             // factor of the others
};

// Everything that is compiled once for each instruction set. Pointers are float32, row-major.
struct Math {
  const char* name;
  // y = x * r * w, r = 1 / sqrt(mean(x^2) + eps); with `delta`, x + delta is written to `sum` and normed.
  void (*rms_norm)(int64_t from, int64_t to, int64_t width, const float* x, const float* delta, const float* w,
                   float eps, float* sum, float* y, float* r);
  // dx = residual + r * (w * dy) - x * r^3 * mean(w * dy * x), dy being the sum of `count` tensors.
  void (*rms_norm_grad)(int64_t from, int64_t to, int64_t width, const float* const* dys, int64_t count,
                        const float* x, const float* w, const float* r, const float* residual, float* dx);
  void (*rope)(int64_t from, int64_t to, int64_t heads, int64_t half, const float* x, const float* cos,
               const float* sin, float sign, float* y);
  void (*swiglu)(int64_t from, int64_t to, const float* g, const float* u, float* a);
  void (*swiglu_grad)(int64_t from, int64_t to, const float* da, const float* g, const float* u, float* dg, float* du);
  void (*attention)(const Heads& heads, const Part& part, int64_t kv_head, const float* q, const float* k,
                    const float* v, float* o, float* lse);
  // Writes dq and the part's own dk and dv; the prefix's share goes to prefix_dk and prefix_dv, [prefix, size].
  void (*attention_grad)(const Heads& heads, const Part& part, int64_t kv_head, const float* d_o, const float* q,
                         const float* k, const float* v, const float* o, const float* lse, float* dq, float* dk,
                         float* dv, float* prefix_dk, float* prefix_dv);
  void (*decode)(const Heads& heads, const DecodePart& part, int64_t kv_head, const DecodeInput& input, float* o);
  // The `count` best of one row of logits, best first, as log-probabilities over the whole row.
  void (*best_tokens)(int64_t width, int64_t count, const float* row, float* values, int32_t* ids);
  // loss[t] = log sum exp(logits[t]) - logits[t, ids[t]]; grad = softmax(logits) - onehot(ids).
  void (*cross_entropy)(int64_t from, int64_t to, int64_t width, const float* logits, const int32_t* ids, float* loss,
                        float* grad);
  // sum = y + scale (d a^T) b^T, down = d a^T; a [rank, width], b_t [rank, out]; d = x where nothing is dropped.
  void (*low_rank)(int64_t from, int64_t to, int64_t width, int64_t out, int64_t rank, const float* y, const float* x,
                   const float* a, const float* b_t, float scale, const Dropped* dropped, float* sum, float* down);
  // Rows of dx, and their share of da [rank, width] and db_t [rank, out].
  void (*low_rank_grad)(int64_t from, int64_t to, int64_t width, int64_t out, int64_t rank, const float* dy,
                        const float* x, const float* down, const float* a, const float* b_t, float scale,
                        const Dropped* dropped, float* dx, float* da, float* db_t);
};

// The best set of instructions that this processor has.
const Math& math();

}  // namespace softflow

#endif  // SOFTFLOW_MATH_H_
