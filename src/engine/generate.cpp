#include "engine/generate.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "model/logit_rows.h"
#include "model/token_ids.h"

namespace emberq {

Generation generate(Model& model, std::span<const int> prompt, const GenerateOptions& options,
                    const std::function<void(int)>& on_token) {
  const int64_t positions = model.config().max_positions, length = int64_t(prompt.size());
  EMBERQ_REQUIRE(length > 0, "the prompt has no tokens");
  EMBERQ_REQUIRE(options.max_new_tokens >= 1, "the number of new tokens must be at least 1, got {}",
                 options.max_new_tokens);
  EMBERQ_REQUIRE(length < positions, "the prompt has {} tokens, the model {} positions", length,
                 positions);
  require_in_vocabulary(prompt, model.config().vocab_size, "the prompt");
  check(options.sampling);

  const auto& eos = options.sampling.eos_ids;
  const int64_t most = std::min(options.max_new_tokens, positions - length);
  KvPool pool = model.make_pool(length + most);
  KvSequence sequence(pool);
  LogitRows logits(model, 1);
  SampleMemory sample(model.backend());
  Sampler sampler(options.sampling, options.seed);
  Generation result;
  const auto start = std::chrono::steady_clock::now();
  const auto since = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };

  std::vector<int> tokens(prompt.begin(), prompt.end());
  Activations hidden = model.forward(prompt, sequence);
  while (true) {
    const Activations last = logits.on_backend(hidden.slice(hidden.rows - 1, 1));
    const TokensSoFar so_far{.ids = tokens, .prompt = length};
    const SampleRequest request = sampler.next(so_far, last.dim);
    model.backend().run(sample.set(last, std::span(&request, 1)));
    const int id = sampled(sample.ids()[0], so_far);
    if (result.ids.empty()) result.prompt_seconds = since();
    if (std::find(eos.begin(), eos.end(), id) != eos.end()) {
      result.finish_reason = FinishReason::kStop;
      break;
    }
    result.ids.push_back(id);
    tokens.push_back(id);
    if (on_token) on_token(id);
    if (int64_t(result.ids.size()) == most) break;
    hidden = model.forward(std::span(&id, 1), sequence);
  }
  result.decode_seconds = since() - result.prompt_seconds;
  return result;
}

}  // namespace emberq
