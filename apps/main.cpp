// emberq: one program, a subcommand per job, each in the file of its name.
#include <csignal>
#include <new>
#include <sstream>

#include "apps/app.h"
#include "apps/command_line.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/print.h"

namespace emberq {
namespace {

enum ExitStatus { kSuccess = 0, kFailedRun = 1, kBadInput = 2 };

void add_commands(CLI::App& app) {
  app.set_version_flag("--version", "emberq " EMBERQ_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // --threads may stand after the command too
  app.get_formatter()->column_width(34);
  app.footer(
      "Exit status: 0 for success, 1 for a failed run, 2 for bad input, Ctrl-C, a full disk, too "
      "little memory, or output that cannot be written. Where the reader of a pipe has gone, "
      "SIGPIPE ends the program (141 in a shell).");
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
  check_values(app);
}

void run(int argc, char** argv) {
  CLI::App app("Quantizes Hugging Face LLM checkpoints (FireQ) and runs them.", "emberq");
  add_commands(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) throw InputError(explain(app, error));
    std::ostringstream help;
    app.exit(error, help, help);
    write_out(help.str());
  }
  flush_out();
}

ExitStatus failed(ExitStatus status, std::string_view message) {
  write_error(fmt::format("emberq: {}\n", message));
  return status;
}

}  // namespace
}  // namespace emberq

int main(int argc, char** argv) {
  using namespace emberq;
  keep_standard_streams_apart();
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is an error of write(), not the end
  catch_interrupts();
  try {
    run(argc, argv);
    return kSuccess;
  } catch (const InputError& error) {
    return failed(kBadInput, error.what());
  } catch (const fs::filesystem_error& error) {
    return failed(kBadInput,
                  fmt::format("cannot use {}: {}", error.path1().string(), error.code().message()));
  } catch (const std::bad_alloc&) {
    return failed(kBadInput, "too little memory");
  } catch (const std::exception& error) {
    return failed(kFailedRun, error.what());
  }
}
