#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "support/refusal.h"
#include "support/test_folder.h"

namespace emberq {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// No file of this process may grow past a size: a disk that is full there.
class FullDisk {
 public:
  explicit FullDisk(size_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(MappedFile, HoldsTheFilesBytes) {
  const TestFolder folder;
  const MappedFile file(folder.write("a", std::string_view("x\0y\n", 4)));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.bytes().data()), 4),
            std::string("x\0y\n", 4));
  EXPECT_EQ(file.bytes().size(), 4u);
}

TEST(MappedFile, OfNoBytesIsEmptyAndNoError) {
  const TestFolder folder;
  EXPECT_TRUE(MappedFile(folder.write("empty", "")).bytes().empty());
  EXPECT_EQ(read_text(folder.path() / "empty"), "");
}

TEST(MappedFile, KeepsItsBytesAsLongAsAnOwnerLives) {
  const TestFolder folder;
  std::shared_ptr<const std::byte> owner;
  {
    const MappedFile file(folder.write("a", "still here"));
    owner = file.owner();
  }
  fs::remove(folder.path() / "a");
  EXPECT_EQ(std::memcmp(owner.get(), "still here", 10), 0);
}

TEST(MappedFile, NamesWhatItCannotRead) {
  const TestFolder folder;
  EXPECT_EQ(refusal([&] { MappedFile(folder.path() / "none"); }),
            "cannot open " + (folder.path() / "none").string() + ": No such file or directory");
  EXPECT_EQ(refusal([&] { MappedFile{folder.path()}; }),
            "cannot read " + folder.path().string() + ": not a file");
}

TEST(FileWriter, WritesInOrderAndAtOffsets) {
  const TestFolder folder;
  FileWriter file(folder.path() / "a");
  file.write(bytes_of("hello "));
  file.write(bytes_of("world"));
  file.write_at(0, bytes_of("J"));
  EXPECT_EQ(file.size(), 11u);
  file.write_at(13, bytes_of("!"));  // the gap is zeros
  EXPECT_EQ(file.size(), 14u);
  file.close();
  EXPECT_EQ(read_text(folder.path() / "a"), std::string("Jello world\0\0!", 14));
}

TEST(FileWriter, ReplacesALongerFileWhole) {
  const TestFolder folder;
  write_text(folder.write("a", "a long text"), "short");
  EXPECT_EQ(read_text(folder.path() / "a"), "short");
}

TEST(FileWriter, NamesTheFileOfAFullDisk) {
  FileWriter file("/dev/full");
  EXPECT_REFUSED(file.write(bytes_of("x")), "cannot write /dev/full: No space left on device");
}

TEST(FileWriter, NamesTheFileThatItCannotCreate) {
  const TestFolder folder;
  EXPECT_REFUSED(FileWriter(folder.path() / "none" / "a"), "cannot write ", "none/a",
                 "No such file");
}

TEST(FileWriter, IsRefusedInTheMiddleOfAWriteThatFillsTheDisk) {
  const TestFolder folder;
  FileWriter file(folder.path() / "a");
  const FullDisk full(1000);
  file.write(bytes_of(std::string(600, 'x')));
  EXPECT_REFUSED(file.write(bytes_of(std::string(600, 'y'))), "cannot write ",
                 "/a: File too large");
}

TEST(WriteFileAtomically, ReplacesWhatIsThere) {
  const TestFolder folder;
  write_file_atomically(folder.write("a", "old"), "new");
  EXPECT_EQ(read_text(folder.path() / "a"), "new");
  EXPECT_FALSE(fs::exists(folder.path() / "a.partial"));
}

TEST(WriteFileAtomically, LeavesTheOldFileWhereFillingThrows) {
  const TestFolder folder;
  const fs::path path = folder.write("a", "old");
  EXPECT_THROW(write_file_atomically(path,
                                     [](FileWriter& file) {
                                       file.write(bytes_of("half"));
                                       throw Error("broken off");
                                     }),
               Error);
  EXPECT_EQ(read_text(path), "old");
  EXPECT_FALSE(fs::exists(folder.path() / "a.partial"));
}

