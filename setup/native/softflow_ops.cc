// softflow's fused pieces of a decoder layer as TensorFlow ops on the CPU. They are called by name through the addon of
// tfjs (model/fused-kernels.ts), which also has the same in plain ops. The work is cut into pieces that do not depend
// on the number of threads, and every number is made by one piece, so threads cannot change a bit.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "softflow_math.h"
#include "softflow_op.h"

namespace softflow {
namespace {

using tensorflow::DT_FLOAT;

Heads ReadHeads(OpKernelConstruction* context) {
  int heads = 0, kv_heads = 0, size = 0;
  if (!context->GetAttr("heads", &heads).ok() || !context->GetAttr("kv_heads", &kv_heads).ok() ||
      !context->GetAttr("head_size", &size).ok() || kv_heads <= 0 || heads % kv_heads != 0 || size <= 0 ||
      size % 16 != 0)
    context->CtxFailure(InvalidArgument("heads ", heads, ", kv_heads ", kv_heads, ", head_size ", size,
                                        ": expected whole groups and a head size that is a multiple of 16"));
  return {heads, kv_heads, size};
}

class RmsNormOp : public OpKernel {
 public:
  explicit RmsNormOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("eps", &eps_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    const Tensor& w = context->input(1);
    OP_REQUIRES(context, x.dims() == 2 && w.NumElements() == x.dim_size(1), InvalidArgument("x [t, d], w [d]"));
    const int64_t rows = x.dim_size(0), width = x.dim_size(1);
    Tensor *y = nullptr, *r = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({rows, 1}), &r));
    Parallel(context, rows, width * 4, [&](int64_t from, int64_t to) {
      math().rms_norm(from, to, width, Floats(x), nullptr, Floats(w), eps_, nullptr, Floats(y), Floats(r));
    });
  }

 private:
  float eps_;
};

class AddRmsNormOp : public OpKernel {
 public:
  explicit AddRmsNormOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("eps", &eps_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    const Tensor& delta = context->input(1);
    const Tensor& w = context->input(2);
    OP_REQUIRES(context, x.dims() == 2 && x.shape() == delta.shape() && w.NumElements() == x.dim_size(1),
                InvalidArgument("x [t, d], delta [t, d], w [d]"));
    const int64_t rows = x.dim_size(0), width = x.dim_size(1);
    Tensor *sum = nullptr, *y = nullptr, *r = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &sum));
    OP_REQUIRES_OK(context, context->allocate_output(1, x.shape(), &y));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({rows, 1}), &r));
    Parallel(context, rows, width * 5, [&](int64_t from, int64_t to) {
      math().rms_norm(from, to, width, Floats(x), Floats(delta), Floats(w), eps_, Floats(sum), Floats(y), Floats(r));
    });
  }

 private:
  float eps_;
};

class RmsNormGradOp : public OpKernel {
 public:
  explicit RmsNormGradOp(OpKernelConstruction* context) : OpKernel(context) {}
  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    const Tensor& w = context->input(1);
    const Tensor& r = context->input(2);
    const Tensor& residual = context->input(3);
    const bool has_residual = residual.NumElements() > 0;
    OP_REQUIRES(context,
                x.dims() == 2 && w.NumElements() == x.dim_size(1) && r.NumElements() == x.dim_size(0) &&
                    (!has_residual || residual.shape() == x.shape()),
                InvalidArgument("x [t, d], w [d], r [t, 1], residual [t, d] or empty"));
    std::vector<const float*> dys;
    for (int i = 4; i < context->num_inputs(); i++) {
      OP_REQUIRES(context, context->input(i).shape() == x.shape(), InvalidArgument("dys like x"));
      dys.push_back(Floats(context->input(i)));
    }
    const int64_t rows = x.dim_size(0), width = x.dim_size(1);
    Tensor* dx = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    Parallel(context, rows, width * 8, [&](int64_t from, int64_t to) {
      math().rms_norm_grad(from, to, width, dys.data(), dys.size(), Floats(x), Floats(w), Floats(r),
                           has_residual ? Floats(residual) : nullptr, Floats(dx));
    });
  }
};

