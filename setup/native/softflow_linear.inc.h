// Included once for each instruction set, inside a namespace of its own. SOFTFLOW_ROWS rows by three vectors of 16
// floats are the register block of the float32 product, SOFTFLOW_ROWS rows by two that of the bfloat16 one.

#include "softflow_vector.inc.h"

constexpr int kVectors = kPanel / kLanes;

// c[Rows, 48] (+)= a[Rows, depth] panel[depth, 48]. Meanwhile `Ahead` cache lines of `next` are fetched for each step:
// with few rows the product is as fast as memory, which must not wait for it.
template <int Rows, int Ahead>
SOFTFLOW_INLINE void Block(int64_t depth, const float* a, int64_t lda, const float* panel, float* c, int64_t ldc,
                           bool add, const float* next) {
  Vec sum[Rows][kVectors];
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < kVectors; j++) sum[i][j] = Vec{};
  for (int64_t k = 0; k < depth; k++) {
    Vec row[kVectors];
    for (int j = 0; j < kVectors; j++) row[j] = Load(panel + k * kPanel + j * kLanes);
    for (int j = 0; j < Ahead; j++) __builtin_prefetch(next + (k * Ahead + j) * kLanes, 0, 2);
    for (int i = 0; i < Rows; i++) {
      const Vec factor = Splat(a[i * lda + k]);
      for (int j = 0; j < kVectors; j++) sum[i][j] += factor * row[j];
    }
  }
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < kVectors; j++) {
      float* to = c + i * ldc + j * kLanes;
      Store(to, add ? Load(to) + sum[i][j] : sum[i][j]);
    }
}

template <int Ahead>
SOFTFLOW_INLINE void Blocks(int64_t m, int64_t depth, const float* a, int64_t lda, const float* panel, float* c,
                            int64_t ldc, bool add, const float* next) {
  int64_t i = 0, fetched = 0;
  const int64_t all = depth * kVectors;
  for (; i + SOFTFLOW_ROWS <= m; i += SOFTFLOW_ROWS, fetched += depth * Ahead)
    if (Ahead > 0 && fetched < all)
      Block<SOFTFLOW_ROWS, Ahead>(depth, a + i * lda, lda, panel, c + i * ldc, ldc, add, next + fetched * kLanes);
    else
      Block<SOFTFLOW_ROWS, 0>(depth, a + i * lda, lda, panel, c + i * ldc, ldc, add, nullptr);
  if (SOFTFLOW_ROWS > 4)
    for (; i + 4 <= m; i += 4) Block<4, 0>(depth, a + i * lda, lda, panel, c + i * ldc, ldc, add, nullptr);
  for (; i < m; i++) Block<1, 0>(depth, a + i * lda, lda, panel, c + i * ldc, ldc, add, nullptr);
}

// Part of a panel; `columns` of its 48 outputs exist.
static void Panel(int64_t m, int64_t depth, const float* a, int64_t lda, const float* panel, int64_t columns, float* c,
                  int64_t ldc, bool add, const float* next) {
  if (columns < kPanel) {
    float some[kPanel] = {};
    for (int64_t i = 0; i < m; i++) {
      if (add) __builtin_memcpy(some, c + i * ldc, columns * sizeof(float));
      Block<1, 0>(depth, a + i * lda, lda, panel, some, kPanel, add, nullptr);
      __builtin_memcpy(c + i * ldc, some, columns * sizeof(float));
    }
    return;
  }
  const int64_t blocks = m / SOFTFLOW_ROWS;
  if (next == nullptr || blocks == 0)
    Blocks<0>(m, depth, a, lda, panel, c, ldc, add, nullptr);
  else if (blocks >= kVectors)
    Blocks<1>(m, depth, a, lda, panel, c, ldc, add, next);
  else
    Blocks<kVectors>(m, depth, a, lda, panel, c, ldc, add, next);
}

// Sums of at most so many products are added up: shorter sums round less than one long one.
constexpr int64_t kSum = 192;

static void Summed(int64_t m, int64_t depth, const float* a, int64_t lda, const float* panel, int64_t columns, float* c,
                   int64_t ldc, bool add, const float* next) {
  for (int64_t k = 0; k < depth; k += kSum)
    Panel(m, depth - k < kSum ? depth - k : kSum, a + k, lda, panel + k * kPanel, columns, c, ldc, add || k > 0,
          next == nullptr ? nullptr : next + k * kPanel);
}

static void Linear(int64_t m, const float* a, int64_t lda, const float* packed, PackedShape shape, int64_t first,
                   int64_t last, float* c, int64_t ldc) {
  for (int64_t p = first; p < last; p++) {
    const float* panel = packed + p * shape.panel_size();
    const int64_t columns = shape.out - p * kPanel < kPanel ? shape.out - p * kPanel : kPanel;
    Summed(m, shape.in, a, lda, panel, columns, c + p * kPanel, ldc, false,
          p + 1 < last ? panel + shape.panel_size() : nullptr);
  }
}

