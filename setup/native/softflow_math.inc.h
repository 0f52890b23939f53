// Included once for each instruction set, inside a namespace of its own. SOFTFLOW_ROWS and SOFTFLOW_VECTORS are the
// register block of the small matrix product: so many rows by so many vectors of 16 floats.

#include "softflow_vector.inc.h"

SOFTFLOW_INLINE Vec Max(Vec a, Vec b) { return a > b ? a : b; }
SOFTFLOW_INLINE int64_t RoundUp(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// The upper half of the first `2 * by` lanes beside the lower one.
template <int By>
SOFTFLOW_INLINE Vec Moved(Vec v) {
  const IntVec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return __builtin_shuffle(v, lanes + By);
}

template <typename Body>
SOFTFLOW_INLINE void ForVectors(int64_t from, int64_t to, Body body) {
  int64_t i = from;
  for (; i + kLanes <= to; i += kLanes) body(i, kLanes);
  if (i < to) body(i, to - i);
}

SOFTFLOW_INLINE Vec LoadSome(const float* p, int64_t count) {
  if (count == kLanes) return Load(p);
  Vec v{};
  __builtin_memcpy(&v, p, count * sizeof(float));
  return v;
}

SOFTFLOW_INLINE void StoreSome(float* p, Vec v, int64_t count) {
  if (count == kLanes)
    Store(p, v);
  else
    __builtin_memcpy(p, &v, count * sizeof(float));
}

// Fixed order, so that the same row gives the same sum wherever it stands.
SOFTFLOW_INLINE float Sum(Vec v) {
  v += Moved<8>(v);
  v += Moved<4>(v);
  v += Moved<2>(v);
  return v[0] + v[1];
}

SOFTFLOW_INLINE float MaxOf(Vec v) {
  float m[16];
  __builtin_memcpy(m, &v, sizeof(m));
  for (int step = 8; step > 0; step /= 2)
    for (int i = 0; i < step; i++) m[i] = m[i] > m[i + step] ? m[i] : m[i + step];
  return m[0];
}

// exp by range reduction to [-ln2/2, ln2/2] and a polynomial (Cephes' expf); 0 below -87. Not a number stays not a
// number, or a diverged run would go on unseen: hence comparisons that are false for it.
SOFTFLOW_INLINE Vec Exp(Vec x) {
  const Vec below = x > Splat(88.3f) ? Splat(88.3f) : x;
  const Vec clamped = below < Splat(-87.3f) ? Splat(-87.3f) : below;
  const Vec magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vec shifted = clamped * Splat(1.44269504088896341f) + magic;
  const Vec n = shifted - magic;
  Vec r = clamped - n * Splat(0.693359375f);
  r = r - n * Splat(-2.12194440e-4f);
  Vec p = Splat(1.9875691500e-4f);
  p = p * r + Splat(1.3981999507e-3f);
  p = p * r + Splat(8.3334519073e-3f);
  p = p * r + Splat(4.1665795894e-2f);
  p = p * r + Splat(1.6666665459e-1f);
  p = p * r + Splat(5.0000001201e-1f);
  p = p * r * r + r + Splat(1.0f);
  const IntVec exponent = (__builtin_convertvector(n, IntVec) + 127) << 23;
  const Vec result = p * reinterpret_cast<const Vec&>(exponent);
  return x < Splat(-87.3f) ? Vec{} : result;
}

SOFTFLOW_INLINE Vec Sigmoid(Vec x) { return Splat(1.0f) / (Splat(1.0f) + Exp(-x)); }

// ---- c[m, n] (+)= a[m, k] b[k, n]; a by strides, so that a transposed one costs nothing; n a multiple of 16 ----

struct Matrix {
  const float* data;
  int64_t row;
  int64_t column;
};

template <int Rows, int Vectors>
SOFTFLOW_INLINE void Block(int64_t depth, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  Vec sum[Rows][Vectors];
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < Vectors; j++) sum[i][j] = add ? Load(c + i * ldc + j * kLanes) : Vec{};
  for (int64_t k = 0; k < depth; k++) {
    Vec row[Vectors];
    for (int j = 0; j < Vectors; j++) row[j] = Load(b + k * ldb + j * kLanes);
    for (int i = 0; i < Rows; i++) {
      const Vec factor = Splat(a.data[i * a.row + k * a.column]);
      for (int j = 0; j < Vectors; j++) sum[i][j] += factor * row[j];
    }
  }
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < Vectors; j++) Store(c + i * ldc + j * kLanes, sum[i][j]);
}