class RopeOp : public OpKernel {
 public:
  explicit RopeOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("heads", &heads_));
    OP_REQUIRES_OK(context, context->GetAttr("sign", &sign_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    const Tensor& cos = context->input(1);
    const Tensor& sin = context->input(2);
    const int64_t rows = x.dim_size(0), half = cos.dim_size(1);
    OP_REQUIRES(context,
                x.dims() == 2 && cos.shape() == sin.shape() && cos.dim_size(0) == rows &&
                    x.dim_size(1) == heads_ * 2 * half,
                InvalidArgument("x [t, heads * 2 * half], cos and sin [t, half]"));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    Parallel(context, rows, x.dim_size(1) * 2, [&](int64_t from, int64_t to) {
      math().rope(from, to, heads_, half, Floats(x), Floats(cos), Floats(sin), sign_, Floats(y));
    });
  }

 private:
  int heads_;
  float sign_;
};

class SwiGluOp : public OpKernel {
 public:
  explicit SwiGluOp(OpKernelConstruction* context) : OpKernel(context) {}
  void Compute(OpKernelContext* context) override {
    const Tensor& g = context->input(0);
    const Tensor& u = context->input(1);
    OP_REQUIRES(context, g.dims() == 2 && g.shape() == u.shape(), InvalidArgument("g and u of one shape"));
    Tensor* a = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, g.shape(), &a));
    const int64_t width = g.dim_size(1);
    Parallel(context, g.dim_size(0), width * 10, [&](int64_t from, int64_t to) {
      math().swiglu(from * width, to * width, Floats(g), Floats(u), Floats(a));
    });
  }
};

class SwiGluGradOp : public OpKernel {
 public:
  explicit SwiGluGradOp(OpKernelConstruction* context) : OpKernel(context) {}
  void Compute(OpKernelContext* context) override {
    const Tensor& da = context->input(0);
    const Tensor& g = context->input(1);
    const Tensor& u = context->input(2);
    OP_REQUIRES(context, g.dims() == 2 && g.shape() == u.shape() && da.shape() == g.shape(),
                InvalidArgument("da, g and u of one shape"));
    Tensor *dg = nullptr, *du = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, g.shape(), &dg));
    OP_REQUIRES_OK(context, context->allocate_output(1, g.shape(), &du));
    const int64_t width = g.dim_size(1);
    Parallel(context, g.dim_size(0), width * 14, [&](int64_t from, int64_t to) {
      math().swiglu_grad(from * width, to * width, Floats(da), Floats(g), Floats(u), Floats(dg), Floats(du));
    });
  }
};

// `parts` is int32 [n, 5]: start, rest, target, distilled, prefix.
std::vector<Part> ReadParts(OpKernelContext* context, const Tensor& parts, int64_t rows) {
  std::vector<Part> read;
  if (parts.dims() != 2 || parts.dim_size(1) != 5) {
    context->CtxFailure(InvalidArgument("parts [n, 5]"));
    return read;
  }
  const int32_t* p = parts.flat<int32_t>().data();
  for (int64_t i = 0; i < parts.dim_size(0); i++, p += 5) {
    const Part part{p[0], p[1], p[2], p[3], p[4]};
    const bool fits = part.start >= 0 && part.rest > 0 && part.target >= 0 && part.distilled >= 0 && part.prefix >= 0 &&
                      part.start + part.rows() <= rows && part.prefix <= rows;
    if (!fits) context->CtxFailure(InvalidArgument("part ", i, " lies outside of the ", rows, " rows"));
    read.push_back(part);
  }
  return read;
}