// Inputs [from, from + columns) of the outputs [n, n + depth) of a packed matrix as a panel [depth, 48] of its transpose.
static void TransposePiece(const float* packed, PackedShape shape, int64_t n, int64_t depth, int64_t from,
                           int64_t columns, float* piece) {
  for (int64_t block = 0; block < depth; block += kPanel) {
    const float* source = packed + shape.place(n + block, from);
    float* target = piece + block * kPanel;
    if (columns == kPanel)
      for (int64_t k = 0; k < kPanel; k += 16)
        for (int64_t j = 0; j < kPanel; j += 16) Transpose(source + k * kPanel + j, kPanel, target + j * kPanel + k, kPanel);
    else
      for (int64_t k = 0; k < columns; k++)
        for (int64_t j = 0; j < kPanel; j++) target[j * kPanel + k] = source[k * kPanel + j];
  }
}

// The panels of the transposed matrix are made on the way, some pieces at a time: with the many rows of a gradient that
// costs little, and the matrix lies in memory once. Pieces and a chunk of rows stay in the processor's own cache.
static void LinearGrad(int64_t m, const float* a, int64_t lda, const float* packed, PackedShape shape, int64_t first,
                       int64_t last, float* c, int64_t ldc, bool add) {
  constexpr int64_t kDepth = 3 * kSum, kRows = 128;
  static thread_local float pieces[kGradRun][kDepth * kPanel] __attribute__((aligned(64)));
  for (int64_t p = first; p < last; p += kGradRun) {
    const int64_t count = last - p < kGradRun ? last - p : kGradRun;
    const auto columns = [&](int64_t i) {
      const int64_t left = shape.in - (p + i) * kPanel;
      return left < kPanel ? left : kPanel;
    };
    for (int64_t n = 0; n < shape.out; n += kDepth) {
      const int64_t depth = shape.out - n < kDepth ? shape.out - n : kDepth;
      for (int64_t i = 0; i < count; i++)
        TransposePiece(packed, shape, n, depth, (p + i) * kPanel, columns(i), pieces[i]);
      for (int64_t row = 0; row < m; row += kRows)
        for (int64_t i = 0; i < count; i++)
          Summed(m - row < kRows ? m - row : kRows, depth, a + row * lda + n, lda, pieces[i], columns(i),
                 c + row * ldc + (p + i) * kPanel, ldc, add || n > 0, nullptr);
    }
  }
}

static void Round(int64_t count, const float* x, uint16_t* y) {
  for (int64_t i = 0; i < count; i++) y[i] = RoundToHalf(x[i]);
}

#ifndef SOFTFLOW_HALF_LINEAR
// The numbers are those of bfloat16, widened: a pair of inputs lies in the two halves of a 32-bit lane.
SOFTFLOW_INLINE Vec Even(UintVec pair) {
  const UintVec bits = pair << 16;
  return reinterpret_cast<const Vec&>(bits);
}
SOFTFLOW_INLINE Vec Odd(UintVec pair) {
  const UintVec bits = pair & (UintVec{} + 0xffff0000u);
  return reinterpret_cast<const Vec&>(bits);
}

template <int Rows>
SOFTFLOW_INLINE void HalfBlock(int64_t depth, const uint16_t* a, const uint16_t* panel, float (*c)[kHalfPanel]) {
  Vec sum[Rows][2];
  for (int i = 0; i < Rows; i++) sum[i][0] = sum[i][1] = Vec{};
  for (int64_t k = 0; k < depth; k += 2) {
    const uint16_t* tile = panel + k / kHalfDepth * (kHalfDepth * kHalfPanel) + k % kHalfDepth * 16;
    const UintVec low = *reinterpret_cast<const UintVec*>(tile), high = *reinterpret_cast<const UintVec*>(tile + 512);
    for (int i = 0; i < Rows; i++) {
      const Vec even = Splat(FromHalf(a[i * depth + k])), odd = Splat(FromHalf(a[i * depth + k + 1]));
      sum[i][0] += even * Even(low);
      sum[i][0] += odd * Odd(low);
      sum[i][1] += even * Even(high);
      sum[i][1] += odd * Odd(high);
    }
  }
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < 2; j++) Store(c[i] + j * kLanes, sum[i][j]);
}

static void HalfLinear(int64_t m, const uint16_t* a, const uint16_t* packed, HalfShape shape, int64_t first,
                       int64_t last, float* c, int64_t ldc, bool add) {
  const int64_t depth = shape.depth();
  float block[SOFTFLOW_ROWS][kHalfPanel];
  for (int64_t p = first; p < last; p++) {
    const int64_t columns = shape.out - p * kHalfPanel < kHalfPanel ? shape.out - p * kHalfPanel : kHalfPanel;
    // The rows are padded, so a block may go beyond the last one.
    for (int64_t i = 0; i < m; i += SOFTFLOW_ROWS) {
      HalfBlock<SOFTFLOW_ROWS>(depth, a + i * depth, packed + p * shape.panel_size(), block);
      CopyBlock(block, m - i < SOFTFLOW_ROWS ? m - i : SOFTFLOW_ROWS, columns, c + i * ldc + p * kHalfPanel, ldc, add);
    }
  }
}
#define SOFTFLOW_HALF_LINEAR HalfLinear
#endif

static const LinearMath kLinearMath = {SOFTFLOW_NAME, Linear, LinearGrad, SOFTFLOW_HALF_LINEAR, Round};

#undef SOFTFLOW_INLINE
#undef SOFTFLOW_HALF_LINEAR
#undef SOFTFLOW_NAME
#undef SOFTFLOW_ROWS
