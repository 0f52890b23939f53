// Applies TF_CPP_MIN_LOG_LEVEL to the library's logger, as TensorFlow's Python package does when it starts: the bare library
// never reads it and greets every process with notices. They are logged while libtensorflow_framework is being loaded, so
// this addon is linked with `-z initfirst`: its constructor runs before those of the library it needs. The level is a
// constant-initialised atomic in Abseil, which may be set that early.
#include <node_api.h>

#include <cstdlib>

#include "absl/log/globals.h"

__attribute__((constructor)) static void ApplyLogLevel() {
  const char* level = std::getenv("TF_CPP_MIN_LOG_LEVEL");
  if (level != nullptr) absl::SetMinLogLevel(static_cast<absl::LogSeverityAtLeast>(std::atoi(level)));
}

NAPI_MODULE_INIT() { return exports; }
