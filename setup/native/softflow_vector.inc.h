// Vectors of 16 floats, for each instruction set inside a namespace of its own: included first by what is built on them.

typedef float Vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t UintVec __attribute__((vector_size(64), aligned(4), may_alias));
#define SOFTFLOW_INLINE static inline __attribute__((always_inline))

constexpr int64_t kLanes = 16;

SOFTFLOW_INLINE Vec Load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
SOFTFLOW_INLINE void Store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
// Every lane by itself: adding to a vector of zeros is an addition for the compiler, on the port that multiplies.
SOFTFLOW_INLINE Vec Splat(float x) { return Vec{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

// 16 by 16 numbers transposed: in every step two rows exchange their lanes.
template <int Step>
SOFTFLOW_INLINE void Exchange(Vec (&rows)[16]) {
  const IntVec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const IntVec upper = (lanes & Step) != 0;
  for (int i = 0; i < 16; i++) {
    if ((i & Step) != 0) continue;
    const Vec a = rows[i], b = rows[i + Step];
    rows[i] = __builtin_shuffle(a, b, lanes + (upper & (16 - Step)));
    rows[i + Step] = __builtin_shuffle(a, b, lanes + (upper & 16) + (~upper & Step));
  }
}

SOFTFLOW_INLINE void Transpose(const float* source, int64_t lds, float* target, int64_t ldt) {
  Vec rows[16];
  for (int i = 0; i < 16; i++) rows[i] = Load(source + i * lds);
  Exchange<8>(rows);
  Exchange<4>(rows);
  Exchange<2>(rows);
  Exchange<1>(rows);
  for (int i = 0; i < 16; i++) Store(target + i * ldt, rows[i]);
}
