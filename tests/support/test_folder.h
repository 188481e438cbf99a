#pragma once

#include <unistd.h>

#include <string>
#include <string_view>

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

}  // namespace emberq
