#include "base/openblas.h"

#include <cblas.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/parallel.h"

namespace emberq {
namespace {

// OpenBLAS 0.3.21 takes processors newer than itself for a Prescott of 2004 and runs SSE3 kernels,
// four times slower. Where it did so though AVX2 is there, choose again by OPENBLAS_CORETYPE, which
// it reads in its initialization. A value that the user has set stands.
void choose_kernels() {
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
}

// A buffer of blas_memory_alloc(), driver/others/memory.c, which loops until mmap() gives it one:
// BUFFER_SIZE of common_x86_64.h, which no other architecture exceeds.
constexpr size_t kBufferBytes = size_t(32) << 22;
constexpr long kMostThreads = 128;  // of Debian's build

bool has_room(size_t buffers) {
  if (buffers == 0) return true;
  const size_t bytes = buffers * kBufferBytes;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory != MAP_FAILED && ::munmap(memory, bytes) == 0;
}

// A buffer for each thread, held from loading on, and one for each call at the same time, of which
// parallel_for makes as many as there are threads. OpenBLAS keeps them when they are free.
void reserve_buffers() {
  const auto wanted = size_t(std::max(threads(), 1));
  const size_t held = size_t(std::max(openblas_get_num_threads(), 0));
  const size_t missing = 2 * wanted - std::min(2 * wanted, held);
  EMBERQ_REQUIRE(
      has_room(missing),
      "too little memory: OpenBLAS needs {} more buffers of {} MiB for {} threads; raise "
      "the limit (ulimit -v) or take fewer (--threads)",
      missing, kBufferBytes >> 20, wanted);
  openblas_set_num_threads(int(wanted));
  const auto take = reinterpret_cast<void* (*)(int)>(dlsym(RTLD_DEFAULT, "blas_memory_alloc"));
  const auto give = reinterpret_cast<void (*)(void*)>(dlsym(RTLD_DEFAULT, "blas_memory_free"));
  if (!take || !give) return;
  std::vector<void*> buffers;
  for (size_t i = 0; i < wanted; ++i) buffers.push_back(take(0));
  for (void* buffer : buffers) give(buffer);
}

// OpenBLAS takes the buffers of its threads when it is loaded, before main() and before it can be
// asked anything: as many as there are processors, or OMP_NUM_THREADS where that is fewer. The
// loader runs this before the initialization of any library.
void check_room_to_load(int, char**, char** environment) {
  long processors = ::sysconf(_SC_NPROCESSORS_CONF);
  constexpr std::string_view kThreads = "OMP_NUM_THREADS=";
  for (char** at = environment; at && *at; ++at)
    if (std::strncmp(*at, kThreads.data(), kThreads.size()) == 0)
      if (const long asked = std::atol(*at + kThreads.size()); asked > 0)
        processors = std::min(processors, asked);
  if (has_room(size_t(std::clamp(processors, 1L, kMostThreads)))) return;
  constexpr std::string_view kMessage =
      "emberq: too little memory for the buffers of OpenBLAS, 128 MiB for each processor: raise "
      "the limit (ulimit -v) or take fewer (OMP_NUM_THREADS)\n";
  (void)!::write(STDERR_FILENO, kMessage.data(), kMessage.size());
  ::_exit(2);
}

[[gnu::section(".preinit_array"),
  gnu::used]] void (*const check_before_loading)(int, char**, char**) = check_room_to_load;

}  // namespace

void prepare_openblas() {
  [[maybe_unused]] static const bool prepared = [] {
    choose_kernels();
    reserve_buffers();
    return true;
  }();
}

}  // namespace emberq