// One vector alone takes twice the rows, or its sums would wait for each other.
template <int Vectors>
SOFTFLOW_INLINE void Columns(int64_t m, int64_t depth, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc,
                             bool add) {
  constexpr int kRows = Vectors == 1 ? 2 * SOFTFLOW_ROWS : SOFTFLOW_ROWS;
  int64_t i = 0;
  const auto block = [&](auto rows) __attribute__((always_inline)) {
    for (; i + rows <= m; i += rows)
      Block<rows, Vectors>(depth, {a.data + i * a.row, a.row, a.column}, b, ldb, c + i * ldc, ldc, add);
  };
  block(std::integral_constant<int, kRows>());
  block(std::integral_constant<int, 2>());
  block(std::integral_constant<int, 1>());
}

static void Multiply(int64_t m, int64_t n, int64_t depth, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc,
                     bool add) {
  int64_t j = 0;
  for (; j + SOFTFLOW_VECTORS * kLanes <= n; j += SOFTFLOW_VECTORS * kLanes)
    Columns<SOFTFLOW_VECTORS>(m, depth, a, b + j, ldb, c + j, ldc, add);
  for (; j < n; j += kLanes) Columns<1>(m, depth, a, b + j, ldb, c + j, ldc, add);
}

// ---- rows ----

static void RmsNorm(int64_t from, int64_t to, int64_t width, const float* x, const float* delta, const float* w,
                    float eps, float* sum, float* y, float* r) {
  for (int64_t t = from; t < to; t++) {
    const float* row = x + t * width;
    if (delta != nullptr) {
      float* out = sum + t * width;
      const float* d = delta + t * width;
      for (int64_t i = 0; i < width; i++) out[i] = row[i] + d[i];
      row = out;
    }
    Vec squares{};
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) squares += Load(row + i) * Load(row + i);
    float total = Sum(squares);
    for (; i < width; i++) total += row[i] * row[i];
    const float scale = 1.0f / __builtin_sqrtf(total / static_cast<float>(width) + eps);
    r[t] = scale;
    float* out = y + t * width;
    for (int64_t j = 0; j < width; j++) out[j] = row[j] * scale * w[j];
  }
}

static void RmsNormGrad(int64_t from, int64_t to, int64_t width, const float* const* dys, int64_t count,
                        const float* x, const float* w, const float* r, const float* residual, float* dx) {
  for (int64_t t = from; t < to; t++) {
    const float* row = x + t * width;
    float* out = dx + t * width;
    Vec dots{};
    ForVectors(0, width, [&](int64_t i, int64_t some) {
      Vec dy = LoadSome(dys[0] + t * width + i, some);
      for (int64_t c = 1; c < count; c++) dy += LoadSome(dys[c] + t * width + i, some);
      dy *= LoadSome(w + i, some);
      StoreSome(out + i, dy, some);
      dots += dy * LoadSome(row + i, some);
    });
    const float dot = Sum(dots);
    const Vec scale = Splat(r[t]);
    const Vec back = Splat(dot / static_cast<float>(width) * r[t] * r[t] * r[t]);
    ForVectors(0, width, [&](int64_t i, int64_t some) {
      Vec grad = LoadSome(out + i, some) * scale - LoadSome(row + i, some) * back;
      if (residual != nullptr) grad = LoadSome(residual + t * width + i, some) + grad;
      StoreSome(out + i, grad, some);
    });
  }
}

