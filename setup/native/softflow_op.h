// What all of softflow's TensorFlow ops need.
#ifndef SOFTFLOW_OP_H_
#define SOFTFLOW_OP_H_

#include <optional>

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

// `body(i)` for each of a few large pieces, handed out one by one, since they are of very different sizes.
template <typename Body>
void ParallelEach(OpKernelContext* context, int64_t total, Body body) {
  using tensorflow::thread::ThreadPool;
  const ThreadPool::SchedulingParams one_by_one(ThreadPool::SchedulingStrategy::kFixedBlockSize, std::nullopt, 1);
  context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
      total, one_by_one, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; i++) body(i);
      });
}

// Checks type and alignment each time: to be called outside of loops.
inline const float* Floats(const Tensor& tensor) { return tensor.flat<float>().data(); }
inline float* Floats(Tensor* tensor) { return tensor->flat<float>().data(); }

}  // namespace softflow

#endif  // SOFTFLOW_OP_H_
