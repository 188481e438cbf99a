// What is said of a model's steps before they run.
#include "model/explain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>

#include "support/backends.h"
#include "support/logits.h"
#include "support/refusal.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace emberq::explain_test {
namespace {

// A model of two layers on a backend that can explain it.
class ExplainTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    device_ = test::make_backend(GetParam());
    if (!device_) GTEST_SKIP() << "no CUDA device";
    backend_ = std::make_unique<ExplainingBackend>(*device_);
    test::write_tiny_model(folder_.path() / "model", test::tiny_config("llama"));
    model_ =
        std::make_unique<Model>(Model::load(Checkpoint::open(folder_.path() / "model"), *backend_));
  }
  std::vector<ExplainedOperation> step(const StepShape& shape = {}) {
    return explain(*model_, *backend_, shape);
  }
  std::vector<float> logits() {
    KvPool pool = model_->make_pool(3);
    KvSequence sequence(pool);
    return test::logits_of(*model_, model_->forward(std::array{1, 2, 3}, sequence));
  }

  const TestFolder folder_;
  std::unique_ptr<Backend> device_;
  std::unique_ptr<ExplainingBackend> backend_;
  std::unique_ptr<Model> model_;
};

TEST_P(ExplainTest, ListsEachOperationOfAStepOnceWithItsCalls) {
  std::map<std::string, int> calls;
  std::map<std::string, std::string> layers;
  for (const ExplainedOperation& operation : step()) {
    calls[operation.name] += operation.calls;
    layers[operation.name] += operation.layers + ";";
  }
  // Some backends join linears.
  const int of_qkv = calls["linear q, k, v"] + calls["linear q"];
  EXPECT_EQ(of_qkv, 2);
  EXPECT_EQ(calls["linear gate, up"] + calls["linear up"], 2);
  for (const char* name : {"linear o", "linear down", "rope_append_kv", "attention"}) {
    EXPECT_EQ(calls[name], 2) << name;
    EXPECT_EQ(layers[name], "0-1;") << name;
  }
  EXPECT_EQ(calls["rms_norm"], 5);
  for (const char* name : {"embed", "linear head", "sample"}) {
    EXPECT_EQ(calls[name], 1) << name;
    EXPECT_EQ(layers[name], ";") << name;
  }
}

TEST_P(ExplainTest, NamesAKernelForEveryOperation) {
  for (const StepShape& shape :
       {StepShape{}, StepShape{.sequences = 3, .new_tokens = 40, .context = 40}})
    for (const ExplainedOperation& operation : step(shape)) {
      EXPECT_NE(operation.choice.kernel, "") << operation.name;
      EXPECT_NE(operation.shape, "") << operation.name;
      EXPECT_NE(operation.formats, "") << operation.name;
      EXPECT_EQ(operation.choice.roof_seconds > 0, GetParam() != "cpu") << operation.name;
      EXPECT_LE(operation.share(), 1) << operation.name;
    }
}

TEST_P(ExplainTest, GivesAnotherLayerARowOfItsOwn) {
  Weight& down = model_->layer(1)[Projection::kDown].weight;
  down =
      backend_->prepare(Tensor::of({down.n, down.k}, std::vector<float>(size_t(down.n * down.k))));
  std::vector<std::string> rows;
  for (const ExplainedOperation& operation : step())
    if (operation.name == "linear down")
      rows.push_back(operation.layers + ": " +
                     operation.formats.substr(0, operation.formats.find(' ')));
  EXPECT_EQ(rows, (std::vector<std::string>{"0: BF16", "1: F32"}));
}

TEST_P(ExplainTest, ShapesAreOfThePromptAndTheBatch) {
  std::map<std::string, std::string> shapes;
  for (const ExplainedOperation& operation :
       step({.sequences = 3, .new_tokens = 40, .context = 100}))
    shapes[operation.name] = operation.shape;
  EXPECT_EQ(shapes["linear o"], "120 x 128 x 128");
  EXPECT_EQ(shapes["linear head"], "3 x 8192 x 128");
  EXPECT_EQ(shapes["attention"], "120 x 4/2 heads of 32, 100 keys");
}

TEST_P(ExplainTest, LeavesTheModelAsItWas) {
  const std::vector<float> before = logits();
  step({.sequences = 2, .new_tokens = 1, .context = 3});
  step({.sequences = 1, .new_tokens = 3, .context = 3});
  EXPECT_EQ(logits(), before);
}

TEST_P(ExplainTest, RefusesAContextPastTheModelsPositions) {
  EXPECT_EQ(refusal([&] { step({.context = 257}); }),
            "a context of 257 tokens, but the model has 256 positions");
}

std::string name_of(const testing::TestParamInfo<std::string>& info) {
  std::string text = info.param;
  std::ranges::replace(text, '-', '_');
  return text;
}
INSTANTIATE_TEST_SUITE_P(Backends, ExplainTest,
                         testing::Values("cpu", "cuda", "cuda-batch-invariant"), name_of);

TEST(Ranges, JoinNeighbours) {
  EXPECT_EQ(ranges({}), "");
  EXPECT_EQ(ranges({4}), "4");
  EXPECT_EQ(ranges({0, 1, 2, 5, 7, 8}), "0-2, 5, 7-8");
}

}  // namespace
}  // namespace emberq::explain_test