static void Rope(int64_t from, int64_t to, int64_t heads, int64_t half, const float* x, const float* cos,
                 const float* sin, float sign, float* y) {
  for (int64_t t = from; t < to; t++)
    for (int64_t h = 0; h < heads; h++) {
      const float* a = x + (t * heads + h) * 2 * half;
      float* out = y + (t * heads + h) * 2 * half;
      const float* c = cos + t * half;
      const float* s = sin + t * half;
      for (int64_t i = 0; i < half; i++) {
        out[i] = a[i] * c[i] - a[half + i] * (sign * s[i]);
        out[half + i] = a[half + i] * c[i] + a[i] * (sign * s[i]);
      }
    }
}

// The `count` greatest of a row with the least index first among equals, less the logarithm of the sum of all exponentials.
static void BestTokens(int64_t width, int64_t count, const float* row, float* values, int32_t* ids) {
  int64_t kept = 0;
  for (int64_t i = 0; i < width; i += kLanes) {
    const int64_t some = width - i < kLanes ? width - i : kLanes;
    if (kept == count && some == kLanes && !(MaxOf(Load(row + i)) > values[count - 1])) continue;
    for (int64_t j = i; j < i + some; j++) {
      if (kept == count && !(row[j] > values[count - 1])) continue;
      int64_t at = kept < count ? kept++ : count - 1;
      for (; at > 0 && values[at - 1] < row[j]; at--) {
        values[at] = values[at - 1];
        ids[at] = ids[at - 1];
      }
      values[at] = row[j];
      ids[at] = static_cast<int32_t>(j);
    }
  }
  const float top = values[0];
  Vec sums{};
  float rest = 0;
  ForVectors(0, width, [&](int64_t i, int64_t some) {
    const Vec e = Exp(LoadSome(row + i, some) - Splat(top));
    if (some == kLanes)
      sums += e;
    else
      for (int64_t j = 0; j < some; j++) rest += e[j];
  });
  const float normaliser = top + __builtin_logf(Sum(sums) + rest);
  for (int64_t i = 0; i < count; i++) values[i] -= normaliser;
}

// The sum is of exp(x - max), in pieces of so many; grad holds these exponentials until it is known.
constexpr int64_t kSummed = 512;
static void CrossEntropy(int64_t from, int64_t to, int64_t width, const float* logits, const int32_t* ids, float* loss,
                         float* grad) {
  for (int64_t t = from; t < to; t++) {
    const float* row = logits + t * width;
    float* out = grad + t * width;
    Vec best = Splat(-__builtin_inff());
    ForVectors(0, width, [&](int64_t i, int64_t count) {
      Vec x = LoadSome(row + i, count);
      for (int64_t j = count; j < kLanes; j++) x[j] = row[0];
      best = Max(best, x);
    });
    const float top = MaxOf(best);
    double sum = 0;
    for (int64_t start = 0; start < width; start += kSummed) {
      const int64_t end = width - start < kSummed ? width : start + kSummed;
      Vec sums{};
      ForVectors(start, end, [&](int64_t i, int64_t count) {
        Vec e = Exp(LoadSome(row + i, count) - Splat(top));
        StoreSome(out + i, e, count);
        for (int64_t j = count; j < kLanes; j++) e[j] = 0;
        sums += e;
      });
      sum += Sum(sums);
    }
    const Vec whole = Splat(static_cast<float>(sum));
    ForVectors(0, width, [&](int64_t i, int64_t count) { StoreSome(out + i, LoadSome(out + i, count) / whole, count); });
    out[ids[t]] -= 1.0f;
    loss[t] = static_cast<float>(__builtin_log(sum) + (static_cast<double>(top) - row[ids[t]]));
  }
}

static void SwiGlu(int64_t from, int64_t to, const float* g, const float* u, float* a) {
  ForVectors(from, to, [&](int64_t i, int64_t count) {
    const Vec gate = LoadSome(g + i, count);
    StoreSome(a + i, gate * Sigmoid(gate) * LoadSome(u + i, count), count);
  });
}

