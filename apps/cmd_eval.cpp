#include "apps/cmd_eval.h"

namespace emberq {

void add_eval(CLI::App& app) {
  CLI::App* eval = app.add_subcommand("eval", "Measure a model's quality");
  eval->require_subcommand(1);
  add_eval_ppl(*eval);
  add_eval_kl(*eval);
  add_eval_tasks(*eval);
  add_eval_needle(*eval);
}

}  // namespace emberq
