#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace emberq {

namespace fs = std::filesystem;

// A whole file, read-only, mapped; pages are read when touched. Copies share the mapping.
class MappedFile {
 public:
  // InputError where it cannot be opened or mapped, or is a Git LFS pointer in place of a file.
  explicit MappedFile(const fs::path& path);

  std::span<const std::byte> bytes() const { return {data_.get(), size_}; }
  const fs::path& path() const { return path_; }
  // Keeps the mapping alive as long as it lives.
  std::shared_ptr<const std::byte> owner() const { return data_; }
  // Gives back the memory of the pages that were touched; they are read again when touched again.
  void forget_pages() const;

 private:
  fs::path path_;
  size_t size_ = 0;
  std::shared_ptr<const std::byte> data_;
};

// A whole text file. InputError where it cannot be read.
std::string read_text(const fs::path& path);

// A new file being written. Every error (a full disk above all) is an InputError that names the
// file.
class FileWriter {
 public:
  explicit FileWriter(const fs::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  void write_at(size_t offset, std::span<const std::byte> bytes);
  void close();  // flushes to the disk; without it the file is not known to be whole
  size_t size() const { return size_; }

 private:
  fs::path path_;
  int fd_ = -1;
  size_t size_ = 0;
};

void write_text(const fs::path& path, std::string_view text);

// A file that appears whole or not at all: `fill` writes PATH.partial, which is then renamed. An
// existing file is replaced.
void write_file_atomically(const fs::path& path, const std::function<void(FileWriter&)>& fill);
void write_file_atomically(const fs::path& path, std::string_view text);

// Renames, replacing what is there; InputError where that fails.
void rename_file(const fs::path& from, const fs::path& to);

// A directory that appears whole or not at all: files go to PATH.partial, commit() renames it to
// PATH, and without commit() the destructor removes it, unless keep() was called. InputError where
// PATH exists, or where PATH.partial does and is not to be continued.
class OutputDirectory {
 public:
  enum class Partial { kRefuse, kContinue };
  explicit OutputDirectory(const fs::path& path, Partial partial = Partial::kRefuse);
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  const fs::path& partial() const { return partial_; }
  void keep() { kept_ = true; }  // there is something in it that can be continued
  void commit();

 private:
  fs::path path_, partial_;
  bool kept_ = false;
};

}  // namespace emberq
