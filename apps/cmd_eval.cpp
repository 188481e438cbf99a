#include "apps/cmd_eval.h"

namespace emberq {

void add_windows(CLI::App& command, std::string& text, PerplexityOptions& windows) {
  command.add_option("--text", text, "The text, a UTF-8 file")->required();
  command.add_option("--window", windows.window, "Tokens of a window")->capture_default_str();
  command.add_option("--max-windows", windows.max_windows, "Stop after this many windows; 0: all")
      ->capture_default_str();
}

void add_eval(CLI::App& app) {
  CLI::App* eval = app.add_subcommand("eval", "Measure a model's quality");
  eval->require_subcommand(1);
  add_eval_ppl(*eval);
  add_eval_kl(*eval);
  add_eval_tasks(*eval);
  add_eval_needle(*eval);
}

}  // namespace emberq