static void SwiGluGrad(int64_t from, int64_t to, const float* da, const float* g, const float* u, float* dg,
                       float* du) {
  ForVectors(from, to, [&](int64_t i, int64_t count) {
    const Vec gate = LoadSome(g + i, count);
    const Vec d = LoadSome(da + i, count);
    const Vec sigmoid = Sigmoid(gate);
    const Vec silu = gate * sigmoid;
    StoreSome(du + i, d * silu, count);
    StoreSome(dg + i, d * LoadSome(u + i, count) * (sigmoid + silu - silu * sigmoid), count);
  });
}

// c[m, n] (+)= a[m, k] b[k, n] for any n.
static void MultiplyAny(int64_t m, int64_t n, int64_t depth, Matrix a, const float* b, int64_t ldb, float* c,
                        int64_t ldc, bool add) {
  const int64_t whole = n / kLanes * kLanes, rest = n - whole;
  Multiply(m, whole, depth, a, b, ldb, c, ldc, add);
  if (rest == 0) return;
  for (int64_t i = 0; i < m; i++) {
    float* to = c + i * ldc + whole;
    Vec sum = add ? LoadSome(to, rest) : Vec{};
    for (int64_t k = 0; k < depth; k++)
      sum += Splat(a.data[i * a.row + k * a.column]) * LoadSome(b + k * ldb + whole, rest);
    StoreSome(to, sum, rest);
  }
}

// dots[i, j] = x[i] . w[j], so many at once that none waits for its own last sum.
template <int Rows, int Ranks>
SOFTFLOW_INLINE void DotBlock(int64_t width, const float* x, const float* w, float* dots, int64_t ldd) {
  Vec sums[Rows][Ranks];
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < Ranks; j++) sums[i][j] = Vec{};
  ForVectors(0, width, [&](int64_t at, int64_t count) __attribute__((always_inline)) {
    Vec ws[Ranks];
    for (int j = 0; j < Ranks; j++) ws[j] = LoadSome(w + j * width + at, count);
    for (int i = 0; i < Rows; i++) {
      const Vec row = LoadSome(x + i * width + at, count);
      for (int j = 0; j < Ranks; j++) sums[i][j] += row * ws[j];
    }
  });
  for (int i = 0; i < Rows; i++)
    for (int j = 0; j < Ranks; j++) dots[i * ldd + j] = Sum(sums[i][j]);
}

template <int Rows>
SOFTFLOW_INLINE void DotRows(int64_t width, int64_t rank, const float* x, const float* w, float* dots) {
  int64_t r = 0;
  for (; r + SOFTFLOW_VECTORS <= rank; r += SOFTFLOW_VECTORS)
    DotBlock<Rows, SOFTFLOW_VECTORS>(width, x, w + r * width, dots + r, rank);
  for (; r < rank; r++) DotBlock<Rows, 1>(width, x, w + r * width, dots + r, rank);
}

// dots[m, rank] = x[m, width] w[rank, width]^T.
static void Dots(int64_t m, int64_t width, int64_t rank, const float* x, const float* w, float* dots) {
  int64_t i = 0;
  for (; i + SOFTFLOW_ROWS <= m; i += SOFTFLOW_ROWS)
    DotRows<SOFTFLOW_ROWS>(width, rank, x + i * width, w, dots + i * rank);
  for (; i < m; i++) DotRows<1>(width, rank, x + i * width, w, dots + i * rank);
}

// Rows of the adapter that are worked on together stay in the core's own cache.
constexpr int64_t kTogether = 32;

SOFTFLOW_INLINE void Scaled(int64_t count, const float* x, float scale, float* y) {
  for (int64_t i = 0; i < count; i++) y[i] = x[i] * scale;
}

