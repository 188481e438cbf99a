// emberq: one program, a subcommand per job, each in the file of its name.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <new>

#include "apps/app.h"
#include "apps/version.h"
#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/print.h"

namespace emberq {
namespace {

enum ExitStatus { kSuccess = 0, kFailedRun = 1, kBadInput = 2 };

// As a shell would be given it, but for quotes; whatever the program's file is.
std::string command_line(int argc, char** argv) {
  return fmt::format("emberq {}", fmt::join(argv + std::min(argc, 1), argv + argc, " "));
}

void run(int argc, char** argv) {
  Program program(
      "emberq", "Quantizes Hugging Face LLM checkpoints and runs them.",
      fmt::format("emberq {}", version()),
      "Exit status: 0 for success, 1 for a failed run, 2 for bad input, Ctrl-C, a full disk, too "
      "little memory, or output that cannot be written. Where the reader of a pipe has gone, "
      "SIGPIPE ends the program (141 in a shell).");
  program
      .early_option("--threads", set_threads,
                    "Threads to use; by default all cores that it may use")
      .between(1, 4096);
  add_inspect(program);
  add_explain(program);
  add_eval(program);
  add_quantize(program);
  add_recipe(program);
  add_generate(program);
  add_logits(program);
  add_tokenize(program);
  add_bench(program, command_line(argc, argv));
  add_debug(program);
  add_completion(program);
  program.run(argc, argv);
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
  set_default_threads();
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
