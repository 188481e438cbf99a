#include <fmt/format.h>

#include "apps/cmd_eval.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "eval/tasks.h"

namespace emberq {
namespace {

struct EvalTasksArguments {
  ModelOptions model;
  std::vector<std::string> tasks;
  std::string data;
  int64_t limit = 0;
  bool bos = false;
  bool json = false;
};

OrderedJson json_of(const TaskResult& result) {
  OrderedJson json = {
      {"items", result.items}, {"acc", result.accuracy}, {"acc_stderr", result.accuracy_error}};
  if (result.normalized) {
    json["acc_norm"] = *result.normalized;
    json["acc_norm_stderr"] = *result.normalized_error;
  }
  if (result.perplexity) json["perplexity"] = *result.perplexity;
  json["seconds"] = result.seconds;
  return json;
}

// Percent with its standard error.
std::string percent(double share, double error) {
  return fmt::format("{:.2f} ± {:.2f}", 100 * share, 100 * error);
}

std::vector<std::string> row_of(const std::string& task, const TaskResult& result) {
  return {task,
          fmt::format("{}", result.items),
          percent(result.accuracy, result.accuracy_error),
          result.normalized ? percent(*result.normalized, *result.normalized_error) : "",
          result.perplexity ? fmt::format("{:.3f}", *result.perplexity) : "",
          fmt::format("{:.1f}", result.seconds)};
}

void run(const EvalTasksArguments& options) {
  std::vector<Task> tasks;
  for (const std::string& name : options.tasks)
    tasks.push_back(load_task(name, options.data, options.limit));
  const Checkpoint checkpoint = Checkpoint::open(options.model.model);
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  const auto backend = backend_of(options.model);
  Model model = Model::load(checkpoint, *backend, kv_of(options.model));
  OrderedJson json = OrderedJson::object();
  std::vector<std::vector<std::string>> rows = {
      {"task", "items", "accuracy %", "normalized %", "perplexity", "seconds"}};
  for (const Task& task : tasks) {
    const TaskResult result = score_task(model, tokenizer, task,
                                         options.bos ? SpecialTokens::kAdd : SpecialTokens::kNone);
    json[task.name] = json_of(result);
    rows.push_back(row_of(task.name, result));
  }
  if (options.json) return print_json({{"tasks", json}});
  print_out("{}", format_table(rows));
}

}  // namespace

void add_eval_tasks(Command& eval) {
  Command command = eval.subcommand(
      "tasks", "Accuracy on zero-shot tasks, prompted and scored as lm-evaluation-harness does");
  const auto options = std::make_shared<EvalTasksArguments>();
  add_model(command, options->model);
  command
      .option("--tasks", options->tasks,
              fmt::format("Some of {}, with commas between", fmt::join(task_names(), ",")))
      .required()
      .comma_separated();
  command.option("--data", options->data, "The folder of the tasks' .jsonl files").required();
  command.flag("--bos", options->bos, "Put what the tokenizer adds, BOS mostly, before each text");
  command.option("--limit", options->limit, "The first items of each task only; 0: all")
      .show_default();
  add_execution(command, options->model);
  command.flag("--json", options->json,
               "Print one JSON object: tasks, by name items, acc, acc_stderr, seconds and, "
               "where it applies, acc_norm, acc_norm_stderr, perplexity");
  command.action([options] { run(*options); });
}

}  // namespace emberq
