#include "engine/generation_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "engine/cpu_sampler.h"
#include "engine/generate.h"
#include "ops/cpu/sample.h"
#include "support/refusal.h"
#include "support/shared.h"
#include "support/test_folder.h"

namespace emberq::generation_config_test {
namespace {

// Folders with a generation_config.json, of a model of 1000 tokens.
class GenerationConfigFile : public testing::Test {
 protected:
  GenerationConfig read(const Json& file, const GenerationChoice& choice = {}) {
    write_text(path_, file.dump());
    return read_generation_config(folder_.path(), model_, choice);
  }

  const TestFolder folder_;
  const fs::path path_ = folder_.path() / "generation_config.json";
  const ModelConfig model_{.vocab_size = 1000, .eos_ids = {1}};
};

TEST_F(GenerationConfigFile, GivesEverySettingThatEmberqRuns) {
  const GenerationConfig config = read({{"do_sample", true},
                                        {"temperature", 0.7},
                                        {"top_k", 20},
                                        {"top_p", 0.9},
                                        {"min_p", 0.1},
                                        {"repetition_penalty", 1.05},
                                        {"no_repeat_ngram_size", 3},
                                        {"bad_words_ids", Json::parse("[[1, 2], [3]]")},
                                        {"min_length", 5},
                                        {"min_new_tokens", 6},
                                        {"suppress_tokens", Json::array({7, -1})},
                                        {"begin_suppress_tokens", Json::array({8})},
                                        {"max_new_tokens", 9},
                                        {"eos_token_id", Json::array({3, 4})}});
  const SamplingOptions& sampling = config.sampling;
  EXPECT_FALSE(sampling.greedy);
  EXPECT_EQ(sampling.temperature, 0.7);
  EXPECT_EQ(sampling.top_k, 20);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.min_p, 0.1);
  EXPECT_EQ(sampling.rules.repetition_penalty, 1.05);
  EXPECT_EQ(sampling.rules.no_repeat_ngram_size, 3);
  EXPECT_EQ(sampling.rules.bad_words, (std::vector<std::vector<int>>{{1, 2}, {3}}));
  EXPECT_EQ(sampling.rules.min_length, 5);
  EXPECT_EQ(sampling.rules.min_new_tokens, 6);
  EXPECT_EQ(sampling.rules.suppress, (std::vector<int>{7, -1}));
  EXPECT_EQ(sampling.rules.begin_suppress, (std::vector<int>{8}));
  EXPECT_EQ(sampling.eos_ids, (std::vector<int>{3, 4}));
  EXPECT_EQ(config.max_new_tokens, 9);
  EXPECT_TRUE(config.not_run.empty());
}

TEST_F(GenerationConfigFile, HasTransformersDefaultsWhereItSaysNothingOrNull) {
  EXPECT_TRUE(read(Json::object()).sampling.greedy);
  EXPECT_EQ(read(Json::object()).sampling.eos_ids, (std::vector<int>{1}));
  const Json nulls = {{"do_sample", true},          {"temperature", nullptr},
                      {"top_k", nullptr},           {"bad_words_ids", nullptr},
                      {"suppress_tokens", nullptr}, {"num_beams", nullptr}};
  for (const Json& file : {Json{{"do_sample", true}}, nulls}) {
    const GenerationConfig config = read(file);
    EXPECT_FALSE(config.sampling.greedy);
    EXPECT_EQ(config.sampling.temperature, 1);
    EXPECT_EQ(config.sampling.top_k, 50);
    EXPECT_EQ(config.sampling.top_p, 1);
    EXPECT_EQ(config.sampling.min_p, 0);
    EXPECT_EQ(config.sampling.rules.repetition_penalty, 1);
    EXPECT_EQ(config.max_new_tokens, std::nullopt);
    EXPECT_TRUE(config.not_run.empty());
  }
}

TEST_F(GenerationConfigFile, ThatIsNotThereLeavesItToConfigJson) {
  folder_.write("config.json", R"({"repetition_penalty": 1.5, "eos_token_id": 7})");
  const GenerationConfig config = read_generation_config(folder_.path(), model_);
  EXPECT_EQ(config.sampling.rules.repetition_penalty, 1.5);
  EXPECT_EQ(config.sampling.eos_ids, (std::vector<int>{7}));
  EXPECT_TRUE(config.sampling.greedy);
}

TEST_F(GenerationConfigFile, GivesWayToWhatTheUserNames) {
  const Json file = {{"do_sample", false}, {"temperature", 0.5}, {"top_k", 3},
                     {"top_p", 0.25},      {"min_p", 0.5},       {"repetition_penalty", 2.0}};
  EXPECT_EQ(read(file, {.max_new_tokens = 4}).max_new_tokens, 4);
  EXPECT_EQ(read(file, {.repetition_penalty = 1.5}).sampling.rules.repetition_penalty, 1.5);
  EXPECT_TRUE(read(file, {.repetition_penalty = 1.5}).sampling.greedy);
  for (const GenerationChoice& choice :
       {GenerationChoice{.temperature = 0.5}, GenerationChoice{.top_p = 0.25},
        GenerationChoice{.min_p = 0.5}, GenerationChoice{.top_k = 3}}) {
    const SamplingOptions sampling = read(file, choice).sampling;
    EXPECT_FALSE(sampling.greedy);
    EXPECT_EQ(sampling.temperature, 0.5);
    EXPECT_EQ(sampling.top_p, 0.25);
    EXPECT_EQ(sampling.min_p, 0.5);
    EXPECT_EQ(sampling.top_k, 3);
  }
  EXPECT_TRUE(read({{"do_sample", true}}, {.greedy = true}).sampling.greedy);
  EXPECT_TRUE(read({{"do_sample", true}}, {.temperature = 0.0}).sampling.greedy);
  EXPECT_TRUE(read({{"do_sample", true}, {"temperature", 0.0}}).sampling.greedy);
}

TEST_F(GenerationConfigFile, IsRefusedWithItsNameAndTheKeyWhereAValueThatIsUsedIsOutOfRange) {
  const auto with = [](const char* key, const Json& value) {
    Json config = {{"do_sample", true}};
    config[key] = value;
    return config;
  };
  const std::string file = path_.string() + ": ";
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, Json>>{{"temperature", -1.0},
                                                 {"temperature", "hot"},
                                                 {"top_k", -1},
                                                 {"top_p", 0},
                                                 {"top_p", 1.5},
                                                 {"min_p", -0.5},
                                                 {"min_p", 2},
                                                 {"repetition_penalty", 0},
                                                 {"repetition_penalty", -1.5},
                                                 {"no_repeat_ngram_size", -2},
                                                 {"min_length", -1},
                                                 {"min_new_tokens", "many"},
                                                 {"max_new_tokens", 0},
                                                 {"suppress_tokens", Json::array({"a"})},
                                                 {"bad_words_ids", Json::parse("[[]]")},
                                                 {"bad_words_ids", Json::parse("[3]")},
                                                 {"bad_words_ids", Json::parse("[[1000]]")},
                                                 {"bad_words_ids", Json::parse("[[-1]]")},
                                                 {"do_sample", "yes"},
                                                 {"eos_token_id", "</s>"}})
    EXPECT_REFUSED(read(with(key, value)), file + key);
}

