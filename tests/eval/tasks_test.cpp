#include "eval/tasks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/logits.h"
#include "support/refusal.h"
#include "support/tiny_model.h"

namespace emberq::tasks_test {
namespace {

TEST(LoadTask, PromptsAsTheHarnessDoes) {
  const TestFolder folder;
  folder.write(
      "piqa.jsonl",
      "{\"query\": \"Question: why?\\n\", \"choices\": [\"né\", \"no one\"], \"gold\": 1}\n"
      "\n"
      "{\"query\": \"Question: how?\", \"choices\": [\"so\"], \"gold\": 0}");
  const Task task = load_task("piqa", folder.path());
  EXPECT_EQ(task.kind, TaskKind::kChoices);
  ASSERT_EQ(task.items.size(), 2u);
  const TaskItem& item = task.items[0];
  EXPECT_EQ(item.gold, 1);
  ASSERT_EQ(item.requests.size(), 2u);
  EXPECT_EQ(item.requests[0].context, "Question: why?\nAnswer:");
  EXPECT_EQ(item.requests[0].continuation, " né");
  EXPECT_EQ(item.requests[0].characters, 2);
  EXPECT_EQ(item.requests[1].characters, 6);
  EXPECT_EQ(task.items[1].requests[0].context, "Question: how?\nAnswer:");
  EXPECT_EQ(load_task("piqa", folder.path(), 1).items.size(), 1u);
}

TEST(LoadTask, JudgesOneContinuationAfterEachContextOfWinogrande) {
  const TestFolder folder;
  folder.write("winogrande.jsonl",
               R"({"context_options": ["so A", "so B"], "continuation": "won.", "gold": 1})");
  const Task task = load_task("winogrande", folder.path());
  EXPECT_EQ(task.kind, TaskKind::kContexts);
  ASSERT_EQ(task.items[0].requests.size(), 2u);
  EXPECT_EQ(task.items[0].requests[1].context, "so B");
  EXPECT_EQ(task.items[0].requests[1].continuation, " won.");
}

TEST(LoadTask, NamesFileAndLineOfWhatItCannotRead) {
  const TestFolder folder;
  const std::string good = R"({"query": "q", "choices": ["a", "b"], "gold": 0})";
  const auto second_line = [&](const std::string& line) {
    folder.write("arc_easy.jsonl", good + "\n" + line + "\n" + good + "\n");
    return refusal([&] { load_task("arc_easy", folder.path()); });
  };
  for (const auto& [line, complaint] : std::vector<std::pair<std::string, std::string>>{
           {"{", "is not valid JSON"},
           {"[1]", "must hold a JSON object"},
           {R"({"choices": ["a"], "gold": 0})", "query is missing"},
           {R"({"query": "q", "choices": [], "gold": 0})", "choices must not be empty"},
           {R"({"query": "q", "choices": ["a", ""], "gold": 0})", "choices must have no empty"},
           {R"({"query": "q", "choices": ["a", "b"], "gold": 2})", "gold must be an index of 2"},
           {R"({"query": "q", "choices": ["a", "b"], "gold": -1})", "gold must be an index of 2"},
           {R"({"query": "q", "choices": "a", "gold": 0})", "choices"}}) {
    EXPECT_TRUE(contains(second_line(line), "arc_easy.jsonl line 2")) << line;
    EXPECT_TRUE(contains(second_line(line), complaint)) << line;
  }
  folder.write("lambada_openai.jsonl", R"({"context": "c", "continuation": ""})");
  EXPECT_REFUSED(load_task("lambada", folder.path()), "lambada_openai.jsonl line 1",
                 "continuation");
}

TEST(LoadTask, RefusesTasksItDoesNotKnowAndFilesWithoutItems) {
  const TestFolder folder;
  folder.write("piqa.jsonl", "\n");
  EXPECT_REFUSED(load_task("piqa", folder.path()), "piqa.jsonl", "has no items");
  EXPECT_REFUSED(load_task("boolq", folder.path()), "boolq", "winogrande");
  EXPECT_REFUSED(load_task("arc_easy", folder.path()), "arc_easy.jsonl");
}

TEST(LoadTask, ReadsEveryItemOfTheSharedFiles) {
  EMBERQ_NEEDS_SHARED("data/zeroshot");
  const std::vector<size_t> items = {5153, 1838, 2376, 1172, 1267};
  for (size_t i = 0; i < items.size(); ++i)
    EXPECT_EQ(load_task(task_names()[i], test::shared_folder() / "data/zeroshot").items.size(),
              items[i]);
}

class BundledTasks : public testing::Test {
 protected:
  // The definition: log-likelihood of the tokens after the context's, in a forward pass of its own.
  double log_p(const TaskRequest& request) {
    const auto context = tokenizer_.encode(request.context, SpecialTokens::kNone);
    const auto ids =
        tokenizer_.encode(request.context + request.continuation, SpecialTokens::kNone);
    KvPool pool = model_.make_pool(int64_t(ids.size()));
    KvSequence sequence(pool);
    const auto logits = test::logits_of(model_, model_.forward(ids, sequence));
    double result = 0;
    for (size_t i = context.size(); i < ids.size(); ++i) {
      const auto row = std::span(logits).subspan((i - 1) * 8192, 8192);
      double sum = 0;
      for (const float x : row) sum += std::exp(double(x));
      result += double(row[size_t(ids[i])]) - std::log(sum);
    }
    return result;
  }
  static size_t first_of_largest(const std::vector<double>& values) {
    size_t best = 0;
    for (size_t i = 1; i < values.size(); ++i)
      if (values[i] > values[best]) best = i;
    return best;
  }
  TaskResult score(const Task& task) { return score_task(model_, tokenizer_, task); }