TEST(WriteFileAtomically, LeavesNothingOnAFullDisk) {
  const TestFolder folder;
  const FullDisk full(1000);
  EXPECT_REFUSED(write_file_atomically(folder.path() / "a", std::string(2000, 'x')),
                 "cannot write ", "a.partial");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(RenameFile, NamesTheTargetWhereItFails) {
  const TestFolder folder;
  EXPECT_REFUSED(rename_file(folder.path() / "none", folder.path() / "b"), "cannot create ",
                 "/b: ", "No such file");
}

TEST(OutputDirectory, AppearsWholeOnCommit) {
  const TestFolder folder;
  const fs::path path = folder.path() / "out";
  {
    OutputDirectory out(path);
    write_text(out.partial() / "a", "x");
    EXPECT_FALSE(fs::exists(path));
    out.commit();
  }
  EXPECT_EQ(read_text(path / "a"), "x");
  EXPECT_FALSE(fs::exists(folder.path() / "out.partial"));
}

TEST(OutputDirectory, LeavesNothingWhereAnExceptionPasses) {
  const TestFolder folder;
  EXPECT_THROW(
      {
        OutputDirectory out(folder.path() / "out");
        fs::create_directory(out.partial() / "nested");
        write_text(out.partial() / "nested" / "a", "x");
        throw Error("broken off");
      },
      Error);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(OutputDirectory, LeavesNothingOfAFileThatDidNotFit) {
  const TestFolder folder;
  const FullDisk full(1000);
  EXPECT_REFUSED(
      {
        OutputDirectory out(folder.path() / "out");
        write_text(out.partial() / "a", std::string(2000, 'x'));
      },
      "cannot write ", "out.partial/a");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(OutputDirectory, RefusesATargetThatExists) {
  const TestFolder folder;
  fs::create_directory(folder.path() / "out");
  folder.write("file", "");
  fs::create_symlink("nowhere", folder.path() / "dangling");
  for (const char* name : {"out", "out/", "file", "dangling"}) {
    EXPECT_REFUSED(OutputDirectory(folder.path() / name), "output ", " exists already");
  }
  EXPECT_FALSE(fs::exists(folder.path() / "out.partial"));
}

TEST(OutputDirectory, RefusesAndKeepsAPartialOneOfAnotherRun) {
  const TestFolder folder;
  fs::create_directory(folder.path() / "out.partial");
  folder.write("out.partial/a", "x");
  EXPECT_REFUSED(OutputDirectory(folder.path() / "out"), "cannot create ",
                 "out.partial: File exists");
  EXPECT_EQ(read_text(folder.path() / "out.partial" / "a"), "x");
}

TEST(OutputDirectory, RefusesAPathWithoutAParent) {
  const TestFolder folder;
  EXPECT_REFUSED(OutputDirectory(folder.path() / "none" / "out"), "cannot create ", "No such file");
}

TEST(OutputDirectory, TakesASlashAtTheEndForNothing) {
  const TestFolder folder;
  OutputDirectory((folder.path() / "out" / "").string()).commit();
  EXPECT_TRUE(fs::is_directory(folder.path() / "out"));
}

constexpr std::string_view kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

TEST(MappedFile, CallsAGitLfsPointerByItsName) {
  const TestFolder folder;
  const fs::path path = folder.write("model.safetensors", kPointer);
  EXPECT_REFUSED(MappedFile(path), path.string() + " is a Git LFS pointer", "git lfs pull");
  EXPECT_REFUSED(read_text(path), path.string() + " is a Git LFS pointer");
}

TEST(MappedFile, TakesALongTextThatOnlyBeginsAsAPointerDoes) {
  const TestFolder folder;
  const std::string text = std::string(kPointer) + std::string(1024, 'x');
  EXPECT_EQ(read_text(folder.write("about-lfs.txt", text)), text);
}

}  // namespace
}  // namespace emberq
