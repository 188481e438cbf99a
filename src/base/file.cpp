#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace emberq {
namespace {

std::string reason() { return std::strerror(errno); }

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

std::string read_text(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
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
  const fs::path partial = path.string() + ".partial";
  try {
    FileWriter file(partial);
    fill(file);
    file.close();
    rename_file(partial, path);
  } catch (...) {
    ::unlink(partial.c_str());
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

OutputDirectory::OutputDirectory(const fs::path& path, Partial partial)
    : path_(path.has_filename() ? path : path.parent_path()) {
  partial_ = path_.string() + ".partial";
  EMBERQ_REQUIRE(!fs::exists(fs::symlink_status(path_)), "output {} exists already",
                 path_.string());
  if (partial == Partial::kContinue && fs::is_directory(partial_)) {
    kept_ = true;
    return;
  }
  EMBERQ_REQUIRE(::mkdir(partial_.c_str(), 0755) == 0, "cannot create {}: {}", partial_.string(),
                 reason());
}

OutputDirectory::~OutputDirectory() {
  std::error_code ignored;
  if (!kept_) fs::remove_all(partial_, ignored);
}

void OutputDirectory::commit() {
  sync_directory(partial_);
  rename_file(partial_, path_);
  kept_ = true;
  sync_directory(path_.parent_path());
}

}  // namespace emberq
