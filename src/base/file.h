#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace emberq {

class FileLock;

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
  // Starts to read a part of bytes() from the disk, and does not wait for it.
  void read_ahead(std::span<const std::byte> part) const;

 private:
  fs::path path_;
  size_t size_ = 0;
  std::shared_ptr<const std::byte> data_;
};

// A whole text file. InputError where it cannot be read.
std::string read_text(const fs::path& path);

// What is at a path, links followed. InputError where that cannot be found out: a link that leads
// to itself, a folder of another user's, a name that is too long.
bool file_exists(const fs::path& path);
bool is_folder(const fs::path& path);
std::vector<fs::path> entries_of(const fs::path& folder);  // of it, not below it, by name

// What changes where a file is written anew, though its size stays.
struct FileStamp {
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  // since 1970
};
FileStamp stamp_of(const fs::path& path);

void make_folder(const fs::path& path);    // where it is absent
void remove_file(const fs::path& path);    // where it is there
void remove_folder(const fs::path& path);  // with all that is in it, where it is there

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
// existing file is replaced. LockedError where another process is writing it, which holds a lock on
// PATH.partial; what a process that has ended left there is overwritten.
void write_file_atomically(const fs::path& path, const std::function<void(FileWriter&)>& fill);
void write_file_atomically(const fs::path& path, std::string_view text);
// InputError where that could not write PATH: asked before work whose result goes there.
void require_writable(const fs::path& path);

// Renames, replacing what is there; InputError where that fails.
void rename_file(const fs::path& from, const fs::path& to);

// A directory that appears whole or not at all: files go to PATH.partial, commit() renames it to
// PATH, and without commit() the destructor removes it, unless keep() was called. One process at a
// time writes it: the one that holds the lock of PATH.partial.lock, a file that goes with it.
class OutputDirectory {
 public:
  enum class Partial { kRefuse, kContinue };
  // LockedError where another process is writing it. InputError where PATH exists, or where
  // PATH.partial does and is not to be continued.
  explicit OutputDirectory(const fs::path& path, Partial partial = Partial::kRefuse);
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  const fs::path& partial() const { return partial_; }
  void keep() { kept_ = true; }  // there is something in it that can be continued
  // InputError where PATH has appeared, or PATH.partial or its lock are no longer this process's.
  void commit();

 private:
  void require_absent() const;  // PATH
  bool is_in_place() const;     // PATH.partial and its lock

  fs::path path_, partial_;
  std::unique_ptr<FileLock> lock_;   // taken before anything is looked at, given back last
  uint64_t device_ = 0, inode_ = 0;  // of PATH.partial
  bool kept_ = false;
};

}  // namespace emberq
