#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ops/backend.h"

// Backends as parameters of a suite. The name stands in the test's name, so that a run on a GPU
// chooses its cases by it.
namespace emberq::test {

// Null where the name is a GPU's and there is none; the test skips itself then.
inline std::unique_ptr<Backend> make_backend(std::string_view name) {
  if (name == "cpu") return make_cpu_backend();
  if (!cuda_available()) return nullptr;
  return make_cuda_backend(name == "cuda-naive"             ? CudaKernels::kNaive
                           : name == "cuda-batch-invariant" ? CudaKernels::kBatchInvariant
                                                            : CudaKernels::kFast);
}

// Each case, whose member `backend` is a name, on each of these backends.
template <class Case>
std::vector<Case> on_backends(const std::vector<std::string>& names,
                              const std::vector<Case>& cases) {
  std::vector<Case> all;
  for (const std::string& name : names)
    for (Case one : cases) {
      one.backend = name;
      all.push_back(one);
    }
  return all;
}

}  // namespace emberq::test
