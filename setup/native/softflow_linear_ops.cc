// Products with frozen matrices as TensorFlow ops; see softflow_linear.h. A packed matrix is a flat tensor.

#include <algorithm>
#include <cstring>
#include <vector>

#include "softflow_linear.h"
#include "softflow_op.h"

namespace softflow {
namespace {

using tensorflow::DT_BFLOAT16;
using tensorflow::DT_FLOAT;
using tensorflow::OpInputList;
using tensorflow::OpOutputList;

// Rows that a decode step has: they are multiplied with one panel after the other. More are cut into chunks that stay
// in the processor's own cache together with a panel.
constexpr int64_t kFewRows = 96;
constexpr int64_t kFloatChunk = 128;
constexpr int64_t kHalfChunk = 256;

const uint16_t* Halves(const Tensor& tensor) {
  return reinterpret_cast<const uint16_t*>(tensor.flat<Eigen::bfloat16>().data());
}
uint16_t* Halves(Tensor* tensor) { return reinterpret_cast<uint16_t*>(tensor->flat<Eigen::bfloat16>().data()); }

int64_t SizeOf(PackedShape shape) { return shape.panels() * shape.panel_size(); }
int64_t SizeOf(HalfShape shape) { return shape.panels() * shape.panel_size(); }

// [out, in] in float32 to a packed matrix of type T.
class PackOp : public OpKernel {
 public:
  explicit PackOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor& w = context->input(0);
    OP_REQUIRES(context, w.dims() == 2 && w.NumElements() > 0, InvalidArgument("w [out, in]"));
    const int64_t out = w.dim_size(0), in = w.dim_size(1);
    const float* source = Floats(w);
    Tensor* packed = nullptr;
    if (type_ == DT_FLOAT) {
      const PackedShape shape{out, in};
      OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({SizeOf(shape)}), &packed));
      float* target = Floats(packed);
      Parallel(context, shape.panels(), in * kPanel * 2, [&](int64_t from, int64_t to) {
        std::fill(target + from * shape.panel_size(), target + to * shape.panel_size(), 0.0f);
        for (int64_t n = from * kPanel; n < std::min(out, to * kPanel); n++)
          for (int64_t k = 0; k < in; k++) target[shape.place(n, k)] = source[n * in + k];
      });
      return;
    }
    const HalfShape shape{out, in};
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({SizeOf(shape)}), &packed));
    uint16_t* target = Halves(packed);
    Parallel(context, shape.panels(), in * kHalfPanel * 2, [&](int64_t from, int64_t to) {
      std::fill(target + from * shape.panel_size(), target + to * shape.panel_size(), uint16_t{0});
      for (int64_t n = from * kHalfPanel; n < std::min(out, to * kHalfPanel); n++)
        for (int64_t k = 0; k < in; k++) target[shape.place(n, k)] = RoundToHalf(source[n * in + k]);
    });
  }

 private:
  tensorflow::DataType type_;
};

// The packed transpose of a packed bfloat16 matrix [out, in]: what a gradient multiplies with.
class TransposePackedOp : public OpKernel {
 public:
  explicit TransposePackedOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("out", &out_));
    OP_REQUIRES_OK(context, context->GetAttr("in", &in_));
  }
  void Compute(OpKernelContext* context) override {
    const HalfShape from{out_, in_}, to{in_, out_};
    OP_REQUIRES(context, out_ > 0 && in_ > 0 && context->input(0).NumElements() == SizeOf(from),
                InvalidArgument("a packed matrix [", out_, ", ", in_, "]"));
    Tensor* packed = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({SizeOf(to)}), &packed));
    const uint16_t* source = Halves(context->input(0));
    uint16_t* target = Halves(packed);
    Parallel(context, to.panels(), out_ * kHalfPanel * 2, [&](int64_t first, int64_t last) {
      std::fill(target + first * to.panel_size(), target + last * to.panel_size(), uint16_t{0});
      for (int64_t k = first * kHalfPanel; k < std::min<int64_t>(in_, last * kHalfPanel); k++)
        for (int64_t n = 0; n < out_; n++) target[to.place(k, n)] = source[from.place(n, k)];
    });
  }

 private:
  int64_t out_, in_;
};

