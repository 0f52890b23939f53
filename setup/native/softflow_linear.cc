#include "softflow_linear.h"

#include "softflow_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace softflow {

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
namespace avx512 {
#define SOFTFLOW_ROWS 8
#define SOFTFLOW_NAME "avx512"
#include "softflow_linear.inc.h"
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define SOFTFLOW_ROWS 2
#define SOFTFLOW_NAME "avx2"
#include "softflow_linear.inc.h"
}  // namespace avx2
#pragma GCC pop_options

#if __GNUC__ >= 11
// ---- dot products of bfloat16 pairs: AVX-512 BF16 ----

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
namespace avx512_bf16 {

constexpr int kRows = 12;

template <int Rows>
static inline __attribute__((always_inline)) void Block(int64_t depth, const uint16_t* a, const uint16_t* panel,
                                                        float (*c)[kHalfPanel]) {
  __m512 sum[Rows][2];
  for (int i = 0; i < Rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k += 2) {
    const uint16_t* tile = panel + k / kHalfDepth * (kHalfDepth * kHalfPanel) + k % kHalfDepth * 16;
    const __m512bh low = (__m512bh)_mm512_loadu_si512(tile), high = (__m512bh)_mm512_loadu_si512(tile + 512);
    for (int i = 0; i < Rows; i++) {
      int32_t pair;
      __builtin_memcpy(&pair, a + i * depth + k, sizeof(pair));
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(pair);
      sum[i][0] = _mm512_dpbf16_ps(sum[i][0], factor, low);
      sum[i][1] = _mm512_dpbf16_ps(sum[i][1], factor, high);
    }
  }
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < 2; j++) _mm512_storeu_ps(c[i] + j * 16, sum[i][j]);
}

static void HalfLinear(int64_t m, const uint16_t* a, const uint16_t* packed, HalfShape shape, int64_t first,
                       int64_t last, float* c, int64_t ldc, bool add) {
  const int64_t depth = shape.depth();
  float block[kRows][kHalfPanel];
  for (int64_t p = first; p < last; p++) {
    const uint16_t* panel = packed + p * shape.panel_size();
    const int64_t columns = shape.out - p * kHalfPanel < kHalfPanel ? shape.out - p * kHalfPanel : kHalfPanel;
    for (int64_t i = 0; i < m;) {
      const int64_t rows = m - i >= kRows ? kRows : m - i >= 4 ? 4 : 1;
      const uint16_t* from = a + i * depth;
      if (rows == kRows)
        Block<kRows>(depth, from, panel, block);
      else if (rows == 4)
        Block<4>(depth, from, panel, block);
      else
        Block<1>(depth, from, panel, block);
      CopyBlock(block, rows, columns, c + i * ldc + p * kHalfPanel, ldc, add);
      i += rows;
    }
  }
}

static const LinearMath kLinearMath = {"avx512_bf16", avx512::Linear, avx512::LinearGrad, HalfLinear, avx512::Round};

}  // namespace avx512_bf16
#pragma GCC pop_options

// ---- tiles of bfloat16: AMX ----

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,amx-tile,amx-bf16")
namespace amx {

struct __attribute__((packed, aligned(64))) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// 32 rows (16 with `Upper` false) by 32 outputs.
template <bool Lower>
static inline __attribute__((always_inline)) void Tiles(int64_t depth, const uint16_t* a, const uint16_t* panel,
                                                        float* c, int64_t ldc, bool add) {
  if (add) {
    _tile_loadd(0, c, ldc * 4);
    _tile_loadd(1, c + 16, ldc * 4);
    if (Lower) {
      _tile_loadd(2, c + 16 * ldc, ldc * 4);
      _tile_loadd(3, c + 16 * ldc + 16, ldc * 4);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if (Lower) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  for (int64_t k = 0; k < depth; k += kHalfDepth) {
    _tile_loadd(4, a + k, depth * 2);
    _tile_loadd(6, panel + k * kHalfPanel, 64);
    _tile_loadd(7, panel + k * kHalfPanel + 512, 64);
    if (Lower) _tile_loadd(5, a + 16 * depth + k, depth * 2);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (Lower) {
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, ldc * 4);
  _tile_stored(1, c + 16, ldc * 4);
  if (Lower) {
    _tile_stored(2, c + 16 * ldc, ldc * 4);
    _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
  }
}

static void HalfLinear(int64_t m, const uint16_t* a, const uint16_t* packed, HalfShape shape, int64_t first,
                       int64_t last, float* c, int64_t ldc, bool add) {
  const TileConfig config;
  _tile_loadconfig(&config);
  const int64_t depth = shape.depth();
  float block[32][kHalfPanel];
  for (int64_t p = first; p < last; p++) {
    const uint16_t* panel = packed + p * shape.panel_size();
    const int64_t columns = shape.out - p * kHalfPanel < kHalfPanel ? shape.out - p * kHalfPanel : kHalfPanel;
    for (int64_t i = 0; i < m; i += 32) {
      const int64_t rows = m - i < 32 ? m - i : 32;
      float* target = c + i * ldc + p * kHalfPanel;
      const bool whole = columns == kHalfPanel && (rows == 32 || rows == 16);
      if (rows > 16)
        Tiles<true>(depth, a + i * depth, panel, whole ? target : block[0], whole ? ldc : kHalfPanel, whole && add);
      else
        Tiles<false>(depth, a + i * depth, panel, whole ? target : block[0], whole ? ldc : kHalfPanel, whole && add);
      if (!whole) CopyBlock(block, rows, columns, target, ldc, add);
    }
  }
  _tile_release();
}

static const LinearMath kLinearMath = {"amx", avx512::Linear, avx512::LinearGrad, HalfLinear, avx512::Round};

// Linux gives the tile registers to a process that asks for them.
static bool Permitted() {
  constexpr long kRequest = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

}  // namespace amx
#pragma GCC pop_options

// AMX and AVX-512 BF16 by cpuid, since older compilers have no name for them.
static bool HasCpuid(unsigned leaf, unsigned part, int word, unsigned bits) {
  unsigned r[4] = {};
  return __get_cpuid_count(leaf, part, &r[0], &r[1], &r[2], &r[3]) && (r[word] & bits) == bits;
}
#endif
#endif

namespace portable {
#if defined(__aarch64__)
#define SOFTFLOW_ROWS 2
#else
#define SOFTFLOW_ROWS 1
#endif
#define SOFTFLOW_NAME "portable"
#include "softflow_linear.inc.h"
}  // namespace portable

static const LinearMath& Choose() {
#if defined(__x86_64__)
  if (HasAvx512()) {
#if __GNUC__ >= 11
    constexpr unsigned kTileAndBf16 = 1u << 24 | 1u << 22, kAvx512Bf16 = 1u << 5;
    if (Allowed("amx") && HasCpuid(7, 0, 3, kTileAndBf16) && amx::Permitted()) return amx::kLinearMath;
    if (Allowed("avx512_bf16") && HasCpuid(7, 1, 0, kAvx512Bf16)) return avx512_bf16::kLinearMath;
#endif
    return avx512::kLinearMath;
  }
  if (HasAvx2()) return avx2::kLinearMath;
#endif
  return portable::kLinearMath;
}

const LinearMath& linear_math() {
  static const LinearMath& chosen = Choose();
  return chosen;
}

}  // namespace softflow
