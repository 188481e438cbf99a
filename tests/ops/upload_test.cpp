// Bytes from the host to a backend and back.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/backends.h"
#include "support/buffers.h"

namespace emberq::upload_test {
namespace {

std::vector<uint8_t> bytes_of(size_t count, uint32_t seed) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = uint8_t((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

class Upload : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    backend_ = test::make_backend(GetParam());
    if (!backend_) GTEST_SKIP() << "no CUDA device";
  }
  std::vector<uint8_t> back(const Buffer& buffer, size_t count) {
    return test::to_host<uint8_t>(*backend_, buffer.as<void>(), count);
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(Upload, BringsTheBytesOfAnySizeAndWritesNothingBehindThem) {
  constexpr size_t kBehind = 64, kSlot = 16 << 20;  // a part of the pinned memory
  for (const size_t size : {size_t(1), size_t(65535), size_t(65536), size_t(65537), kSlot - 1,
                            kSlot, kSlot + 1, 4 * kSlot + 4099}) {
    const std::vector<uint8_t> bytes = bytes_of(size, 1);
    const Buffer buffer = test::to_backend(*backend_, std::vector<uint8_t>(size + kBehind, 0xa5));
    backend_->upload(buffer.as<void>(), bytes.data(), size);
    std::vector<uint8_t> want = bytes;
    want.insert(want.end(), kBehind, 0xa5);
    EXPECT_TRUE(back(buffer, size + kBehind) == want) << size;
  }
}

TEST_P(Upload, OfManyPiecesAfterOneAnotherKeepsThemApart) {
  std::vector<Buffer> buffers;
  std::vector<std::vector<uint8_t>> pieces;
  for (uint32_t i = 0; i < 40; ++i) {
    pieces.push_back(bytes_of(i % 3 ? 70000 + 100001 * i : 1000 + i, i));
    buffers.emplace_back(*backend_, pieces.back().size());
    backend_->upload(buffers.back().as<void>(), pieces.back().data(), pieces.back().size());
  }
  for (size_t i = 0; i < pieces.size(); ++i)
    EXPECT_TRUE(back(buffers[i], pieces[i].size()) == pieces[i]) << i;
}

TEST_P(Upload, LeavesItsSourceToWhoGaveItWhenItReturns) {
  for (const size_t size : {size_t(100), size_t(60000), size_t(100000), size_t(40) << 20}) {
    const std::vector<uint8_t> bytes = bytes_of(size, 7);
    std::vector<uint8_t> source = bytes;
    const Buffer buffer(*backend_, size);
    backend_->upload(buffer.as<void>(), source.data(), size);
    std::ranges::fill(source, uint8_t(0));
    EXPECT_TRUE(back(buffer, size) == bytes) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Upload, testing::Values("cpu", "cuda"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace emberq::upload_test
