// emberq: one program, a subcommand per job, each in the file of its name.
#include <fmt/format.h>

#include <csignal>

#include "apps/app.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/parallel.h"

namespace emberq {
namespace {

enum ExitStatus { kSuccess = 0, kFailedRun = 1, kBadInput = 2 };

int run(int argc, char** argv) {
  CLI::App app("Quantizes Hugging Face LLM checkpoints (FireQ) and runs them.", "emberq");
  app.set_version_flag("--version", "emberq " EMBERQ_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // --threads may stand after the command too
  app.get_formatter()->column_width(34);
  app.footer(
      "Exit status: 0 for success, 1 for a failed run, 2 for bad input, a full disk or Ctrl-C.");
  app.add_option_function<int>("--threads", set_threads, "Threads to use; by default all cores")
      ->check(CLI::Range(1, 4096))
      ->trigger_on_parse();

  add_inspect(app);
  add_eval(app);
  add_quantize(app);
  add_recipe(app);
  add_generate(app);
  add_logits(app);
  add_tokenize(app);
  add_bench(app);
  add_debug(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kSuccess : kBadInput;
  }
  return kSuccess;
}

}  // namespace
}  // namespace emberq

int main(int argc, char** argv) {
  using namespace emberq;
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is an error of write(), not the end
  catch_interrupts();
  try {
    return run(argc, argv);
  } catch (const InputError& e) {
    fmt::print(stderr, "emberq: {}\n", e.what());
    return kBadInput;
  } catch (const std::exception& e) {
    fmt::print(stderr, "emberq: {}\n", e.what());
    return kFailedRun;
  }
}
