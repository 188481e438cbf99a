#include "apps/app.h"
#include "apps/version.h"

namespace emberq {

void add_bench(Command& app, const std::string& command_line) {
  Command command = app.subcommand("bench", "Measure speed on this machine");
  command.need_subcommand();
  const bench::Origin origin{
      .version = std::string(release()), .commit = std::string(commit()), .command = command_line};
  add_bench_ops(command, origin);
  add_bench_gemm(command, origin);
  add_bench_repack(command, origin);
  add_bench_attention(command, origin);
  add_bench_model(command, origin);
  add_bench_load(command, origin);
}

}  // namespace emberq