TEST_F(GenerationConfigFile, IsNotRefusedForAValueThatNothingUses) {
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"temperature", -1.0}, {"top_k", -1}, {"top_p", 0}, {"min_p", 2}, {"top_p", "x"}}) {
    EXPECT_TRUE(read({{"do_sample", false}, {key, value}}).sampling.greedy) << key;
    EXPECT_TRUE(read({{"do_sample", true}, {key, value}}, {.greedy = true}).sampling.greedy) << key;
  }
  EXPECT_EQ(read({{"do_sample", true}, {"top_p", 0}}, {.top_p = 0.5}).sampling.top_p, 0.5);
  EXPECT_EQ(read({{"max_new_tokens", 0}}, {.max_new_tokens = 3}).max_new_tokens, 3);
  EXPECT_EQ(read({{"repetition_penalty", 0}}, {.repetition_penalty = 1.0})
                .sampling.rules.repetition_penalty,
            1);
}

TEST_F(GenerationConfigFile, NamesEverySettingThatEmberqDoesNotRun) {
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"num_beams", 4},
           {"penalty_alpha", 0.6},
           {"guidance_scale", 1.5},
           {"encoder_repetition_penalty", 1.2},
           {"encoder_no_repeat_ngram_size", 2},
           {"sequence_bias", Json::parse("[[[1, 2], 3.0]]")},
           {"forced_bos_token_id", 0},
           {"forced_eos_token_id", Json::array({1, 2})},
           {"exponential_decay_length_penalty", Json::parse("[5, 1.01]")},
           {"remove_invalid_values", true},
           {"stop_strings", Json::array({"\n"})},
           {"num_return_sequences", 2}})
    EXPECT_EQ(read({{key, value}}).not_run, std::vector<std::string>{key});
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"typical_p", 0.9}, {"epsilon_cutoff", 1e-3}, {"eta_cutoff", 1e-3}, {"top_h", 0.4}}) {
    EXPECT_EQ(read({{"do_sample", true}, {key, value}}).not_run, std::vector<std::string>{key});
    EXPECT_TRUE(read({{key, value}}).not_run.empty()) << "only sampling reads " << key;
  }
}

