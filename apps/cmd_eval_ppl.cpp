#include <fmt/format.h>

#include "apps/cmd_eval.h"
#include "base/json.h"
#include "base/print.h"
#include "text/read_utf8.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

struct EvalPplArguments {
  ModelOptions model;
  std::string text;
  PerplexityOptions perplexity;
  bool json = false;
};

void run(const EvalPplArguments& options) {
  const Checkpoint checkpoint = Checkpoint::open(options.model.model);
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  const auto ids = tokenizer.encode(read_utf8(options.text), SpecialTokens::kNone);
  const auto backend = backend_of(options.model);
  Model model = Model::load(checkpoint, *backend, kv_of(options.model));
  const Perplexity result = perplexity(model, ids, options.perplexity);
  if (options.json)
    return print_json({{"ppl", result.ppl},
                       {"nll_sum", result.nll_sum},
                       {"windows", result.windows},
                       {"seq_len", result.seq_len},
                       {"predicted_tokens", result.predicted_tokens},
                       {"seconds", result.seconds}});
  print_out("perplexity {:.4f} over {} windows of {} tokens ({} predicted) in {:.1f} s\n",
            result.ppl, result.windows, result.seq_len, result.predicted_tokens, result.seconds);
}

}  // namespace

void add_eval_ppl(Command& eval) {
  Command ppl = eval.subcommand("ppl",
                                "Perplexity of a text: windows that do not overlap, each "
                                "run alone with no BOS, the tail dropped");
  const auto options = std::make_shared<EvalPplArguments>();
  add_model(ppl, options->model);
  add_windows(ppl, options->text, options->perplexity);
  add_execution(ppl, options->model);
  ppl.flag("--json", options->json,
           "Print one JSON object: ppl, nll_sum, windows, seq_len, predicted_tokens, seconds");
  ppl.action([options] { run(*options); });
}

}  // namespace emberq
