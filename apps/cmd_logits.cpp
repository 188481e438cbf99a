#include <fmt/format.h>

#include "apps/app.h"
#include "base/json.h"
#include "checkpoint/shard_writer.h"
#include "model/logit_rows.h"

namespace emberq {
namespace {

struct LogitsArguments {
  ModelOptions model;
  std::vector<int> ids;
  std::string output;
  bool json = false;
};

void run(const LogitsArguments& options) {
  require_writable(options.output);
  const Checkpoint checkpoint = Checkpoint::open(options.model.model);
  const auto backend = backend_of(options.model);
  Model model = Model::load(checkpoint, *backend, kv_of(options.model));
  KvPool pool = model.make_pool(int64_t(options.ids.size()));
  KvSequence sequence(pool);
  const int64_t tokens = int64_t(options.ids.size());
  LogitRows rows(model, tokens);
  const Matrix<const float> logits = rows.on_host(model.forward(options.ids, sequence));
  write_safetensors(
      options.output,
      {{"logits", Tensor::copy_of(DType::kF32, {tokens, logits.cols},
                                  std::span(logits.data, size_t(tokens * logits.cols)))},
       {"input_ids", Tensor::copy_of(DType::kI32, {tokens}, std::span<const int>(options.ids))}});
  if (options.json)
    print_json({{"output", options.output},
                {"tokens", tokens},
                {"vocab_size", model.config().vocab_size}});
}

}  // namespace

void add_logits(Command& app) {
  Command command = app.subcommand("logits", "Write the logits that follow each of some token ids");
  const auto options = std::make_shared<LogitsArguments>();
  add_model(command, options->model);
  command.option("--ids", options->ids, "Token ids, with commas between: 1,2,3")
      .required()
      .comma_separated();
  command
      .option("-o,--output", options->output,
              "A .safetensors file: logits F32 [tokens, vocabulary] and input_ids I32 [tokens]")
      .required();
  add_execution(command, options->model);
  command.flag("--json", options->json, "Print one JSON object: output, tokens, vocab_size");
  command.action([options] { run(*options); });
}

}  // namespace emberq
