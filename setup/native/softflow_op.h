// What all of softflow's TensorFlow ops need.
#ifndef SOFTFLOW_OP_H_
#define SOFTFLOW_OP_H_

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

#define SOFTFLOW_REGISTER(name, kernel) \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU), kernel)

namespace softflow {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::UnknownShape;

// `body(from, to)` for pieces of [0, total), on the threads of the library; `cost` is in cycles of one of them.
template <typename Body>
void Parallel(OpKernelContext* context, int64_t total, int64_t cost, Body body) {
  const auto& threads = *context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(threads.num_threads, threads.workers, total, cost, body);
}

inline const float* Floats(const Tensor& tensor) { return tensor.flat<float>().data(); }
inline float* Floats(Tensor* tensor) { return tensor->flat<float>().data(); }

}  // namespace softflow

#endif  // SOFTFLOW_OP_H_
