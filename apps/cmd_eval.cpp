#include "apps/cmd_eval.h"

namespace emberq {

void add_windows(Command& command, std::string& text, PerplexityOptions& windows) {
  command.option("--text", text, "The text, a UTF-8 file").required();
  command.option("--seq-len", windows.window, "Tokens of a window").show_default();
  command.option("--num-samples", windows.max_windows, "Stop after this many windows; 0: all")
      .show_default();
}

void add_eval(Command& app) {
  Command eval = app.subcommand("eval", "Measure a model's quality");
  eval.need_subcommand();
  add_eval_ppl(eval);
  add_eval_kl(eval);
  add_eval_tasks(eval);
  add_eval_needle(eval);
}

}  // namespace emberq
