#include "apps/app.h"

namespace emberq {

void add_bench(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed on this machine");
  bench->require_subcommand(1);
  add_bench_gemm(*bench);
  add_bench_repack(*bench);
}

}  // namespace emberq
