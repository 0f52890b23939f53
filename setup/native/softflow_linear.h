// Products with frozen matrices, without any TensorFlow header, so that they can be compiled for several instruction
// sets. A matrix W [out, in] is kept packed: cut into panels of outputs, each panel in the order in which the product
// reads it, so that a decode step, which has few rows, streams it from memory once.
#ifndef SOFTFLOW_LINEAR_H_
#define SOFTFLOW_LINEAR_H_

#include <cstdint>

namespace softflow {

// A float32 panel is [in][48]; element (n, k) of the matrix lies in panel n / 48.
constexpr int64_t kPanel = 48;
// So many panels of a transposed matrix are made at a time.
constexpr int64_t kGradRun = 4;
// A bfloat16 panel is [in / 32][2][16 pairs of inputs][16 outputs][2]: two tiles of AMX for each 32 inputs. Inputs are
// padded with zeros to whole tiles.
constexpr int64_t kHalfPanel = 32;
constexpr int64_t kHalfDepth = 32;

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct PackedShape {
  int64_t out, in;
  int64_t panels() const { return CeilDiv(out, kPanel); }
  int64_t panel_size() const { return in * kPanel; }
  int64_t place(int64_t n, int64_t k) const { return n / kPanel * panel_size() + k * kPanel + n % kPanel; }
};

struct HalfShape {
  int64_t out, in;
  int64_t depth() const { return CeilDiv(in, kHalfDepth) * kHalfDepth; }
  int64_t panels() const { return CeilDiv(out, kHalfPanel); }
  int64_t panel_size() const { return depth() * kHalfPanel; }
  int64_t place(int64_t n, int64_t k) const {
    return n / kHalfPanel * panel_size() + k / kHalfDepth * (kHalfDepth * kHalfPanel) + n % kHalfPanel / 16 * 512 +
           k % kHalfDepth / 2 * 32 + n % 16 * 2 + k % 2;
  }
};

// Copies the rows and columns that exist, or adds them.
template <int Columns>
inline void CopyBlock(const float (*block)[Columns], int64_t rows, int64_t columns, float* c, int64_t ldc, bool add) {
  for (int64_t r = 0; r < rows; r++)
    if (add)
      for (int64_t j = 0; j < columns; j++) c[r * ldc + j] += block[r][j];
    else
      __builtin_memcpy(c + r * ldc, block[r], columns * sizeof(float));
}

// Each element of a result is a sum over the inputs in a fixed order, whatever shares the call: neither the number of
// rows nor that of threads changes a bit.
struct LinearMath {
  const char* name;
  // c[m, out] = a[m, in] W^T for the panels [first, last); rows of `a` lie `lda` apart, rows of `c` `ldc`.
  void (*linear)(int64_t m, const float* a, int64_t lda, const float* packed, PackedShape shape, int64_t first,
                 int64_t last, float* c, int64_t ldc);
  // c[m, in] (+)= a[m, out] W for inputs [48 first, 48 last).
  void (*linear_grad)(int64_t m, const float* a, int64_t lda, const float* packed, PackedShape shape, int64_t first,
                      int64_t last, float* c, int64_t ldc, bool add);
  // c (+)= a W^T as `linear`, with bfloat16 a [m rounded up to 32, depth] and W; sums are float32.
  void (*half_linear)(int64_t m, const uint16_t* a, const uint16_t* packed, HalfShape shape, int64_t first,
                      int64_t last, float* c, int64_t ldc, bool add);
  // To the nearest bfloat16.
  void (*round)(int64_t count, const float* x, uint16_t* y);
};

// The best set of instructions that this processor has.
const LinearMath& linear_math();

// To the nearest bfloat16, ties to even; not a number stays not a number.
inline uint16_t RoundToHalf(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
}

inline float FromHalf(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace softflow

#endif  // SOFTFLOW_LINEAR_H_
