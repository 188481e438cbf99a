#pragma once

#include "apps/app.h"
#include "eval/perplexity.h"

namespace emberq {

// The measures of `emberq eval`: each adds a subcommand to it.
void add_eval_ppl(CLI::App& eval);
void add_eval_kl(CLI::App& eval);
void add_eval_tasks(CLI::App& eval);
void add_eval_needle(CLI::App& eval);

// --text, --window and --max-windows of the measures that run over a text's windows.
void add_windows(CLI::App& command, std::string& text, PerplexityOptions& windows);

}  // namespace emberq
