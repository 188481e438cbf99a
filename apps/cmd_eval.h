#pragma once

#include "apps/app.h"
#include "eval/perplexity.h"

namespace emberq {

// The measures of `emberq eval`: each adds a subcommand to it.
void add_eval_ppl(Command& eval);
void add_eval_kl(Command& eval);
void add_eval_tasks(Command& eval);
void add_eval_needle(Command& eval);

// --text, --seq-len and --num-samples of the measures that run over a text's windows.
void add_windows(Command& command, std::string& text, PerplexityOptions& windows);

}  // namespace emberq