// y = x with some elements dropped, for the rows [first, first + rows) of the pass; the same hash of (key, place) as
// model/dropout.ts.
static void Drop(int64_t first, int64_t rows, int64_t width, const float* x, const Dropped& dropped, float* y) {
  const UintVec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const UintVec threshold = UintVec{} + dropped.threshold;
  const Vec kept = Splat(dropped.kept);
  for (int64_t t = 0; t < rows; t++) {
    const uint32_t place = static_cast<uint32_t>(dropped.tokens[first + t]) * static_cast<uint32_t>(width);
    const uint32_t key = static_cast<uint32_t>(dropped.keys[first + t]);
    ForVectors(0, width, [&](int64_t i, int64_t count) {
      UintVec h = (lanes + (place + static_cast<uint32_t>(i))) * 0x9e3779b1u + key;
      h ^= h >> 16;
      h *= 0x85ebca6bu;
      h ^= h >> 13;
      h *= 0xc2b2ae35u;
      h ^= h >> 16;
      StoreSome(y + t * width + i, LoadSome(x + t * width + i, count) * (h >= threshold ? kept : Vec{}), count);
    });
  }
}

// sum = y + scale (d a^T) b^T and down = d a^T, with d = x after dropout where there is one and b given as b_t [rank, out].
static void LowRank(int64_t from, int64_t to, int64_t width, int64_t out, int64_t rank, const float* y, const float* x,
                    const float* a, const float* b_t, float scale, const Dropped* dropped, float* sum, float* down) {
  Scratch scratch(kTogether * (rank + width));
  float* scaled = scratch.take(kTogether * rank);
  float* kept = scratch.take(kTogether * width);
  for (int64_t t = from; t < to; t += kTogether) {
    const int64_t rows = to - t < kTogether ? to - t : kTogether;
    if (dropped != nullptr) Drop(t, rows, width, x + t * width, *dropped, kept);
    Dots(rows, width, rank, dropped == nullptr ? x + t * width : kept, a, down + t * rank);
    Scaled(rows * rank, down + t * rank, scale, scaled);
    MultiplyAny(rows, out, rank, {scaled, rank, 1}, b_t, out, sum + t * out, out, false);
    ForVectors(t * out, (t + rows) * out, [&](int64_t i, int64_t count) {
      StoreSome(sum + i, LoadSome(y + i, count) + LoadSome(sum + i, count), count);
    });
  }
}

// With up = scale dy b: dx = up a, dropped where x was; da = up^T d and db_t = scale down^T dy, of these rows alone.
static void LowRankGrad(int64_t from, int64_t to, int64_t width, int64_t out, int64_t rank, const float* dy,
                        const float* x, const float* down, const float* a, const float* b_t, float scale,
                        const Dropped* dropped, float* dx, float* da, float* db_t) {
  Scratch scratch(2 * kTogether * (rank + width));
  float* up = scratch.take(kTogether * rank);
  float* scaled = scratch.take(kTogether * rank);
  float* kept = scratch.take(kTogether * width);
  float* grad = scratch.take(kTogether * width);
  for (int64_t t = from; t < to; t += kTogether) {
    const int64_t rows = to - t < kTogether ? to - t : kTogether;
    Dots(rows, out, rank, dy + t * out, b_t, up);
    Scaled(rows * rank, up, scale, up);
    Scaled(rows * rank, down + t * rank, scale, scaled);
    if (dropped != nullptr) Drop(t, rows, width, x + t * width, *dropped, kept);
    MultiplyAny(rows, width, rank, {up, rank, 1}, a, width, dropped == nullptr ? dx + t * width : grad, width, false);
    if (dropped != nullptr) Drop(t, rows, width, grad, *dropped, dx + t * width);
    MultiplyAny(rank, width, rows, {up, 1, rank}, dropped == nullptr ? x + t * width : kept, width, da, width, t > from);
    MultiplyAny(rank, out, rows, {scaled, 1, rank}, dy + t * out, out, db_t, out, t > from);
  }
}

// ---- attention: one part and one kv head at a time; nothing leaves the caches but what is asked for ----

constexpr int64_t kBlockRows = 24;

SOFTFLOW_INLINE const float* KeyRow(const float* x, const Part& part, int64_t width, int64_t j) {
  return x + (j < part.prefix ? j : part.start + j - part.prefix) * width;
}