class AttentionOp : public OpKernel {
 public:
  explicit AttentionOp(OpKernelConstruction* context) : OpKernel(context), heads_(ReadHeads(context)) {}
  void Compute(OpKernelContext* context) override {
    const Tensor& q = context->input(0);
    const Tensor& k = context->input(1);
    const Tensor& v = context->input(2);
    const int64_t rows = q.dim_size(0);
    OP_REQUIRES(context,
                q.dims() == 2 && q.dim_size(1) == heads_.query_width() && k.shape() == v.shape() &&
                    k.dim_size(0) == rows && k.dim_size(1) == heads_.kv_width(),
                InvalidArgument("q [t, h * s], k and v [t, kv * s]"));
    const std::vector<Part> parts = ReadParts(context, context->input(3), rows);
    if (!context->status().ok()) return;
    Tensor *o = nullptr, *lse = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, q.shape(), &o));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({rows, heads_.heads}), &lse));
    ParallelEach(context, parts.size() * heads_.kv_heads, [&](int64_t i) {
      math().attention(heads_, parts[i / heads_.kv_heads], i % heads_.kv_heads, Floats(q), Floats(k), Floats(v),
                       Floats(o), Floats(lse));
    });
  }

 private:
  Heads heads_;
};

class AttentionGradOp : public OpKernel {
 public:
  explicit AttentionGradOp(OpKernelConstruction* context) : OpKernel(context), heads_(ReadHeads(context)) {}
  void Compute(OpKernelContext* context) override {
    const Tensor &d_o = context->input(0), &q = context->input(1), &k = context->input(2), &v = context->input(3),
                 &o = context->input(4), &lse = context->input(5);
    const int64_t rows = q.dim_size(0);
    OP_REQUIRES(context,
                q.dims() == 2 && q.dim_size(1) == heads_.query_width() && k.shape() == v.shape() &&
                    k.dim_size(0) == rows && k.dim_size(1) == heads_.kv_width() && d_o.shape() == q.shape() &&
                    o.shape() == q.shape() && lse.NumElements() == rows * heads_.heads,
                InvalidArgument("d_o, q and o [t, h * s], k and v [t, kv * s], lse [t, h]"));
    const std::vector<Part> parts = ReadParts(context, context->input(6), rows);
    if (!context->status().ok()) return;
    int64_t prefix = 0;
    for (const Part& part : parts) prefix = std::max(prefix, part.prefix);
    Tensor *dq = nullptr, *dk = nullptr, *dv = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, q.shape(), &dq));
    OP_REQUIRES_OK(context, context->allocate_output(1, k.shape(), &dk));
    OP_REQUIRES_OK(context, context->allocate_output(2, v.shape(), &dv));
    // Each part's share of the prefix's gradient, [part][kv head][prefix, size], summed in order afterwards.
    const int64_t share = prefix * heads_.size, shares = parts.size() * heads_.kv_heads;
    Tensor prefix_dk, prefix_dv;
    const TensorShape shape({shares, share});
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, shape, &prefix_dk));
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, shape, &prefix_dv));
    float *shares_k = Floats(&prefix_dk), *shares_v = Floats(&prefix_dv);
    ParallelEach(context, shares, [&](int64_t i) {
      math().attention_grad(heads_, parts[i / heads_.kv_heads], i % heads_.kv_heads, Floats(d_o), Floats(q), Floats(k),
                            Floats(v), Floats(o), Floats(lse), Floats(dq), Floats(dk), Floats(dv), shares_k + i * share,
                            shares_v + i * share);
    });
    for (size_t p = 0; p < parts.size(); p++)
      if (parts[p].prefix > 0)
        for (int64_t head = 0; head < heads_.kv_heads; head++) {
          const int64_t at = (p * heads_.kv_heads + head) * share;
          AddShare(parts[p].prefix, head, shares_k + at, Floats(dk));
          AddShare(parts[p].prefix, head, shares_v + at, Floats(dv));
        }
  }

 private:
  void AddShare(int64_t prefix, int64_t head, const float* share, float* sum) const {
    for (int64_t j = 0; j < prefix; j++)
      for (int64_t i = 0; i < heads_.size; i++)
        sum[j * heads_.kv_width() + head * heads_.size + i] += share[j * heads_.size + i];
  }
  Heads heads_;
};

