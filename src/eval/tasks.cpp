#include "eval/tasks.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/check.h"
#include "base/json.h"
#include "base/progress.h"
#include "eval/likelihood.h"
#include "model/token_ids.h"

namespace emberq {
namespace {

struct TaskFile {
  std::string_view task, file;
  TaskKind kind;
};
constexpr std::array<TaskFile, 5> kTasks = {{
    {"lambada", "lambada_openai.jsonl", TaskKind::kLastWord},
    {"piqa", "piqa.jsonl", TaskKind::kChoices},
    {"arc_easy", "arc_easy.jsonl", TaskKind::kChoices},
    {"arc_challenge", "arc_challenge.jsonl", TaskKind::kChoices},
    {"winogrande", "winogrande.jsonl", TaskKind::kContexts},
}};

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

TaskRequest request(std::string context, const std::string& continuation) {
  return {std::move(context), " " + continuation, characters(continuation)};
}

// A list of choices none of which is empty.
std::vector<std::string> read_choices(const JsonObject& object, std::string_view key) {
  auto choices = object.get<std::vector<std::string>>(key);
  if (choices.empty()) object.reject(key, "must not be empty");
  for (const std::string& choice : choices)
    if (choice.empty()) object.reject(key, "must have no empty entry");
  return choices;
}

std::string read_continuation(const JsonObject& object) {
  auto continuation = object.get<std::string>("continuation");
  if (continuation.empty()) object.reject("continuation", "must not be empty");
  return continuation;
}

TaskItem parse_item(const JsonObject& object, TaskKind kind) {
  TaskItem item{.where = object.where()};
  if (kind == TaskKind::kLastWord) {
    item.requests.push_back(request(object.get<std::string>("context"), read_continuation(object)));
    return item;
  }
  if (kind == TaskKind::kChoices) {
    std::string prompt = object.get<std::string>("query");
    prompt += prompt.ends_with('\n') ? "Answer:" : "\nAnswer:";
    for (const std::string& choice : read_choices(object, "choices"))
      item.requests.push_back(request(prompt, choice));
  } else {
    for (const std::string& context : read_choices(object, "context_options"))
      item.requests.push_back(request(context, read_continuation(object)));
  }
  item.gold = object.get<int64_t>("gold");
  if (item.gold < 0 || item.gold >= int64_t(item.requests.size()))
    object.reject("gold", fmt::format("must be an index of {} choices", item.requests.size()));
  return item;
}

std::vector<TaskItem> parse_items(std::string_view text, const fs::path& path, TaskKind kind,
                                  int64_t limit) {
  std::vector<TaskItem> items;
  for (int64_t line = 1; !text.empty(); ++line) {
    if (limit > 0 && int64_t(items.size()) == limit) break;
    const std::string_view content = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), content.size() + 1));
    if (content.find_first_not_of(" \t\r") == content.npos) continue;
    const std::string where = fmt::format("{} line {}", path.string(), line);
    const Json json = parse_json(content, where);
    items.push_back(parse_item(JsonObject(json, where), kind));
  }
  return items;
}

std::vector<TokenPair> encode(const Tokenizer& tokenizer, int64_t vocab_size, const TaskItem& item,
                              SpecialTokens special) {
  std::vector<TokenPair> pairs;
  try {
    for (const TaskRequest& request : item.requests) {
      TokenPair pair = encode_pair(tokenizer, request.context, request.continuation, special);
      require_in_vocabulary(pair.context, vocab_size, "the context");
      require_in_vocabulary(pair.continuation, vocab_size, "the continuation");
      pairs.push_back(std::move(pair));
    }
  } catch (const InputError& e) {
    throw InputError(fmt::format("{}: {}", item.where, e.what()));
  }
  return pairs;
}

int64_t longest_text(const std::vector<std::vector<TokenPair>>& items) {
  size_t longest = 0;
  for (const auto& pairs : items)
    for (const TokenPair& pair : pairs)
      longest = std::max(longest, pair.context.size() + pair.continuation.size());
  return int64_t(longest);
}

double standard_error(double share, int64_t items) {
  return items > 1 ? std::sqrt(share * (1 - share) / double(items - 1)) : NAN;
}

// Items that were judged, as they are added up.
struct Tally {
  int64_t items = 0, right = 0, right_normalized = 0;
  double log_p = 0;  // of the first requests

  void add(const TaskItem& item, TaskKind kind, const std::vector<Likelihood>& judged) {
    std::vector<double> sums, per_character;
    for (size_t i = 0; i < judged.size(); ++i) {
      sums.push_back(judged[i].log_p);
      per_character.push_back(judged[i].log_p / double(item.requests[i].characters));
    }
    const auto takes_gold = [&](const std::vector<double>& scores) {
      return std::max_element(scores.begin(), scores.end()) - scores.begin() == item.gold;
    };
    ++items;
    right += kind == TaskKind::kLastWord ? judged[0].greedy : takes_gold(sums);
    right_normalized += takes_gold(per_character);
    log_p += sums[0];
  }

  double accuracy() const { return double(right) / double(items); }

  TaskResult result(TaskKind kind) const {
    TaskResult result{.items = items, .accuracy = accuracy()};
    result.accuracy_error = standard_error(result.accuracy, items);
    if (kind == TaskKind::kChoices) {
      result.normalized = double(right_normalized) / double(items);
      result.normalized_error = standard_error(*result.normalized, items);
    }
    if (kind == TaskKind::kLastWord) result.perplexity = std::exp(-log_p / double(items));
    return result;
  }
};

}  // namespace

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  names.reserve(kTasks.size());
  for (const TaskFile& entry : kTasks) names.emplace_back(entry.task);
  return names;
}

Task load_task(const std::string& name, const fs::path& folder, int64_t limit) {
  EMBERQ_REQUIRE(limit >= 0, "the number of items must not be negative, got {}", limit);
  const auto entry = std::find_if(kTasks.begin(), kTasks.end(),
                                  [&](const TaskFile& known) { return known.task == name; });
  EMBERQ_REQUIRE(entry != kTasks.end(), "there is no task \"{}\", only {}", name,
                 fmt::join(task_names(), ", "));
  const fs::path path = folder / entry->file;
  Task task{.name = name,
            .kind = entry->kind,
            .items = parse_items(read_text(path), path, entry->kind, limit)};
  EMBERQ_REQUIRE(!task.items.empty(), "{} has no items", path.string());
  return task;
}

TaskResult score_task(Model& model, const Tokenizer& tokenizer, const Task& task,
                      SpecialTokens special) {
  const auto start = std::chrono::steady_clock::now();
  EMBERQ_CHECK(!task.items.empty(), "task {} has no items", task.name);
  std::vector<std::vector<TokenPair>> items;  // all before the first runs: a bad one stops early
  for (const TaskItem& item : task.items)
    items.push_back(encode(tokenizer, model.config().vocab_size, item, special));
  LikelihoodScorer scorer(model, longest_text(items));
  Tally tally;
  Progress progress(task.name, int64_t(items.size()));
  for (size_t i = 0; i < items.size(); ++i) {
    std::vector<Likelihood> judged;
    for (const TokenPair& pair : items[i])
      judged.push_back(scorer.score(pair.context, pair.continuation));
    tally.add(task.items[i], task.kind, judged);
    progress.step(fmt::format("accuracy {:.3f}", tally.accuracy()));
  }
  TaskResult result = tally.result(task.kind);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace emberq
