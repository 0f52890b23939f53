#include "softflow_math.h"

#include "softflow_cpu.h"

#include <cstdlib>
#include <new>
#include <type_traits>

namespace softflow {

// Working memory of one task; a thread keeps its own from task to task.
class Scratch {
 public:
  explicit Scratch(int64_t floats) {
    if (floats <= size_) return;
    std::free(data_);
    size_ = floats;
    data_ = static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64));
    if (data_ == nullptr) throw std::bad_alloc();
  }
  float* take(int64_t floats) {
    float* taken = data_ + used_;
    used_ += floats;
    return taken;
  }

 private:
  static thread_local float* data_;
  static thread_local int64_t size_;
  int64_t used_ = 0;
};
thread_local float* Scratch::data_ = nullptr;
thread_local int64_t Scratch::size_ = 0;

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
namespace avx512 {
#define SOFTFLOW_ROWS 6
#define SOFTFLOW_VECTORS 4
#define SOFTFLOW_NAME "avx512"
#include "softflow_math.inc.h"
#undef SOFTFLOW_ROWS
#undef SOFTFLOW_VECTORS
#undef SOFTFLOW_NAME
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define SOFTFLOW_ROWS 3
#define SOFTFLOW_VECTORS 2
#define SOFTFLOW_NAME "avx2"
#include "softflow_math.inc.h"
#undef SOFTFLOW_ROWS
#undef SOFTFLOW_VECTORS
#undef SOFTFLOW_NAME
}  // namespace avx2
#pragma GCC pop_options
#endif

namespace portable {
#define SOFTFLOW_ROWS 2
#define SOFTFLOW_VECTORS 2
#define SOFTFLOW_NAME "portable"
#include "softflow_math.inc.h"
}  // namespace portable

const Math& math() {
#if defined(__x86_64__)
  static const Math& chosen = HasAvx512() ? avx512::kMath : HasAvx2() ? avx2::kMath : portable::kMath;
  return chosen;
#else
  return portable::kMath;
#endif
}

}  // namespace softflow