TEST_F(GenerationConfigFile, DoesNotNameSettingsThatSayNothing) {
  const Json neutral = {{"do_sample", true},
                        {"num_beams", 1},
                        {"penalty_alpha", 0.0},
                        {"typical_p", 1.0},
                        {"epsilon_cutoff", 0.0},
                        {"guidance_scale", 1},
                        {"remove_invalid_values", false},
                        {"stop_strings", Json::array()},
                        {"forced_eos_token_id", nullptr},
                        {"pad_token_id", 0},
                        {"transformers_version", "4.40.0"}};
  EXPECT_TRUE(read(neutral).not_run.empty());
}

// What tools/make_generation_golden.py has from transformers.
Json golden() { return read_json(test::source_folder() / "tests/golden/engine/generation.json"); }

float number(const Json& value) { return value.is_null() ? -INFINITY : value.get<float>(); }

TEST_F(GenerationConfigFile, ChangesLogitsAsTransformersProcessorsDo) {
  const Json cases = golden()["cases"];
  ASSERT_GT(cases.size(), 50u);
  for (const Json& one : cases) {
    const SamplingOptions sampling = read(one["config"]).sampling;
    auto tokens = one["prompt"].get<std::vector<int>>();
    const auto prompt = int64_t(tokens.size());
    for (const Json& id : one["new"]) tokens.push_back(id);
    const auto logits = one["logits"].get<std::vector<float>>();
    test::CpuSampler sampler(sampling, 1);
    sampler.written(logits, {.ids = tokens, .prompt = prompt});
    for (size_t i = 0; i < logits.size(); ++i)
      EXPECT_FLOAT_EQ(sampler.logits()[i], number(one["scores"][i]))
          << one["config"] << " token " << i;
  }
}

TEST_F(GenerationConfigFile, LeavesTheProbabilitiesThatTransformersSamplesFrom) {
  int sampled = 0;
  const Json cases = golden()["cases"];
  for (const Json& one : cases) {
    if (!one.contains("probabilities")) continue;
    ++sampled;
    const SamplingOptions sampling = read(one["config"]).sampling;
    std::vector<float> scores;
    for (const Json& score : one["scores"]) scores.push_back(number(score));
    std::vector<double> p(scores.size());
    const SampleRow row = Sampler(sampling, 1).next({}, int64_t(scores.size())).row;
    for (const cpu::Candidate& candidate : cpu::candidates(row, scores))
      p[size_t(candidate.id)] = candidate.p;
    for (size_t i = 0; i < p.size(); ++i) {
      const auto wanted = one["probabilities"][i].get<double>();
      EXPECT_NEAR(p[i], wanted, 1e-5 * wanted) << one["config"] << " token " << i;
    }
  }
  EXPECT_GT(sampled, 20);
}

TEST_F(GenerationConfigFile, ContinuesTheBundledModelsPromptAsTransformersDoes) {
  const fs::path model_folder = test::source_folder() / "models/nano-wiki";
  const auto backend = make_cpu_backend();
  Model model = Model::load(Checkpoint::open(model_folder), *backend);
  const Json continuations = golden()["continuations"];
  ASSERT_EQ(continuations.size(), 3u);
  for (const Json& one : continuations) {
    const Generation result =
        generate(model, one["prompt"].get<std::vector<int>>(),
                 {.sampling = read(one["config"]).sampling, .max_new_tokens = 32});
    EXPECT_EQ(result.ids, one["ids"].get<std::vector<int>>()) << one["config"];
  }
}

TEST(Sampler, RefusesToChooseWhereTheRulesLeaveNothing) {
  for (const bool greedy : {true, false}) {
    test::CpuSampler sampler({.rules = {.suppress = {0, 1, 2}}, .greedy = greedy}, 1);
    EXPECT_REFUSED(sampler.sample(std::vector<float>{1, 2, 3}, {}), "no token may follow the 0");
  }
}

TEST(Sampler, FailsWhereALogitIsNotFinite) {
  for (const float bad : {NAN, INFINITY})
    for (const bool greedy : {true, false}) {
      test::CpuSampler sampler({.greedy = greedy}, 1);
      EXPECT_TRUE(contains(error_of([&] {
                             sampler.sample(std::vector<float>{0, bad, 1});
                           }),
                           "the model's logits are not finite"));
    }
}

TEST(Sampler, TakesTheOnlyTokenOfAVocabularyOfOne) {
  test::CpuSampler sampler({.greedy = false, .top_k = 50, .top_p = 0.1, .min_p = 1}, 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-3}), 0);
}

}  // namespace
}  // namespace emberq::generation_config_test
