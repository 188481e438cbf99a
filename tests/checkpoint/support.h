#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace emberq {

// A folder of the running test's own, removed with it.
class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (fs::temp_directory_path() / "emberq-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TestFolder() { fs::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, std::string_view text) const {
    write_text(path_ / name, text);
    return path_ / name;
  }

 private:
  fs::path path_;
};

// The sentence with which `act` refuses its input; "" where it does not.
template <class Act>
std::string refusal(const Act& act) {
  try {
    act();
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

inline ::testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != text.npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << '"' << text << "\" does not contain \"" << part << '"';
}

// Fails unless `act` is refused with a sentence that says all of `parts`.
#define EXPECT_REFUSED(act, ...)                                             \
  do {                                                                       \
    const std::string said = ::emberq::refusal([&] { (void)(act); });        \
    for (const auto& part : std::initializer_list<std::string>{__VA_ARGS__}) \
      EXPECT_TRUE(::emberq::contains(said, part));                           \
  } while (false)

// A .safetensors file with this header, for what no writer would write.
inline std::string safetensors_bytes(std::string_view header, size_t data_bytes = 0) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + std::string(header) + std::string(data_bytes, '\0');
}

}  // namespace emberq
