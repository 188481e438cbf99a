#include <fmt/format.h>

#include "apps/cmd_eval.h"
#include "base/check.h"
#include "base/json.h"
#include "base/print.h"
#include "eval/divergence.h"
#include "text/read_utf8.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

struct EvalKlArguments {
  std::string reference;
  ModelOptions model;
  std::string text;
  PerplexityOptions windows;
  bool json = false;
};

void run(const EvalKlArguments& options) {
  const Checkpoint checkpoint_a = Checkpoint::open(options.reference);
  const Checkpoint checkpoint_b = Checkpoint::open(options.model.model);
  const std::string text = read_utf8(options.text);
  const auto encode = [&](const Checkpoint& checkpoint) {
    return Tokenizer::load(checkpoint.folder()).encode(text, SpecialTokens::kNone);
  };
  const std::vector<int> ids = encode(checkpoint_a);
  EMBERQ_REQUIRE(encode(checkpoint_b) == ids, "the tokenizers of {} and {} encode {} differently",
                 options.reference, options.model.model, options.text);
  const auto backend = backend_of(options.model);
  Model a = Model::load(checkpoint_a, *backend);
  Model b = Model::load(checkpoint_b, *backend, kv_of(options.model));
  const Divergence result = divergence(a, b, ids, options.windows);
  if (options.json)
    return print_json({{"kl", result.kl},
                       {"kl_p99", result.kl_p99},
                       {"kl_max", result.kl_max},
                       {"top1_agreement", result.top1_agreement},
                       {"reference_ppl", result.reference_ppl},
                       {"ppl", result.ppl},
                       {"windows", result.windows},
                       {"seq_len", result.seq_len},
                       {"predicted_tokens", result.predicted_tokens},
                       {"seconds", result.seconds}});
  print_out("KL(A || B) {:.6f} nats per token, 99 % of the tokens below {:.6f}, at most {:.6f}\n",
            result.kl, result.kl_p99, result.kl_max);
  print_out("the same most likely token at {:.2f} % of the positions\n",
            100 * result.top1_agreement);
  print_out("perplexity of A {:.4f}, of B {:.4f}, over {} windows of {} tokens in {:.1f} s\n",
            result.reference_ppl, result.ppl, result.windows, result.seq_len, result.seconds);
}

}  // namespace

void add_eval_kl(Command& eval) {
  Command kl = eval.subcommand(
      "kl",
      "How far MODEL's next-token distributions are from those of REFERENCE, on the windows of "
      "eval ppl. --kv is MODEL's; REFERENCE's cache is what its checkpoint says");
  const auto options = std::make_shared<EvalKlArguments>();
  kl.option("REFERENCE", options->reference, "The model to compare with, a folder").required();
  add_model(kl, options->model);
  add_windows(kl, options->text, options->windows);
  add_execution(kl, options->model);
  kl.flag("--json", options->json,
          "Print one JSON object: kl, kl_p99, kl_max, top1_agreement, reference_ppl, ppl, windows, "
          "seq_len, predicted_tokens, seconds");
  kl.action([options] { run(*options); });
}

}  // namespace emberq
