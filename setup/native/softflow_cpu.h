// Which of the instruction sets that functions are compiled for may be used.
#ifndef SOFTFLOW_CPU_H_
#define SOFTFLOW_CPU_H_

#include <cstdlib>
#include <cstring>

namespace softflow {

// SOFTFLOW_INSTRUCTIONS names the best set that is allowed, in this order; without it every set is.
inline bool Allowed(const char* set) {
  static const char* const kSets[] = {"portable", "avx2", "avx512", "avx512_bf16", "amx"};
  const char* limit = std::getenv("SOFTFLOW_INSTRUCTIONS");
  if (limit == nullptr || *limit == '\0') return true;
  for (const char* each : kSets) {
    if (std::strcmp(each, set) == 0) return true;
    if (std::strcmp(each, limit) == 0) return false;
  }
  return true;
}

#if defined(__x86_64__)
inline bool HasAvx512() {
  return Allowed("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
inline bool HasAvx2() {
  return Allowed("avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

}  // namespace softflow

#endif  // SOFTFLOW_CPU_H_
