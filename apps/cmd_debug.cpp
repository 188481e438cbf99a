#include "apps/app.h"

namespace emberq {

void add_debug(CLI::App& app) {
  CLI::App* debug = app.add_subcommand("debug", "Commands that tests and developers use");
  debug->require_subcommand(1);
  debug->group("");  // not in --help
  add_debug_report(*debug);
}

}  // namespace emberq