// Panels of several matrices, one after the other: work is handed out as (chunk of rows, run of panels).
struct Grid {
  int64_t rows, chunk;
  std::vector<int64_t> ends;  // panels up to and with each matrix
  int64_t chunks() const { return CeilDiv(rows, chunk); }
  int64_t panels() const { return ends.back(); }

  // Calls body(matrix, first panel, last panel, first row, row count) for the panels [from, to) of a chunk.
  template <typename Body>
  void ForMatrices(int64_t chunk_index, int64_t from, int64_t to, Body body) const {
    const int64_t row = chunk_index * chunk, count = std::min(chunk, rows - row);
    int64_t start = 0;
    for (size_t i = 0; i < ends.size(); start = ends[i++]) {
      const int64_t first = std::max(from, start), last = std::min(to, ends[i]);
      if (first < last) body(i, first - start, last - start, row, count);
    }
  }

  // Few rows: every thread takes its own run of panels. Many: runs of panels of one chunk after the other.
  template <typename Body>
  void Run(OpKernelContext* context, int64_t panel_cost, Body body) const {
    const int64_t run = rows <= chunk ? 1 : std::max<int64_t>(1, std::min<int64_t>(16, panels() / 2));
    const int64_t runs = CeilDiv(panels(), run);
    Parallel(context, chunks() * runs, panel_cost * run * std::min(rows, chunk), [&](int64_t from, int64_t to) {
      while (from < to) {
        const int64_t at = from / runs, end = std::min(to, (at + 1) * runs);
        ForMatrices(at, from % runs * run, std::min((end - at * runs) * run, panels()), body);
        from = end;
      }
    });
  }
};

// x [t, in] as bfloat16 [t up to whole tiles, depth], with zeros around it.
tensorflow::Status Rounded(OpKernelContext* context, const Tensor& x, Tensor* rounded) {
  const int64_t rows = x.dim_size(0), in = x.dim_size(1), depth = HalfShape{1, in}.depth();
  const int64_t padded = CeilDiv(rows, 32) * 32;
  const auto status = context->allocate_temp(DT_BFLOAT16, TensorShape({padded, depth}), rounded);
  if (!status.ok()) return status;
  uint16_t* halves = Halves(rounded);
  const float* source = Floats(x);
  Parallel(context, padded, depth / 2, [&](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; row++) {
      uint16_t* target = halves + row * depth;
      const int64_t filled = row < rows ? in : 0;
      if (filled > 0) linear_math().round(filled, source + row * in, target);
      std::fill(target + filled, target + depth, uint16_t{0});
    }
  });
  return status;
}

// x [t, in] times the transposes of N packed matrices [out_i, in].
class LinearOp : public OpKernel {
 public:
  explicit LinearOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("outs", &outs_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    OpInputList packed;
    OpOutputList ys;
    OP_REQUIRES_OK(context, context->input_list("packed", &packed));
    OP_REQUIRES_OK(context, context->output_list("ys", &ys));
    OP_REQUIRES(context, x.dims() == 2 && static_cast<int>(outs_.size()) == packed.size(),
                InvalidArgument("x [t, in] and as many outs as matrices"));
    const int64_t rows = x.dim_size(0), in = x.dim_size(1);
    std::vector<float*> targets;
    for (int i = 0; i < packed.size(); i++) {
      const int64_t size = type_ == DT_FLOAT ? SizeOf(PackedShape{outs_[i], in}) : SizeOf(HalfShape{outs_[i], in});
      OP_REQUIRES(context, outs_[i] > 0 && packed[i].NumElements() == size,
                  InvalidArgument("matrix ", i, ": expected a packed matrix [", outs_[i], ", ", in, "]"));
      Tensor* y = nullptr;
      OP_REQUIRES_OK(context, ys.allocate(i, TensorShape({rows, outs_[i]}), &y));
      targets.push_back(Floats(y));
    }
    if (rows == 0) return;
    if (type_ == DT_FLOAT)
      Multiply(context, x, packed, targets);
    else
      MultiplyHalves(context, x, packed, targets);
  }

