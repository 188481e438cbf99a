#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstring>

#include "base/file_lock.h"
#include "support/refusal.h"
#include "support/test_folder.h"

namespace emberq::file_test {
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

TEST(MappedFile, TakesATextThatSpeaksOfGitLfsForAText) {
  const TestFolder folder;
  EXPECT_EQ(read_text(folder.write("a", "version https://git-lfs")), "version https://git-lfs");
  const std::string text = "See version https://git-lfs.github.com/spec/v1";
  EXPECT_EQ(read_text(folder.write("b", text)), text);
}

// What cannot be looked at is neither there nor absent.
TEST(FileExists, RefusesALinkThatLeadsToItselfAndANameThatIsTooLong) {
  const TestFolder folder;
  const fs::path loop = folder.path() / "loop", lengthy = folder.path() / std::string(300, 'a');
  fs::create_symlink("loop", loop);
  EXPECT_REFUSED(file_exists(loop), "cannot read ", "/loop: Too many levels of symbolic links");
  EXPECT_REFUSED(is_folder(loop / "x"), "loop/x: Too many levels of symbolic links");
  EXPECT_REFUSED(file_exists(lengthy), ": File name too long");
  fs::create_symlink("nowhere", folder.path() / "dangling");
  EXPECT_FALSE(file_exists(folder.path() / "dangling"));
  EXPECT_FALSE(is_folder(folder.path() / "none" / "x"));
  EXPECT_TRUE(is_folder(folder.path()));
}

TEST(EntriesOf, AreInTheOrderOfTheirNames) {
  const TestFolder folder;
  for (const char* name : {"b", "a", "c"}) folder.write(name, "");
  EXPECT_EQ(entries_of(folder.path()),
            (std::vector<fs::path>{folder.path() / "a", folder.path() / "b", folder.path() / "c"}));
  EXPECT_REFUSED(entries_of(folder.path() / "none"), "cannot read ", "/none: No such file");
}

TEST(StampOf, ChangesWhereAFileOfTheSameSizeIsWrittenAnew) {
  const TestFolder folder;
  const fs::path path = folder.write("a", "old");
  fs::last_write_time(path, fs::last_write_time(path) - std::chrono::nanoseconds(1000));
  const FileStamp before = stamp_of(path);
  folder.write("a", "new");
  EXPECT_EQ(stamp_of(path).bytes, before.bytes);
  EXPECT_GT(stamp_of(path).modified_ns, before.modified_ns);
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

TEST(WriteFileAtomically, OverwritesWhatAnEndedRunLeft) {
  const TestFolder folder;
  folder.write("a.partial", "a longer text that was never finished");
  write_file_atomically(folder.path() / "a", "new");
  EXPECT_EQ(read_text(folder.path() / "a"), "new");
  EXPECT_FALSE(fs::exists(folder.path() / "a.partial"));
}

// flock() is of an open file, so one process can stand for two.
TEST(WriteFileAtomically, RefusesAFileThatAnotherRunIsWritingAndLeavesItThat) {
  const TestFolder folder;
  const fs::path path = folder.path() / "a";
  write_file_atomically(path, [&](FileWriter& file) {
    file.write(bytes_of("first"));
    EXPECT_REFUSED(write_file_atomically(path, "second"), "another run is writing ",
                   "/a: ", "a.partial");
  });
  EXPECT_EQ(read_text(path), "first");
}

TEST(WriteFileAtomically, RefusesTheNameOfNoFile) {
  EXPECT_REFUSED(write_file_atomically("", "x"), "names no file");
  EXPECT_REFUSED(write_file_atomically("none/", "x"), "names no file");
}

TEST(RequireWritable, RefusesWhatCouldNotBeWritten) {
  const TestFolder folder;
  EXPECT_EQ(refusal([&] { require_writable(folder.path() / "a"); }), "");
  EXPECT_EQ(refusal([&] { require_writable(folder.write("there", "x")); }), "");
  EXPECT_EQ(refusal([&] { require_writable("in_this_folder"); }), "");
  EXPECT_REFUSED(require_writable(""), "names no file");
  EXPECT_REFUSED(require_writable(folder.path()), "names no file");
  EXPECT_REFUSED(require_writable(folder.path() / "none" / "a"), "there is no folder ", "/none");
  EXPECT_REFUSED(require_writable(folder.path() / "there" / "a"), "there");
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

TEST(OutputDirectory, BelongsToOneRunAtATime) {
  const TestFolder folder;
  const fs::path path = folder.path() / "out";
  for (const auto partial :
       {OutputDirectory::Partial::kRefuse, OutputDirectory::Partial::kContinue}) {
    const OutputDirectory first(path, partial);
    write_text(first.partial() / "a", "x");
    for (const auto second :
         {OutputDirectory::Partial::kRefuse, OutputDirectory::Partial::kContinue})
      EXPECT_THROW(OutputDirectory(path, second), LockedError);
    EXPECT_REFUSED(OutputDirectory(path), "another run is writing ", "/out: ", "out.partial.lock");
    EXPECT_EQ(read_text(first.partial() / "a"), "x");
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(OutputDirectory, ContinuesWhatAnEndedRunLeftWithItsLockFile) {
  const TestFolder folder;
  fs::create_directory(folder.path() / "out.partial");
  folder.write("out.partial/a", "x");
  folder.write("out.partial.lock", "");
  OutputDirectory out(folder.path() / "out", OutputDirectory::Partial::kContinue);
  out.commit();
  EXPECT_EQ(read_text(folder.path() / "out" / "a"), "x");
  EXPECT_FALSE(fs::exists(folder.path() / "out.partial"));
}

TEST(OutputDirectory, LeavesNothingButItself) {
  const TestFolder folder;
  OutputDirectory(folder.path() / "out").commit();
  EXPECT_EQ(entries_of(folder.path()), std::vector<fs::path>{folder.path() / "out"});
}

TEST(OutputDirectory, IsNotCommittedWhereAnotherProcessHasReplacedItOrItsLock) {
  const TestFolder folder;
  for (const char* replaced : {"out.partial", "out.partial.lock"}) {
    OutputDirectory out(folder.path() / "out");
    fs::rename(folder.path() / replaced, folder.path() / "moved");
    fs::create_directory(folder.path() / replaced);
    EXPECT_REFUSED(out.commit(), "another process has replaced ");
    EXPECT_FALSE(fs::exists(folder.path() / "out"));
    fs::remove_all(folder.path() / replaced);
    fs::rename(folder.path() / "moved", folder.path() / replaced);
  }
}

TEST(OutputDirectory, IsNotCommittedOverWhatHasAppearedMeanwhile) {
  const TestFolder folder;
  OutputDirectory out(folder.path() / "out");
  fs::create_directory(folder.path() / "out");
  EXPECT_REFUSED(out.commit(), "exists already");
}

TEST(OutputDirectory, RefusesAnEmptyNameAndOneThatCannotBeLookedAt) {
  const TestFolder folder;
  fs::create_symlink("loop", folder.path() / "loop");
  EXPECT_REFUSED(OutputDirectory(""), "must be the name of a folder");
  EXPECT_REFUSED(OutputDirectory(folder.path() / "loop" / "out"),
                 "Too many levels of symbolic links");
  EXPECT_REFUSED(OutputDirectory(folder.path() / std::string(300, 'a')), "File name too long");
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
}  // namespace emberq::file_test
