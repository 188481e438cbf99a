// Model::load's after_block, by which an analysis keeps no more than a block of a model in memory.
#include <gtest/gtest.h>

#include <array>

#include "model/model.h"
#include "support/logits.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace emberq::after_block_test {
namespace {

TEST(AfterBlock, IsCalledForEachBlockThatIsLoadedOrRun) {
  const TestFolder folder;
  test::write_tiny_model(folder.path() / "model", test::tiny_config("llama"));
  const auto backend = make_cpu_backend();
  const Checkpoint checkpoint = Checkpoint::open(folder.path() / "model");
  const int64_t layers = checkpoint.config().num_layers;
  int64_t calls = 0;
  Model model = Model::load(checkpoint, *backend, std::nullopt, [&] { ++calls; });
  EXPECT_EQ(calls, layers);
  KvPool pool = model.make_pool(3);
  KvSequence sequence(pool);
  model.forward(std::array{1, 2, 3}, sequence);
  EXPECT_EQ(calls, 2 * layers);
}

TEST(AfterBlock, MayForgetThePagesThatWeightsAreIn) {
  const TestFolder folder;
  test::write_tiny_model(folder.path() / "model", test::tiny_config("llama"));
  const auto backend = make_cpu_backend();
  const Checkpoint checkpoint = Checkpoint::open(folder.path() / "model");
  const auto logits = [&](Model model) {
    KvPool pool = model.make_pool(3);
    KvSequence sequence(pool);
    return test::logits_of(model, model.forward(std::array{1, 2, 3}, sequence));
  };
  EXPECT_EQ(
      logits(Model::load(checkpoint, *backend, std::nullopt, [&] { checkpoint.forget_pages(); })),
      logits(Model::load(checkpoint, *backend)));
}

}  // namespace
}  // namespace emberq::after_block_test