// [keys, size] of one kv head, copied together; with `transposed` also [size, padded keys].
static void Gather(const Heads& heads, const Part& part, int64_t kv_head, const float* x, float* rows,
                   float* transposed) {
  const int64_t keys = part.keys(), padded = RoundUp(keys), size = heads.size;
  for (int64_t j = 0; j < padded; j++) {
    float* out = rows + j * size;
    if (j < keys)
      __builtin_memcpy(out, KeyRow(x, part, heads.kv_width(), j) + kv_head * size, size * sizeof(float));
    else
      __builtin_memset(out, 0, size * sizeof(float));
  }
  if (transposed == nullptr) return;
  for (int64_t j = 0; j < padded; j += kLanes)
    for (int64_t i = 0; i < size; i += kLanes) Transpose(rows + j * size + i, size, transposed + i * padded + j, padded);
}

// Keys that a row of the part sees: [0, first) and [second, end).
struct Sight {
  int64_t first, second, end;
};

SOFTFLOW_INLINE Sight SightOf(const Part& part, int64_t row) {
  const int64_t answer = part.rest + part.target;
  if (row < answer) return {part.prefix + row + 1, part.prefix + row + 1, part.prefix + row + 1};
  return {part.prefix + part.rest, part.prefix + answer, part.prefix + row + 1};
}

SOFTFLOW_INLINE void Hide(float* scores, const Sight& sight, int64_t padded) {
  const float hidden = -__builtin_inff();
  for (int64_t j = sight.first; j < sight.second; j++) scores[j] = hidden;
  for (int64_t j = sight.end; j < padded; j++) scores[j] = hidden;
}

SOFTFLOW_INLINE float SoftmaxRow(float* s, int64_t padded, float scale) {
  Vec best = Splat(-__builtin_inff());
  for (int64_t j = 0; j < padded; j += kLanes) best = Max(best, Load(s + j));
  const float top = MaxOf(best) * scale;
  Vec sums{};
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Vec e = Exp(Load(s + j) * Splat(scale) - Splat(top));
    Store(s + j, e);
    sums += e;
  }
  const float sum = Sum(sums);
  const Vec inverse = Splat(1.0f / sum);
  for (int64_t j = 0; j < padded; j += kLanes) Store(s + j, Load(s + j) * inverse);
  return top + __builtin_logf(sum);
}

static void Attention(const Heads& heads, const Part& part, int64_t kv_head, const float* q, const float* k,
                      const float* v, float* o, float* lse) {
  const int64_t size = heads.size, rows = part.rows(), all = RoundUp(part.keys());
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(size));
  Scratch scratch(3 * all * size + kBlockRows * all);
  float* key_rows = scratch.take(all * size);
  float* keys = scratch.take(all * size);
  float* values = scratch.take(all * size);
  float* scores = scratch.take(kBlockRows * all);
  Gather(heads, part, kv_head, k, key_rows, keys);
  Gather(heads, part, kv_head, v, values, nullptr);
  for (int64_t g = 0; g < heads.groups(); g++) {
    const int64_t head = kv_head * heads.groups() + g;
    for (int64_t i = 0; i < rows; i += kBlockRows) {
      const int64_t count = rows - i < kBlockRows ? rows - i : kBlockRows;
      const int64_t padded = RoundUp(SightOf(part, i + count - 1).end);
      const int64_t at = (part.start + i) * heads.query_width() + head * size;
      Multiply(count, padded, size, {q + at, heads.query_width(), 1}, keys, all, scores, all, false);
      for (int64_t t = 0; t < count; t++) {
        Hide(scores + t * all, SightOf(part, i + t), padded);
        lse[(part.start + i + t) * heads.heads + head] = SoftmaxRow(scores + t * all, padded, scale);
      }
      Multiply(count, size, padded, {scores, all, 1}, values, size, o + at, heads.query_width(), false);
    }
  }
}

