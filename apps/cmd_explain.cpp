#include "apps/app.h"
#include "apps/explain.h"
#include "base/check.h"
#include "base/json.h"
#include "base/print.h"

namespace emberq {
namespace {

struct ExplainArguments {
  ModelOptions model;
  int64_t batch = 1, context = 1024;
  bool json = false;
};

void run(const ExplainArguments& options) {
  EMBERQ_REQUIRE(options.batch >= 1 && options.context >= 1,
                 "--batch and --context must be at least 1");
  const Checkpoint checkpoint = Checkpoint::open(options.model.model);
  const auto device = backend_of(options.model);
  ExplainingBackend backend(*device);
  Model model = Model::load(checkpoint, backend, kv_of(options.model));
  const auto steps = steps_of(options.batch, options.context, options.context);
  if (options.json) return print_json(explanation_json(model, backend, steps));
  write_out(explanation(model, backend, steps));
}

}  // namespace

void add_explain(Command& app) {
  Command command =
      app.subcommand("explain",
                     "Which kernel runs each operation of a prompt and of a step, how, and how "
                     "near to the hardware's limit. docs/operations.md says what the numbers are");
  const auto options = std::make_shared<ExplainArguments>();
  add_model(command, options->model);
  command.option("--batch", options->batch, "Sequences at a time").show_default();
  command.option("--context", options->context, "Tokens of each prompt").show_default();
  add_execution(command, options->model);
  command.flag("--json", options->json,
               "Print one JSON object: backend and steps, each with sequences, new_tokens, context "
               "and operations");
  command.action([options] { run(*options); });
}

}  // namespace emberq
