#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "apps/app.h"
#include "apps/explain.h"
#include "base/json.h"
#include "base/print.h"
#include "base/warning.h"
#include "engine/generate.h"
#include "engine/generation_config.h"
#include "text/detokenizer.h"
#include "text/read_utf8.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

struct GenerateArguments {
  ModelOptions model;
  std::string prompt;
  GenerationChoice generation;
  bool json = false, explain = false;
  uint64_t seed = 0;
};

constexpr int64_t kMaxNewTokens = 128;

GenerateOptions generate_options_of(const GenerateArguments& options,
                                    const Checkpoint& checkpoint) {
  const GenerationConfig config =
      read_generation_config(checkpoint.folder(), checkpoint.config(), options.generation);
  if (!config.not_run.empty())
    warn(fmt::format("{} asks for {}, which emberq does not run: the text may be another",
                     config.path.string(), fmt::join(config.not_run, ", ")));
  return {.sampling = config.sampling,
          .seed = options.seed,
          .max_new_tokens = config.max_new_tokens.value_or(kMaxNewTokens)};
}

double rate(int64_t tokens, double seconds) { return seconds > 0 ? double(tokens) / seconds : 0; }

void run(const GenerateArguments& options) {
  const Checkpoint checkpoint = Checkpoint::open(options.model.model);
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  require_utf8(options.prompt, "--prompt");
  const std::vector<int> prompt = tokenizer.encode(options.prompt, SpecialTokens::kAdd);
  const GenerateOptions generate_options = generate_options_of(options, checkpoint);
  const auto device = backend_of(options.model);
  std::optional<ExplainingBackend> explaining;
  if (options.explain) explaining.emplace(*device);
  Backend& backend = explaining ? *explaining : *device;
  Model model = Model::load(checkpoint, backend, kv_of(options.model));
  if (explaining) {
    const int64_t length = int64_t(prompt.size()),
                  end = std::min(length + generate_options.max_new_tokens,
                                 model.config().max_positions);
    write_error(explanation(model, *explaining, steps_of(1, length, end)));
  }

  Detokenizer detokenizer(tokenizer);
  std::string text;
  bool begun = false;  // nothing is printed before generate() has checked what it was given
  const auto emit = [&](const std::string& piece) {
    text += piece;
    if (options.json) return;
    if (!std::exchange(begun, true)) write_out(options.prompt);
    write_out(piece);
    flush_out();
  };
  for (const int id : prompt) detokenizer.add(id);  // so that what follows is joined as in the text
  const Generation result =
      generate(model, prompt, generate_options, [&](int id) { emit(detokenizer.add(id)); });
  emit(detokenizer.finish());
  const int64_t decoded = int64_t(result.ids.size()) - 1;
  if (!options.json) return write_out("\n");
  print_json({{"prompt", options.prompt},
              {"text", text},
              {"prompt_ids", prompt},
              {"ids", result.ids},
              {"finish_reason", result.finish_reason == FinishReason::kStop ? "stop" : "length"},
              {"prompt_tokens_per_second", rate(int64_t(prompt.size()), result.prompt_seconds)},
              {"tokens_per_second", rate(decoded, result.decode_seconds)}});
}

}  // namespace

void add_generate(Command& app) {
  Command command = app.subcommand("generate", "Print a prompt and how the model continues it");
  const auto options = std::make_shared<GenerateArguments>();
  add_model(command, options->model);
  command.option("--prompt", options->prompt, "The text to continue").required();
  GenerationChoice& choice = options->generation;
  command.option("--max-new-tokens", choice.max_new_tokens,
                 "Stop after this many tokens; by default what generation_config.json says, "
                 "or else 128");
  Option greedy = command.flag("--greedy", choice.greedy, "Take the most likely token each time");
  const auto sampling = [&](Option option) { option.excludes(greedy); };
  sampling(command.option("--temperature", choice.temperature,
                          "Sampling temperature; 0 is greedy. This and the four below are by "
                          "default what generation_config.json says"));
  sampling(command.option("--top-p", choice.top_p,
                          "Sample from the fewest tokens whose probabilities reach this"));
  sampling(command.option("--top-k", choice.top_k,
                          "Sample from this many most likely tokens; 0: all. By default 50 "
                          "where generation_config.json names none, as transformers"));
  sampling(command.option("--min-p", choice.min_p,
                          "Sample from tokens at least this share as likely as the most "
                          "likely one"));
  command.option("--repetition-penalty", choice.repetition_penalty,
                 "Divide positive logits of the tokens so far by this, and multiply negative "
                 "ones; 1: none");
  command.option("--seed", options->seed, "Of the sampling").show_default();
  add_execution(command, options->model);
  command.flag("--explain", options->explain,
               "First print to standard error which kernels run the prompt and the last step, as "
               "emberq explain does");
  command.flag("--json", options->json,
               "Print one JSON object: prompt, text, prompt_ids, ids, finish_reason, "
               "prompt_tokens_per_second, tokens_per_second");
  command.action([options] { run(*options); });
}

}  // namespace emberq