static void AttentionGrad(const Heads& heads, const Part& part, int64_t kv_head, const float* d_o, const float* q,
                          const float* k, const float* v, const float* o, const float* lse, float* dq, float* dk,
                          float* dv, float* prefix_dk, float* prefix_dv) {
  const int64_t size = heads.size, rows = part.rows(), all = RoundUp(part.keys()), width = heads.query_width();
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(size));
  Scratch scratch(6 * all * size + 2 * kBlockRows * all);
  float* keys = scratch.take(all * size);
  float* keys_t = scratch.take(all * size);
  float* values = scratch.take(all * size);
  float* values_t = scratch.take(all * size);
  float* d_keys = scratch.take(all * size);
  float* d_values = scratch.take(all * size);
  float* weights = scratch.take(kBlockRows * all);
  float* d_scores = scratch.take(kBlockRows * all);
  Gather(heads, part, kv_head, k, keys, keys_t);
  Gather(heads, part, kv_head, v, values, values_t);
  __builtin_memset(d_keys, 0, all * size * sizeof(float));
  __builtin_memset(d_values, 0, all * size * sizeof(float));
  for (int64_t g = 0; g < heads.groups(); g++) {
    const int64_t head = kv_head * heads.groups() + g;
    for (int64_t i = 0; i < rows; i += kBlockRows) {
      const int64_t count = rows - i < kBlockRows ? rows - i : kBlockRows;
      const int64_t padded = RoundUp(SightOf(part, i + count - 1).end);
      const int64_t at = (part.start + i) * width + head * size;
      Multiply(count, padded, size, {q + at, width, 1}, keys_t, all, weights, all, false);
      Multiply(count, padded, size, {d_o + at, width, 1}, values_t, all, d_scores, all, false);
      for (int64_t t = 0; t < count; t++) {
        Hide(weights + t * all, SightOf(part, i + t), padded);
        Vec dots{};
        for (int64_t j = 0; j < size; j += kLanes) dots += Load(d_o + at + t * width + j) * Load(o + at + t * width + j);
        const Vec dot = Splat(Sum(dots));
        const Vec shift = Splat(lse[(part.start + i + t) * heads.heads + head]);
        for (int64_t j = 0; j < padded; j += kLanes) {
          float* w = weights + t * all + j;
          float* d = d_scores + t * all + j;
          const Vec p = Exp(Load(w) * Splat(scale) - shift);
          Store(w, p);
          Store(d, p * (Load(d) - dot) * Splat(scale));
        }
      }
      Multiply(count, size, padded, {d_scores, all, 1}, keys, size, dq + at, width, false);
      Multiply(padded, size, count, {d_scores, 1, all}, q + at, width, d_keys, size, true);
      Multiply(padded, size, count, {weights, 1, all}, d_o + at, width, d_values, size, true);
    }
  }
  for (int64_t j = 0; j < part.keys(); j++) {
    const bool own = j >= part.prefix;
    const int64_t at = (part.start + j - part.prefix) * heads.kv_width() + kv_head * size;
    __builtin_memcpy(own ? dk + at : prefix_dk + j * size, d_keys + j * size, size * sizeof(float));
    __builtin_memcpy(own ? dv + at : prefix_dv + j * size, d_values + j * size, size * sizeof(float));
  }
}

SOFTFLOW_INLINE void Fetch(int64_t rows, int64_t width, int64_t stride, const float* x) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < width; j += kLanes) __builtin_prefetch(x + i * stride + j, 0, 2);
}

