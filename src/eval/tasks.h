#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/model.h"
#include "text/tokenizer.h"

// Zero-shot tasks, prompted and scored as lm-evaluation-harness does, from files of JSON lines.
namespace emberq {

// What is asked for, and what is right.
enum class TaskKind {
  kLastWord,  // one continuation; right where each of its tokens is the most likely one
  kChoices,   // one context, several continuations; right where the gold one is the most likely
  kContexts,  // several contexts, one continuation; right where the gold one makes it most likely
};

struct TaskRequest {
  std::string context, continuation;
  int64_t characters = 0;  // of the choice alone
};

struct TaskItem {
  std::string where;  // "FILE line N"
  std::vector<TaskRequest> requests;
  int64_t gold = 0;  // index of the right request
};

struct Task {
  std::string name;
  TaskKind kind = TaskKind::kChoices;
  std::vector<TaskItem> items;
};

// The first `limit` items (0: all) of a task, from the file of its name in the folder. Each line is
// an object:
//
//   lambada (lambada_openai.jsonl)  context, continuation
//   piqa, arc_easy, arc_challenge   query ("Question: ..."), choices, gold
//   winogrande                      context_options, continuation, gold
//
// The prompt of a query is "QUERY\nAnswer:"; a continuation follows its context after one space.
// InputError for an unknown task, a file without items, and, naming file and line, for a line that
// is not such an object, has no choices or an empty one, or a gold that is none of them.
Task load_task(const std::string& name, const fs::path& folder, int64_t limit = 0);
std::vector<std::string> task_names();

struct TaskResult {
  int64_t items = 0;
  // Share of right items. Of equally likely choices the first is taken.
  double accuracy = 0, accuracy_error = 0;
  // kChoices: the same by log-likelihood per character of the choice. The harness's acc_norm, which
  // divides by Python's len(choice): Unicode characters, not bytes.
  std::optional<double> normalized, normalized_error;
  // kLastWord: exp(-mean log-likelihood of the continuations).
  std::optional<double> perplexity;
  double seconds = 0;
};

// Standard errors are sqrt(p (1 - p) / (items - 1)), NaN for one item. kNone: texts as they are, as
// the harness does with add_bos_token=False; kAdd: with what the tokenizer puts around them, as it
// does by default in newer versions. InputError where a continuation adds no token to its context,
// or a token is outside the model's vocabulary.
TaskResult score_task(Model& model, const Tokenizer& tokenizer, const Task& task,
                      SpecialTokens special = SpecialTokens::kNone);

}  // namespace emberq
