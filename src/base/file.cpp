#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/file_lock.h"

namespace emberq {
namespace {

std::string reason() { return std::strerror(errno); }

void require(const std::error_code& error, std::string_view what, const fs::path& path) {
  EMBERQ_REQUIRE(!error, "cannot {} {}: {}", what, path.string(), error.message());
}

struct stat status_of(const fs::path& path) {
  struct stat info {};
  EMBERQ_REQUIRE(::stat(path.c_str(), &info) == 0, "cannot read {}: {}", path.string(), reason());
  return info;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

 private:
  int fd_;
};

// rename() is durable only when the directory that holds the name is flushed too.
void sync_directory(const fs::path& path) {
  const int fd = ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  const Descriptor descriptor(fd);
  ::fsync(fd);
}

// What Git leaves in place of a file that Git LFS has not fetched (git-lfs/docs/spec.md).
void reject_lfs_pointer(std::span<const std::byte> bytes, const fs::path& path) {
  constexpr std::string_view kFirstLine = "version https://git-lfs.github.com/spec/";
  constexpr size_t kLargest = 1024;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EMBERQ_REQUIRE(text.size() > kLargest || !text.starts_with(kFirstLine),
                 "{} is a Git LFS pointer and not the file itself: fetch it with git lfs pull",
                 path.string());
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EMBERQ_REQUIRE(fd >= 0, "cannot open {}: {}", path.string(), reason());
  const Descriptor descriptor(fd);
  struct stat info {};
  EMBERQ_REQUIRE(::fstat(fd, &info) == 0, "cannot read {}: {}", path.string(), reason());
  EMBERQ_REQUIRE(S_ISREG(info.st_mode), "cannot read {}: not a file", path.string());
  size_ = size_t(info.st_size);
  if (size_ == 0) return;
  void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  EMBERQ_REQUIRE(memory != MAP_FAILED, "cannot map {}: {}", path.string(), reason());
  data_ =
      std::shared_ptr<const std::byte>(static_cast<const std::byte*>(memory),
                                       [memory, size = size_](auto) { ::munmap(memory, size); });
  reject_lfs_pointer(bytes(), path);
}

void MappedFile::forget_pages() const {
  if (size_ > 0) ::madvise(const_cast<std::byte*>(data_.get()), size_, MADV_DONTNEED);
}

void MappedFile::read_ahead(std::span<const std::byte> part) const {
  const auto page = size_t(::sysconf(_SC_PAGESIZE));
  const size_t begin = size_t(part.data() - data_.get()) / page * page,
               end = size_t(part.data() - data_.get()) + part.size();
  if (!part.empty())
    ::madvise(const_cast<std::byte*>(data_.get()) + begin, end - begin, MADV_WILLNEED);
}

std::string read_text(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

bool file_exists(const fs::path& path) {
  std::error_code error;
  const bool exists = fs::exists(path, error);
  require(error, "read", path);
  return exists;
}

bool is_folder(const fs::path& path) { return file_exists(path) && fs::is_directory(path); }

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    entries.push_back(at->path());
  require(error, "read", folder);
  std::ranges::sort(entries);
  return entries;
}

FileStamp stamp_of(const fs::path& path) {
  const struct stat info = status_of(path);
  return {.bytes = uint64_t(info.st_size),
          .modified_ns = int64_t(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec};
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directory(path, error);
  require(error, "create", path);
}

void remove_file(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  require(error, "remove", path);
}

void remove_folder(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  require(error, "remove", path);
}

FileWriter::FileWriter(const fs::path& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  EMBERQ_REQUIRE(fd_ >= 0, "cannot write {}: {}", path.string(), reason());
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void FileWriter::write(std::span<const std::byte> bytes) { write_at(size_, bytes); }

void FileWriter::write_at(size_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), off_t(offset));
    if (written < 0 && errno == EINTR) continue;
    EMBERQ_REQUIRE(written > 0, "cannot write {}: {}", path_.string(), reason());
    offset += size_t(written);
    bytes = bytes.subspan(size_t(written));
    size_ = std::max(size_, offset);
  }
}

void FileWriter::close() {
  const bool flushed = ::fsync(fd_) == 0;
  const std::string why = flushed ? "" : reason();
  const bool closed = ::close(std::exchange(fd_, -1)) == 0;
  EMBERQ_REQUIRE(flushed && closed, "cannot write {}: {}", path_.string(),
                 flushed ? reason() : why);
}

void write_text(const fs::path& path, std::string_view text) {
  FileWriter file(path);
  file.write(std::as_bytes(std::span(text)));
  file.close();
}

void write_file_atomically(const fs::path& path, const std::function<void(FileWriter&)>& fill) {
  EMBERQ_REQUIRE(path.has_filename(), "cannot write {}: it names no file", path.string());
  const fs::path partial = path.string() + ".partial";
  const FileLock lock(partial, path);
  try {
    FileWriter file(partial);
    fill(file);
    file.close();
    EMBERQ_REQUIRE(lock.is_in_place(), "cannot write {}: another process has removed {}",
                   path.string(), partial.string());
    rename_file(partial, path);
  } catch (...) {
    if (lock.is_in_place()) ::unlink(partial.c_str());
    throw;
  }
  sync_directory(path.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  write_file_atomically(path,
                        [&](FileWriter& file) { file.write(std::as_bytes(std::span(text))); });
}

void rename_file(const fs::path& from, const fs::path& to) {
  EMBERQ_REQUIRE(::rename(from.c_str(), to.c_str()) == 0, "cannot create {}: {}", to.string(),
                 reason());
}

void require_writable(const fs::path& path) {
  EMBERQ_REQUIRE(path.has_filename() && !is_folder(path), "cannot write {}: it names no file",
                 path.string());
  const fs::path folder = path.has_parent_path() ? path.parent_path() : ".";
  EMBERQ_REQUIRE(is_folder(folder), "cannot write {}: there is no folder {}", path.string(),
                 folder.string());
  EMBERQ_REQUIRE(::access(folder.c_str(), W_OK | X_OK) == 0, "cannot write {}: {}", path.string(),
                 reason());
}

OutputDirectory::OutputDirectory(const fs::path& path, Partial partial)
    : path_(path.has_filename() ? path : path.parent_path()) {
  EMBERQ_REQUIRE(!path_.empty(), "the output must be the name of a folder, not an empty one");
  partial_ = path_.string() + ".partial";
  lock_ = std::make_unique<FileLock>(partial_.string() + ".lock", path_);
  const bool continued = partial == Partial::kContinue && is_folder(partial_);
  try {
    require_absent();
    EMBERQ_REQUIRE(continued || ::mkdir(partial_.c_str(), 0755) == 0, "cannot create {}: {}",
                   partial_.string(), reason());
    const struct stat info = status_of(partial_);
    device_ = info.st_dev;
    inode_ = info.st_ino;
  } catch (...) {
    lock_->remove();
    throw;
  }
  kept_ = continued;
}

OutputDirectory::~OutputDirectory() {
  std::error_code ignored;
  if (!kept_ && is_in_place()) fs::remove_all(partial_, ignored);
  lock_->remove();
}

bool OutputDirectory::is_in_place() const {
  struct stat info {};
  return lock_->is_in_place() && ::stat(partial_.c_str(), &info) == 0 && info.st_dev == device_ &&
         info.st_ino == inode_;
}

void OutputDirectory::require_absent() const {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path_, error);
  if (status.type() != fs::file_type::not_found) require(error, "read", path_);
  EMBERQ_REQUIRE(!fs::exists(status), "output {} exists already", path_.string());
}

void OutputDirectory::commit() {
  require_absent();
  EMBERQ_REQUIRE(is_in_place(), "cannot create {}: another process has replaced {} or its lock",
                 path_.string(), partial_.string());
  sync_directory(partial_);
  rename_file(partial_, path_);
  kept_ = true;
  sync_directory(path_.parent_path());
}

}  // namespace emberq