// One new token of each of a prompt's beams; all query rows of a kv head lie in one vector's lanes or a few.
static void Decode(const Heads& heads, const DecodePart& part, int64_t kv_head, const DecodeInput& in, float* o) {
  const int64_t size = heads.size, width = heads.query_width(), kv = heads.kv_width(), groups = heads.groups();
  const int64_t queries = part.beams * groups, lanes = RoundUp(queries);
  const int64_t shared = in.prefix + part.prompt_rest, keys = shared + in.steps;
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(size));
  Scratch scratch(size * lanes + keys * lanes + queries * size);
  float* q_t = scratch.take(size * lanes);       // [size, lanes]
  float* scores = scratch.take(keys * lanes);    // [keys, lanes]
  float* out = scratch.take(queries * size);     // [queries, size]
  __builtin_memset(q_t, 0, size * lanes * sizeof(float));
  for (int64_t b = 0; b < part.beams; b++)
    for (int64_t g = 0; g < groups; g++)
      for (int64_t i = 0; i < size; i++)
        q_t[i * lanes + b * groups + g] = in.q[(part.row + b) * width + (kv_head * groups + g) * size + i] * scale;
  const float* k = in.prompt_k + kv_head * size;
  const float* v = in.prompt_v + kv_head * size;
  // The prompt's own rows come from memory, in pieces too short for the processor to see them coming.
  Fetch(part.prompt_rest, size, kv, k + part.prompt_start * kv);
  Multiply(in.prefix, lanes, size, {k, kv, 1}, q_t, lanes, scores, lanes, false);
  Fetch(part.prompt_rest, size, kv, v + part.prompt_start * kv);
  Multiply(part.prompt_rest, lanes, size, {k + part.prompt_start * kv, kv, 1}, q_t, lanes, scores + in.prefix * lanes,
           lanes, false);
  for (int64_t n = 0; n < in.steps; n++)
    for (int64_t b = 0; b < part.beams; b++) {
      const int64_t slot = in.ancestors[(part.row + b) * in.steps + n];
      const float* own = in.cache_k + (n * in.slots + slot) * kv + kv_head * size;
      for (int64_t g = 0; g < groups; g++) {
        float dot = 0;
        const float* query = in.q + (part.row + b) * width + (kv_head * groups + g) * size;
        Vec dots{};
        for (int64_t i = 0; i < size; i += kLanes) dots += Load(query + i) * Load(own + i);
        dot = Sum(dots) * scale;
        scores[(shared + n) * lanes + b * groups + g] = dot;
      }
      for (int64_t i = queries; i < lanes; i++) scores[(shared + n) * lanes + i] = 0;
    }
  for (int64_t c = 0; c < lanes; c += kLanes) {
    Vec best = Splat(-__builtin_inff());
    for (int64_t j = 0; j < keys; j++) best = Max(best, Load(scores + j * lanes + c));
    Vec sum{};
    for (int64_t j = 0; j < keys; j++) {
      const Vec e = Exp(Load(scores + j * lanes + c) - best);
      Store(scores + j * lanes + c, e);
      sum += e;
    }
    const Vec inverse = Splat(1.0f) / sum;
    for (int64_t j = 0; j < keys; j++) Store(scores + j * lanes + c, Load(scores + j * lanes + c) * inverse);
  }
  Multiply(queries, size, in.prefix, {scores, 1, lanes}, v, kv, out, size, false);
  Multiply(queries, size, part.prompt_rest, {scores + in.prefix * lanes, 1, lanes}, v + part.prompt_start * kv, kv, out,
           size, true);
  for (int64_t b = 0; b < part.beams; b++)
    for (int64_t g = 0; g < groups; g++) {
      float* row = out + (b * groups + g) * size;
      for (int64_t n = 0; n < in.steps; n++) {
        const int64_t slot = in.ancestors[(part.row + b) * in.steps + n];
        const float* own = in.cache_v + (n * in.slots + slot) * kv + kv_head * size;
        const Vec weight = Splat(scores[(shared + n) * lanes + b * groups + g]);
        for (int64_t i = 0; i < size; i += kLanes) Store(row + i, Load(row + i) + weight * Load(own + i));
      }
      __builtin_memcpy(o + (part.row + b) * width + (kv_head * groups + g) * size, row, size * sizeof(float));
    }
}

static const Math kMath = {SOFTFLOW_NAME, RmsNorm,    RmsNormGrad,  Rope,    SwiGlu,     SwiGluGrad, Attention,
                           AttentionGrad, Decode, BestTokens, CrossEntropy, LowRank, LowRankGrad};

#undef SOFTFLOW_INLINE