// `parts` is int32 [n, 4]: row, beams, prompt start, prompt rest. The new keys and values are written into the caches,
// which the caller owns alone: a copy of the whole cache at every step would cost more than the step.
class DecodeAttentionOp : public OpKernel {
 public:
  explicit DecodeAttentionOp(OpKernelConstruction* context) : OpKernel(context), heads_(ReadHeads(context)) {
    OP_REQUIRES_OK(context, context->GetAttr("prefix", &prefix_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor &q = context->input(0), &k = context->input(1), &v = context->input(2), &prompt_k = context->input(3),
                 &prompt_v = context->input(4), &cache_k = context->input(5), &cache_v = context->input(6),
                 &parts = context->input(7), &ancestors = context->input(8);
    const int64_t rows = q.dim_size(0), kv = heads_.kv_width();
    OP_REQUIRES(context,
                q.dims() == 2 && q.dim_size(1) == heads_.query_width() && k.dims() == 2 && k.dim_size(0) == rows &&
                    k.dim_size(1) == kv && v.shape() == k.shape() && prompt_k.dims() == 2 &&
                    prompt_k.dim_size(1) == kv && prompt_v.shape() == prompt_k.shape() && cache_k.dims() == 3 &&
                    cache_k.dim_size(2) == kv && cache_v.shape() == cache_k.shape() && ancestors.dims() == 2 &&
                    ancestors.dim_size(0) == rows && parts.dims() == 2 && parts.dim_size(1) == 4,
                InvalidArgument("shapes of a decode step do not fit"));
    const int64_t steps = ancestors.dim_size(1), slots = cache_k.dim_size(1);
    OP_REQUIRES(context, steps > 0 && steps <= cache_k.dim_size(0), InvalidArgument("more steps than the cache holds"));
    const int32_t* path = ancestors.flat<int32_t>().data();
    for (int64_t i = 0; i < rows * steps; i++)
      OP_REQUIRES(context, path[i] >= 0 && path[i] < slots, InvalidArgument("ancestor outside of the cache"));
    const int32_t* p = parts.flat<int32_t>().data();
    std::vector<DecodePart> read;
    for (int64_t i = 0; i < parts.dim_size(0); i++, p += 4) {
      read.push_back({p[0], p[1], p[2], p[3]});
      OP_REQUIRES(context,
                  p[0] >= 0 && p[1] > 0 && p[0] + p[1] <= rows && p[2] >= 0 && p[3] >= 0 &&
                      p[2] + p[3] <= prompt_k.dim_size(0) && prefix_ <= prompt_k.dim_size(0),
                  InvalidArgument("decode part ", i, " lies outside of its tensors"));
    }
    Write(k, path, steps, slots, cache_k);
    Write(v, path, steps, slots, cache_v);
    Tensor* o = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, q.shape(), &o));
    const DecodeInput input{Floats(q),       Floats(prompt_k), Floats(prompt_v), Floats(cache_k),
                            Floats(cache_v), path,             prefix_,          steps,
                            slots};
    ParallelEach(context, read.size() * heads_.kv_heads, [&](int64_t i) {
      math().decode(heads_, read[i / heads_.kv_heads], i % heads_.kv_heads, input, Floats(o));
    });
  }

 private:
  static void Write(const Tensor& added, const int32_t* path, int64_t steps, int64_t slots, const Tensor& cache) {
    const int64_t width = added.dim_size(1);
    float* last = const_cast<float*>(Floats(cache)) + (steps - 1) * slots * width;
    for (int64_t row = 0; row < added.dim_size(0); row++)
      memcpy(last + path[row * steps + steps - 1] * width, Floats(added) + row * width, width * sizeof(float));
  }
  Heads heads_;
  int prefix_;
};

