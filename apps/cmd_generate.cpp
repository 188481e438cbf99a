#include <fmt/format.h>

#include <utility>

#include "apps/app.h"
#include "base/check.h"
#include "base/print.h"
#include "engine/generate.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace emberq {
namespace {

struct Options {
  ModelOptions model;
  std::string prompt;
  int64_t max_new_tokens = 128;
  bool greedy = false, json = false;
  std::optional<double> temperature, top_p;
  std::optional<int> top_k;
  uint64_t seed = 0;
};

// generation_config.json's, changed by what the command line names. Naming one asks for sampling.
SamplingOptions sampling_of(const Options& options, const Checkpoint& checkpoint) {
  SamplingOptions sampling =
      read_sampling_options(checkpoint.folder(), checkpoint.config().eos_ids);
  if (options.temperature || options.top_p || options.top_k) sampling.greedy = false;
  if (options.temperature) sampling.temperature = *options.temperature;
  if (options.top_p) sampling.top_p = *options.top_p;
  if (options.top_k) sampling.top_k = *options.top_k;
  if (options.greedy || sampling.temperature == 0) sampling.greedy = true;
  return sampling;
}

double rate(int64_t tokens, double seconds) { return seconds > 0 ? double(tokens) / seconds : 0; }

void run(const Options& options) {
  const Checkpoint checkpoint = Checkpoint::open(options.model.model);
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  const size_t invalid = find_invalid_utf8(options.prompt);
  EMBERQ_REQUIRE(invalid == std::string::npos, "--prompt is not UTF-8 at byte {}", invalid);
  const std::vector<int> prompt = tokenizer.encode(options.prompt, SpecialTokens::kAdd);
  const auto backend = backend_of(options.model);
  Model model = Model::load(checkpoint, *backend, kv_of(options.model));
  const GenerateOptions generate_options{.sampling = sampling_of(options, checkpoint),
                                         .seed = options.seed,
                                         .max_new_tokens = options.max_new_tokens};

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

void add_generate(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("generate", "Print a prompt and how the model continues it");
  const auto options = std::make_shared<Options>();
  add_model(*command, options->model);
  command->add_option("--prompt", options->prompt, "The text to continue")->required();
  command->add_option("--max-new-tokens", options->max_new_tokens, "Stop after this many tokens")
      ->capture_default_str();
  CLI::Option* greedy =
      command->add_flag("--greedy", options->greedy, "Take the most likely token each time");
  const auto sampling = [&](CLI::Option* option) { option->excludes(greedy); };
  sampling(command->add_option("--temperature", options->temperature,
                               "Sampling temperature; 0 is greedy. Where not named, "
                               "generation_config.json holds for it and the two below"));
  sampling(command->add_option("--top-p", options->top_p,
                               "Sample from the fewest tokens whose probabilities reach this"));
  sampling(command->add_option("--top-k", options->top_k,
                               "Sample from this many most likely tokens; 0: all"));
  command->add_option("--seed", options->seed, "Of the sampling")->capture_default_str();
  add_execution(*command, options->model);
  command->add_flag("--json", options->json,
                    "Print one JSON object: prompt, text, prompt_ids, ids, finish_reason, "
                    "prompt_tokens_per_second, tokens_per_second");
  command->callback([options] { run(*options); });
}

}  // namespace emberq
