#include "base/parallel.h"

#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/cpu_limit.h"

namespace emberq {

void set_threads(int threads) { omp_set_num_threads(threads); }
int threads() { return omp_get_max_threads(); }

void set_default_threads() {
  if (std::getenv("OMP_NUM_THREADS")) return;
  const int processors = omp_get_num_procs();
  const auto limit = cgroup_cpu_limit();
  set_threads(limit ? std::clamp(int(std::ceil(*limit)), 1, processors) : processors);
}

// libgomp alone reads this variable.
#if defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
namespace {

// A thread of libgomp that waits at a barrier reads a flag 300,000 times before it sleeps, which is
// longer than a time slice. Where other processes keep the processors busy, it spends its slices on
// that while the thread that it waits for does not run. Seconds to quantize nano-wiki (emberq4, 4
// windows of 512) on two cores, alone and beside two busy processes, by tools/busy_machine.py:
//
//   reads   300,000  30,000  10,000  3,000  1,000     0
//   alone       4.4     4.5     4.5    4.6    4.6   5.3
//   beside      195    15.3    14.7   14.8   14.5  15.8
constexpr char kSpinCount[] = "GOMP_SPINCOUNT=10000";
constexpr size_t kMostVariables = 4096;

// libgomp reads the variable while it is loaded, so the program starts itself again with it, once.
// The loader runs this before it initializes any library, and the C library too: only system calls
// and getauxval() are used. Where the start fails, the program goes on as it is.
void restart_with_short_waits(int, char** arguments, char** environment) {
  static std::array<char*, kMostVariables + 2> changed;
  size_t count = 0;
  for (char** at = environment; at && *at; ++at) {
    const std::string_view variable = *at;
    if (variable.starts_with("OMP_WAIT_POLICY=") || variable.starts_with("GOMP_SPINCOUNT=")) return;
    if (count == kMostVariables) return;
    changed[count++] = *at;
  }
  // Started as an argument of the loader: /proc/self/exe would be the loader.
  if (::getauxval(AT_BASE) == 0) return;
  changed[count] = const_cast<char*>(kSpinCount);
  ::execve("/proc/self/exe", arguments, changed.data());
}

[[gnu::section(".preinit_array"),
  gnu::used]] void (*const restart_before_loading)(int, char**, char**) = restart_with_short_waits;

}  // namespace
#endif

}  // namespace emberq