class BestTokensOp : public OpKernel {
 public:
  explicit BestTokensOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("count", &count_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor& logits = context->input(0);
    OP_REQUIRES(context, logits.dims() == 2 && count_ > 0 && count_ <= logits.dim_size(1),
                InvalidArgument("logits [t, v] and a count of at most v"));
    const int64_t rows = logits.dim_size(0), width = logits.dim_size(1);
    Tensor *values = nullptr, *ids = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows, count_}), &values));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({rows, count_}), &ids));
    Parallel(context, rows, width * 4, [&](int64_t from, int64_t to) {
      for (int64_t row = from; row < to; row++)
        math().best_tokens(width, count_, Floats(logits) + row * width, Floats(values) + row * count_,
                           ids->flat<int32_t>().data() + row * count_);
    });
  }

 private:
  int count_;
};

class CrossEntropyOp : public OpKernel {
 public:
  explicit CrossEntropyOp(OpKernelConstruction* context) : OpKernel(context) {}
  void Compute(OpKernelContext* context) override {
    const Tensor &logits = context->input(0), &ids = context->input(1);
    OP_REQUIRES(context, logits.dims() == 2 && ids.NumElements() == logits.dim_size(0),
                InvalidArgument("logits [t, v], ids [t]"));
    const int64_t rows = logits.dim_size(0), width = logits.dim_size(1);
    const int32_t* id = ids.flat<int32_t>().data();
    for (int64_t i = 0; i < rows; i++)
      OP_REQUIRES(context, id[i] >= 0 && id[i] < width, InvalidArgument("id ", id[i], " of ", width));
    Tensor *loss = nullptr, *d_logits = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows}), &loss));
    OP_REQUIRES_OK(context, context->allocate_output(1, logits.shape(), &d_logits));
    Parallel(context, rows, width * 4, [&](int64_t from, int64_t to) {
      math().cross_entropy(from, to, width, Floats(logits), id, Floats(loss), Floats(d_logits));
    });
  }
};

// [rows, width] to [width, rows].
void Transpose(int64_t rows, int64_t width, const float* x, float* y) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < width; j++) y[j * rows + i] = x[i * width + j];
}

// Dropout before an adapter: none where `keys` and `tokens` are empty.
class DropoutReader {
 public:
  explicit DropoutReader(OpKernelConstruction* context) {
    std::string rate;
    OP_REQUIRES_OK(context, context->GetAttr("rate", &rate));
    // It comes as a decimal text, since an attribute of type float would round it before this division.
    const double share = std::strtod(rate.c_str(), nullptr);
    threshold_ = static_cast<uint32_t>(share * 4294967296.0);
    kept_ = static_cast<float>(1.0 / (1.0 - share));
  }
  bool Fits(const Tensor& keys, const Tensor& tokens, int64_t rows) const {
    return keys.NumElements() == tokens.NumElements() && (keys.NumElements() == 0 || keys.NumElements() == rows);
  }
  Dropped Read(const Tensor& keys, const Tensor& tokens) const {
    return {keys.flat<int32_t>().data(), tokens.flat<int32_t>().data(), threshold_, kept_};
  }

 private:
  uint32_t threshold_ = 0;
  float kept_ = 1;
};