  const fs::path folder_ = test::source_folder() / "models/nano-wiki";
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Model model_ = Model::load(Checkpoint::open(folder_), *backend_);
  const Tokenizer tokenizer_ = Tokenizer::load(folder_);
};

TaskItem choices(const std::string& context, const std::vector<std::string>& texts, int64_t gold) {
  TaskItem item{.where = "here", .gold = gold};
  for (const std::string& text : texts)
    item.requests.push_back({context, " " + text, int64_t(text.size())});
  return item;
}

TEST_F(BundledTasks, TakeTheMostLikelyChoiceBySumAndByMeanPerCharacter) {
  const std::vector<std::vector<std::string>> texts = {
      {"Paris", "London, the capital of the United Kingdom", "the"},
      {"a river", "in the middle of the country, near the sea", "of"},
      {"born in 1950", "x"}};
  Task task{.name = "made up", .kind = TaskKind::kChoices};
  std::vector<size_t> by_sum, by_mean;
  for (const auto& text : texts) {
    task.items.push_back(choices("Question: Where was he?\nAnswer: He was", text, 0));
    std::vector<double> sums, means;
    for (const TaskRequest& request : task.items.back().requests) {
      sums.push_back(log_p(request));
      means.push_back(sums.back() / double(request.characters));
    }
    by_sum.push_back(first_of_largest(sums));
    by_mean.push_back(first_of_largest(means));
  }
  EXPECT_NE(by_sum, by_mean) << "the items must tell the two measures apart";
  const auto matches = [&](const std::vector<size_t>& taken) {
    double right = 0;
    for (size_t i = 0; i < taken.size(); ++i) right += int64_t(taken[i]) == task.items[i].gold;
    return right / double(taken.size());
  };
  for (int64_t gold = 0; gold < 2; ++gold) {
    for (TaskItem& item : task.items) item.gold = gold;
    const TaskResult result = score(task);
    EXPECT_EQ(result.items, 3);
    EXPECT_EQ(result.accuracy, matches(by_sum));
    EXPECT_EQ(*result.normalized, matches(by_mean));
    const double p = result.accuracy;
    EXPECT_DOUBLE_EQ(result.accuracy_error, std::sqrt(p * (1 - p) / 2));
    EXPECT_FALSE(result.perplexity.has_value());
  }
}

TEST_F(BundledTasks, TakeTheFirstOfEqualChoicesAndTheOnlyOne) {
  Task task{.name = "made up", .kind = TaskKind::kChoices};
  task.items = {choices("He was", {"born", "born"}, 0)};
  EXPECT_EQ(score(task).accuracy, 1);
  task.items = {choices("He was", {"born", "born"}, 1)};
  EXPECT_EQ(score(task).accuracy, 0);
  EXPECT_TRUE(std::isnan(score(task).accuracy_error)) << "one item has no standard error";
  task.items = {choices("He was", {"xyzzy"}, 0), choices("He was", {"xyzzy"}, 0)};
  EXPECT_EQ(score(task).accuracy, 1);
  EXPECT_EQ(score(task).accuracy_error, 0);
}

TEST_F(BundledTasks, TakeTheContextThatMakesTheContinuationLikelier) {
  TaskItem item{.where = "here"};
  item.requests = {{"The book was written by", " the author", 10},
                   {"The the the the the the of", " the author", 10}};
  item.gold = log_p(item.requests[0]) > log_p(item.requests[1]) ? 0 : 1;
  Task task{.name = "made up", .kind = TaskKind::kContexts, .items = {item}};
  EXPECT_EQ(score(task).accuracy, 1);
  EXPECT_FALSE(score(task).normalized.has_value());
}

TEST_F(BundledTasks, CountLastWordsThatAreGreedyAndGiveTheirPerplexity) {
  const std::string context = "He was born in the United";
  const auto ids = tokenizer_.encode(context, SpecialTokens::kNone);
  KvPool pool = model_.make_pool(int64_t(ids.size()));
  KvSequence sequence(pool);
  const Activations hidden = model_.forward(ids, sequence);
  const auto logits = test::logits_of(model_, hidden.slice(hidden.rows - 1, 1));
  const int best = int(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const std::string greedy = tokenizer_.decode(std::span(&best, 1));
  ASSERT_EQ(greedy.front(), ' ');

  Task task{.name = "made up", .kind = TaskKind::kLastWord};
  for (const std::string& word : {greedy, std::string(" xyzzy")}) {
    task.items.push_back({.where = "here"});
    task.items.back().requests = {{context, word, 1}};
  }
  const TaskResult result = score(task);
  EXPECT_EQ(result.accuracy, 0.5);
  const double mean = (log_p(task.items[0].requests[0]) + log_p(task.items[1].requests[0])) / 2;
  EXPECT_NEAR(*result.perplexity, std::exp(-mean), 1e-4 * std::exp(-mean));
}

TEST_F(BundledTasks, NameTheItemWhoseContinuationHasNoTokens) {
  Task task{.name = "made up", .kind = TaskKind::kChoices};
  task.items = {{.where = "piqa.jsonl line 7"}};
  task.items[0].requests = {{"He was", "", 1}};
  EXPECT_REFUSED(score(task), "piqa.jsonl line 7", "adds no token");
}

}  // namespace
}  // namespace emberq::tasks_test