 private:
  Grid GridOf(int64_t rows, int64_t chunk, int64_t panel) const {
    Grid grid{rows, rows <= kFewRows ? kFewRows : chunk, {}};
    for (const int64_t out : outs_)
      grid.ends.push_back((grid.ends.empty() ? 0 : grid.ends.back()) + CeilDiv(out, panel));
    return grid;
  }

  void Multiply(OpKernelContext* context, const Tensor& x, const OpInputList& packed,
                const std::vector<float*>& targets) const {
    const int64_t in = x.dim_size(1);
    const float* source = Floats(x);
    GridOf(x.dim_size(0), kFloatChunk, kPanel)
        .Run(context, in * 3, [&](int64_t i, int64_t first, int64_t last, int64_t row, int64_t count) {
          linear_math().linear(count, source + row * in, in, Floats(packed[i]), {outs_[i], in}, first, last,
                               targets[i] + row * outs_[i], outs_[i]);
        });
  }

  void MultiplyHalves(OpKernelContext* context, const Tensor& x, const OpInputList& packed,
                      const std::vector<float*>& targets) const {
    const int64_t rows = x.dim_size(0), in = x.dim_size(1), depth = HalfShape{1, in}.depth();
    Tensor rounded;
    OP_REQUIRES_OK(context, Rounded(context, x, &rounded));
    const uint16_t* halves = Halves(rounded);
    GridOf(rows, kHalfChunk, kHalfPanel)
        .Run(context, depth / 8, [&](int64_t i, int64_t first, int64_t last, int64_t row, int64_t count) {
          linear_math().half_linear(count, halves + row * depth, Halves(packed[i]), {outs_[i], in}, first, last,
                                    targets[i] + row * outs_[i], outs_[i], false);
        });
  }

  tensorflow::DataType type_;
  std::vector<int64_t> outs_;
};

// The sum of dy_i [t, out_i] times N packed matrices [out_i, in]; of bfloat16 ones the packed transposes [in, out_i].
class LinearGradOp : public OpKernel {
 public:
  explicit LinearGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("in", &in_));
  }
  void Compute(OpKernelContext* context) override {
    OpInputList dys, packed;
    OP_REQUIRES_OK(context, context->input_list("dys", &dys));
    OP_REQUIRES_OK(context, context->input_list("packed", &packed));
    const int64_t rows = dys[0].dim_size(0);
    for (int i = 0; i < dys.size(); i++) {
      OP_REQUIRES(context, dys[i].dims() == 2 && dys[i].dim_size(0) == rows && in_ > 0, InvalidArgument("dys [t, out]"));
      const int64_t out = dys[i].dim_size(1);
      const int64_t size = type_ == DT_FLOAT ? SizeOf(PackedShape{out, in_}) : SizeOf(HalfShape{in_, out});
      OP_REQUIRES(context, packed[i].NumElements() == size,
                  InvalidArgument("matrix ", i, ": expected a packed matrix [", out, ", ", in_, "]"));
    }
    Tensor* dx = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows, in_}), &dx));
    if (rows == 0) return;
    if (type_ == DT_FLOAT)
      Multiply(context, dys, packed, Floats(dx));
    else
      MultiplyHalves(context, dys, packed, Floats(dx));
  }

 private:
  void Multiply(OpKernelContext* context, const OpInputList& dys, const OpInputList& packed, float* dx) const {
    const int64_t rows = dys[0].dim_size(0), panels = CeilDiv(in_, kPanel);
    const int64_t run = std::clamp<int64_t>(panels / 4, 1, kGradRun);
    Parallel(context, CeilDiv(panels, run), Depth(dys) * 3 * run * rows, [&](int64_t from, int64_t to) {
      for (int i = 0; i < dys.size(); i++) {
        const PackedShape shape{dys[i].dim_size(1), in_};
        linear_math().linear_grad(rows, Floats(dys[i]), shape.out, Floats(packed[i]), shape, from * run,
                                  std::min(to * run, panels), dx, in_, i > 0);
      }
    });
  }

  void MultiplyHalves(OpKernelContext* context, const OpInputList& dys, const OpInputList& packed, float* dx) const {
    std::vector<Tensor> rounded(dys.size());
    for (int i = 0; i < dys.size(); i++) OP_REQUIRES_OK(context, Rounded(context, dys[i], &rounded[i]));
    const Grid grid{dys[0].dim_size(0), kHalfChunk, {CeilDiv(in_, kHalfPanel)}};
    grid.Run(context, Depth(dys) / 8, [&](int64_t, int64_t first, int64_t last, int64_t row, int64_t count) {
      for (int i = 0; i < dys.size(); i++) {
        const HalfShape shape{in_, dys[i].dim_size(1)};
        linear_math().half_linear(count, Halves(rounded[i]) + row * shape.depth(), Halves(packed[i]), shape, first, last,
                                  dx + row * in_, in_, i > 0);
      }
    });
  }

  static int64_t Depth(const OpInputList& dys) {
    int64_t depth = 0;
    for (const Tensor& dy : dys) depth += dy.dim_size(1);
    return depth;
  }

  tensorflow::DataType type_;
  int64_t in_;
};