class LowRankOp : public OpKernel {
 public:
  explicit LowRankOp(OpKernelConstruction* context) : OpKernel(context), dropout_(context) {
    OP_REQUIRES_OK(context, context->GetAttr("scale", &scale_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor &y = context->input(0), &x = context->input(1), &a = context->input(2), &b = context->input(3),
                 &keys = context->input(4), &tokens = context->input(5);
    OP_REQUIRES(context,
                y.dims() == 2 && x.dims() == 2 && a.dims() == 2 && b.dims() == 2 && y.dim_size(0) == x.dim_size(0) &&
                    a.dim_size(1) == x.dim_size(1) && b.dim_size(0) == y.dim_size(1) &&
                    b.dim_size(1) == a.dim_size(0) && dropout_.Fits(keys, tokens, x.dim_size(0)),
                InvalidArgument("y [t, out], x [t, in], a [r, in], b [out, r], keys and tokens [t] or empty"));
    const int64_t rows = x.dim_size(0), width = x.dim_size(1), out = y.dim_size(1), rank = a.dim_size(0);
    Tensor *sum = nullptr, *down = nullptr;
    Tensor b_t;
    OP_REQUIRES_OK(context, context->allocate_output(0, y.shape(), &sum));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({rows, rank}), &down));
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, TensorShape({rank, out}), &b_t));
    Transpose(out, rank, Floats(b), Floats(&b_t));
    const Dropped dropped = dropout_.Read(keys, tokens);
    Parallel(context, rows, rank * (width + out), [&](int64_t from, int64_t to) {
      math().low_rank(from, to, width, out, rank, Floats(y), Floats(x), Floats(a), Floats(&b_t), scale_,
                      keys.NumElements() > 0 ? &dropped : nullptr, Floats(sum), Floats(down));
    });
  }

 private:
  DropoutReader dropout_;
  float scale_;
};

class LowRankGradOp : public OpKernel {
 public:
  explicit LowRankGradOp(OpKernelConstruction* context) : OpKernel(context), dropout_(context) {
    OP_REQUIRES_OK(context, context->GetAttr("scale", &scale_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &x = context->input(1), &down = context->input(2), &a = context->input(3),
                 &b = context->input(4), &keys = context->input(5), &tokens = context->input(6);
    OP_REQUIRES(context,
                dy.dims() == 2 && x.dims() == 2 && down.dims() == 2 && a.dims() == 2 && b.dims() == 2 &&
                    dy.dim_size(0) == x.dim_size(0) && down.dim_size(0) == x.dim_size(0) &&
                    a.dim_size(1) == x.dim_size(1) && b.dim_size(0) == dy.dim_size(1) &&
                    b.dim_size(1) == a.dim_size(0) && down.dim_size(1) == a.dim_size(0) &&
                    dropout_.Fits(keys, tokens, x.dim_size(0)),
                InvalidArgument("dy [t, out], x [t, in], down [t, r], a [r, in], b [out, r], keys and tokens [t] or empty"));
    const int64_t rows = x.dim_size(0), width = x.dim_size(1), out = dy.dim_size(1), rank = a.dim_size(0);
    // Sums of a fixed number of rows are added in their order: the number of threads changes no bit.
    constexpr int64_t kChunk = 64;
    const int64_t chunks = (rows + kChunk - 1) / kChunk, size = rank * (width + out);
    Tensor *dx = nullptr, *da = nullptr, *db = nullptr;
    Tensor b_t, parts, total;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    OP_REQUIRES_OK(context, context->allocate_output(1, a.shape(), &da));
    OP_REQUIRES_OK(context, context->allocate_output(2, b.shape(), &db));
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, TensorShape({rank, out}), &b_t));
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, TensorShape({chunks, size}), &parts));
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, TensorShape({size}), &total));
    Transpose(out, rank, Floats(b), Floats(&b_t));
    const Dropped dropped = dropout_.Read(keys, tokens);
    Parallel(context, chunks, kChunk * 2 * rank * (width + out), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; i++) {
        float* part = Floats(&parts) + i * size;
        math().low_rank_grad(i * kChunk, std::min(rows, (i + 1) * kChunk), width, out, rank, Floats(dy), Floats(x),
                             Floats(down), Floats(a), Floats(&b_t), scale_,
                             keys.NumElements() > 0 ? &dropped : nullptr, Floats(dx), part, part + rank * width);
      }
    });
    float* sums = Floats(&total);
    const float* part = Floats(&parts);
    std::copy_n(part, size, sums);
    for (int64_t i = 1; i < chunks; i++)
      for (int64_t j = 0; j < size; j++) sums[j] += part[i * size + j];
    std::copy_n(sums, rank * width, Floats(da));
    Transpose(rank, out, sums + rank * width, Floats(db));
  }

 private:
  DropoutReader dropout_;
  float scale_;
};

}  // namespace

