#include "bench/partial_backend.h"

#include <gtest/gtest.h>

#include <vector>

namespace emberq::bench::partial_backend_test {
namespace {

// A backend that records by running at once.
class RecordingBackend : public PartialBackend {
 public:
  using PartialBackend::PartialBackend;
  std::unique_ptr<Recording> record(const std::function<void()>& calls) override {
    calls();
    return nullptr;
  }
};

class PartialBackendTest : public testing::Test {
 protected:
  const std::unique_ptr<Backend> cpu_ = make_cpu_backend();
  RecordingBackend whole_{*cpu_};
  PartialBackend partial_{static_cast<Backend&>(whole_)};  // not a copy
  std::vector<float> logits_ = {1, 3, 2};
  int32_t id_ = -7;

  void run_argmax() {
    partial_.run(Argmax{.logits = {DType::kF32, logits_.data(), nullptr, 1, 3}, .ids = &id_});
  }
};

TEST_F(PartialBackendTest, CountsWhatRunsAndNotWhatIsOnlyRecorded) {
  partial_.start_counting();
  run_argmax();
  partial_.record([&] { run_argmax(); });
  run_argmax();
  ASSERT_EQ(partial_.calls().size(), 1u);
  EXPECT_EQ(partial_.calls()[0].operation, "argmax");
  EXPECT_EQ(partial_.calls()[0].calls, 2);
}

TEST_F(PartialBackendTest, LeavesOneKindOfOperationOut) {
  partial_.leave_out("argmax");
  run_argmax();
  EXPECT_EQ(id_, -7);
  partial_.leave_out("");
  run_argmax();
  EXPECT_EQ(id_, 1);
}

}  // namespace
}  // namespace emberq::bench::partial_backend_test