// Rows of a packed matrix [out, in] in float32.
class PackedRowsOp : public OpKernel {
 public:
  explicit PackedRowsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("out", &out_));
    OP_REQUIRES_OK(context, context->GetAttr("in", &in_));
  }
  void Compute(OpKernelContext* context) override {
    const Tensor& packed = context->input(0);
    const Tensor& ids = context->input(1);
    const PackedShape shape{out_, in_};
    const HalfShape half{out_, in_};
    OP_REQUIRES(context, packed.NumElements() == (type_ == DT_FLOAT ? SizeOf(shape) : SizeOf(half)),
                InvalidArgument("expected a packed matrix [", out_, ", ", in_, "]"));
    const int32_t* rows = ids.flat<int32_t>().data();
    for (int64_t i = 0; i < ids.NumElements(); i++)
      OP_REQUIRES(context, rows[i] >= 0 && rows[i] < out_, InvalidArgument("row ", rows[i], " of ", out_));
    Tensor* x = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({ids.NumElements(), in_}), &x));
    float* target = Floats(x);
    const float* floats = type_ == DT_FLOAT ? Floats(packed) : nullptr;
    const uint16_t* halves = type_ == DT_FLOAT ? nullptr : Halves(packed);
    Parallel(context, ids.NumElements(), in_ * 4, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < in_; k++)
          target[i * in_ + k] =
              halves == nullptr ? floats[shape.place(rows[i], k)] : FromHalf(halves[half.place(rows[i], k)]);
    });
  }

 private:
  tensorflow::DataType type_;
  int64_t out_, in_;
};

}  // namespace

REGISTER_OP("SoftflowPack")
    .Attr("T: {float, bfloat16}").Input("w: float").Output("packed: T").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowTransposePacked")
    .Attr("out: int").Attr("in: int").Input("packed: bfloat16").Output("transposed: bfloat16")
    .SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowLinear")
    .Attr("T: {float, bfloat16}").Attr("N: int >= 1").Attr("outs: list(int)")
    .Input("x: float").Input("packed: N * T").Output("ys: N * float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowLinearGrad")
    .Attr("T: {float, bfloat16}").Attr("N: int >= 1").Attr("in: int")
    .Input("dys: N * float").Input("packed: N * T").Output("dx: float").SetShapeFn(UnknownShape);
REGISTER_OP("SoftflowPackedRows")
    .Attr("T: {float, bfloat16}").Attr("out: int").Attr("in: int").Input("packed: T").Input("ids: int32")
    .Output("x: float").SetShapeFn(UnknownShape);

SOFTFLOW_REGISTER("SoftflowPack", PackOp);
SOFTFLOW_REGISTER("SoftflowTransposePacked", TransposePackedOp);
SOFTFLOW_REGISTER("SoftflowLinear", LinearOp);
SOFTFLOW_REGISTER("SoftflowLinearGrad", LinearGradOp);
SOFTFLOW_REGISTER("SoftflowPackedRows", PackedRowsOp);

}  // namespace softflow