REGISTER_OP("SoftflowRmsNorm")
    .Attr("eps: float").Input("x: float").Input("w: float").Output("y: float").Output("r: float")
    .SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowAddRmsNorm")
    .Attr("eps: float").Input("x: float").Input("delta: float").Input("w: float")
    .Output("sum: float").Output("y: float").Output("r: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowRmsNormGrad")
    .Attr("N: int >= 1").Input("x: float").Input("w: float").Input("r: float").Input("residual: float")
    .Input("dys: N * float").Output("dx: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowRope")
    .Attr("heads: int").Attr("sign: float").Input("x: float").Input("cos: float").Input("sin: float")
    .Output("y: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowSwiGlu").Input("g: float").Input("u: float").Output("a: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowSwiGluGrad")
    .Input("da: float").Input("g: float").Input("u: float").Output("dg: float").Output("du: float")
    .SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowAttention")
    .Attr("heads: int").Attr("kv_heads: int").Attr("head_size: int")
    .Input("q: float").Input("k: float").Input("v: float").Input("parts: int32")
    .Output("o: float").Output("lse: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowAttentionGrad")
    .Attr("heads: int").Attr("kv_heads: int").Attr("head_size: int")
    .Input("d_o: float").Input("q: float").Input("k: float").Input("v: float").Input("o: float").Input("lse: float")
    .Input("parts: int32").Output("dq: float").Output("dk: float").Output("dv: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowDecodeAttention")
    .Attr("heads: int").Attr("kv_heads: int").Attr("head_size: int").Attr("prefix: int")
    .Input("q: float").Input("k: float").Input("v: float").Input("prompt_k: float").Input("prompt_v: float")
    .Input("cache_k: float").Input("cache_v: float").Input("parts: int32").Input("ancestors: int32")
    .Output("o: float").SetIsStateful().SetShapeFn(UnknownShape);

REGISTER_OP("SoftflowBestTokens")
    .Attr("count: int >= 1").Input("logits: float").Output("log_probs: float").Output("ids: int32")
    .SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowCrossEntropy")
    .Input("logits: float").Input("ids: int32").Output("loss: float").Output("d_logits: float")
    .SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowLowRank")
    .Attr("scale: float").Attr("rate: string").Input("y: float").Input("x: float").Input("a: float").Input("b: float")
    .Input("keys: int32").Input("tokens: int32").Output("sum: float").Output("down: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowLowRankGrad")
    .Attr("scale: float").Attr("rate: string").Input("dy: float").Input("x: float").Input("down: float")
    .Input("a: float").Input("b: float").Input("keys: int32").Input("tokens: int32").Output("dx: float")
    .Output("da: float").Output("db: float").SetShapeFn(UnknownShape);

SOFTFLOW_REGISTER("SoftflowRmsNorm", RmsNormOp);
SOFTFLOW_REGISTER("SoftflowAddRmsNorm", AddRmsNormOp);
SOFTFLOW_REGISTER("SoftflowRmsNormGrad", RmsNormGradOp);
SOFTFLOW_REGISTER("SoftflowRope", RopeOp);
SOFTFLOW_REGISTER("SoftflowSwiGlu", SwiGluOp);
SOFTFLOW_REGISTER("SoftflowSwiGluGrad", SwiGluGradOp);
SOFTFLOW_REGISTER("SoftflowAttention", AttentionOp);
SOFTFLOW_REGISTER("SoftflowAttentionGrad", AttentionGradOp);
SOFTFLOW_REGISTER("SoftflowDecodeAttention", DecodeAttentionOp);
SOFTFLOW_REGISTER("SoftflowBestTokens", BestTokensOp);
SOFTFLOW_REGISTER("SoftflowCrossEntropy", CrossEntropyOp);
SOFTFLOW_REGISTER("SoftflowLowRank", LowRankOp);
SOFTFLOW_REGISTER("SoftflowLowRankGrad", LowRankGradOp);

}  // namespace softflow
