#include "base/openblas.h"

#include <cblas.h>
#include <dlfcn.h>

#include <cstdlib>
#include <string_view>

namespace emberq {
namespace {

// OpenBLAS 0.3.21 takes processors newer than itself for a Prescott of 2004 and runs SSE3 kernels,
// four times slower. Where it did so though AVX2 is there, choose again by OPENBLAS_CORETYPE, which
// it reads in its initialization. A value that the user has set stands.
bool choose_kernels() {
#if defined(__x86_64__)
  const char* core = openblas_get_corename();
  const auto quit = reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "gotoblas_dynamic_quit"));
  const auto init = reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "gotoblas_dynamic_init"));
  if (core && std::string_view(core) == "Prescott" && __builtin_cpu_supports("avx2") &&
      !std::getenv("OPENBLAS_CORETYPE") && quit && init) {
    ::setenv("OPENBLAS_CORETYPE", __builtin_cpu_supports("avx512vl") ? "SkylakeX" : "Haswell", 1);
    quit();
    init();
    ::unsetenv("OPENBLAS_CORETYPE");
  }
#endif
  return true;
}

}  // namespace

void choose_openblas_kernels() { [[maybe_unused]] static const bool chosen = choose_kernels(); }

}  // namespace emberq
