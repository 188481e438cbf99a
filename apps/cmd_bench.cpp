#include "apps/app.h"

namespace emberq {

void add_bench(Command& app) {
  Command bench = app.subcommand("bench", "Measure speed on this machine");
  bench.need_subcommand();
  add_bench_gemm(bench);
  add_bench_repack(bench);
  add_bench_model(bench);
  add_bench_attention(bench);
}

}  // namespace emberq
