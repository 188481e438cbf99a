// A model that a device has no memory for is refused before anything is allocated.
#include <gtest/gtest.h>

#include "model/model.h"
#include "support/refusal.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace emberq::device_memory_test {
namespace {

// Any work on it is an Error.
class FullDevice final : public Backend {
 public:
  explicit FullDevice(size_t free) : free_(free) {}
  std::string_view name() const override { return "full"; }
  DType activation_type() const override { return DType::kBF16; }
  std::optional<size_t> free_memory() const override { return free_; }
  void* allocate(size_t) override { throw Error("allocated"); }
  void release(void*) override {}
  void upload(void*, const void*, size_t) override { throw Error("uploaded"); }
  void download(void*, const void*, size_t) override { throw Error("downloaded"); }
  void copy(void*, const void*, size_t) override { throw Error("copied"); }
  void synchronize() override {}
  Weight prepare(const Tensor&) override { throw Error("prepared"); }
  Weight prepare(const QuantizedWeight&) override { throw Error("prepared"); }

 private:
  size_t free_;
};

TEST(DeviceMemory, TooLittleForTheWeightsIsRefusedBeforeWorkBegins) {
  const TestFolder folder;
  test::write_tiny_model(folder.path() / "model", test::tiny_config("llama"));
  const Checkpoint checkpoint = Checkpoint::open(folder.path() / "model");
  // Two tables of 8192 x 128 BF16 and two blocks.
  const uint64_t least = checkpoint.least_device_bytes();
  EXPECT_GT(least, 2 * 8192 * 128 * 2);
  EXPECT_LE(least, checkpoint.file_bytes());
  FullDevice full(least - 1), enough(least);
  EXPECT_TRUE(contains(refusal([&] { Model::load(checkpoint, full); }),
                       "of the device's memory, of which"));
  EXPECT_EQ(error_of([&] { Model::load(checkpoint, enough); }), "prepared");
}

TEST(DeviceMemory, OfF32WeightsIsHalfOfTheirFiles) {
  const TestFolder folder;
  const fs::path model = folder.path() / "model";
  test::write_tiny_model(model, test::tiny_config("llama"));
  const uint64_t before = Checkpoint::open(model).least_device_bytes();
  fs::remove(model / "model.safetensors");
  SafetensorsWriter writer(model);
  writer.add("model.embed_tokens.weight",
             Tensor::of({8192, 128}, std::vector<float>(8192 * 128, 1.0f)));
  writer.finish();
  EXPECT_EQ(Checkpoint::open(model).least_device_bytes(), 8192u * 128 * 2);
  EXPECT_GT(before, 8192u * 128 * 2);
}

}  // namespace
}  // namespace emberq::device_memory_test
