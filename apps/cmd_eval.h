#pragma once

#include "apps/app.h"

namespace emberq {

// The measures of `emberq eval`: each adds a subcommand to it.
void add_eval_ppl(CLI::App& eval);
void add_eval_kl(CLI::App& eval);
void add_eval_tasks(CLI::App& eval);
void add_eval_needle(CLI::App& eval);

}  // namespace emberq
